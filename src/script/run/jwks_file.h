/* jwks_file.h - a key set in a file, read again when the file changes.
 *
 * Owned by a worker's Lua state. Thread: the worker's. */
#ifndef BELLHOP_SCRIPT_JWKS_FILE_H
#define BELLHOP_SCRIPT_JWKS_FILE_H

#include "bellhop/base/jwks.h"

struct bh_jwks_file;

/* Copies the path; reads nothing yet. */
struct bh_jwks_file *bh_jwks_file_new(const char *path);
void bh_jwks_file_free(struct bh_jwks_file *f);

/* The current keys; checks the file at most once a second. A file that cannot be read or parsed is
 * logged, and the previous keys stay. NULL, with the reason in *why, while there was never a good
 * one. Keys and reason are valid until the next call. */
const struct bh_jwks *bh_jwks_file_keys(struct bh_jwks_file *f, const char **why);

#endif
