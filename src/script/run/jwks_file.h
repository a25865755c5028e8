/* jwks_file.h - a key set in a file, read again when the file changes.
 *
 * Owned by one worker's Lua state; its thread only. */
#ifndef BELLHOP_SCRIPT_JWKS_FILE_H
#define BELLHOP_SCRIPT_JWKS_FILE_H

#include "bellhop/base/jwks.h"

struct bh_jwks_file;

/* Copies the path; reads nothing yet. */
struct bh_jwks_file *bh_jwks_file_new(const char *path);
void bh_jwks_file_free(struct bh_jwks_file *f);

/* The keys as of now; at most once a second it looks at the file. A file that cannot be read, or
 * holds no key set, leaves the keys as they were and is logged. NULL with a sentence in *why, which
 * lives until the next call, while there has never been a good one. The set is valid until the
 * next call. */
const struct bh_jwks *bh_jwks_file_keys(struct bh_jwks_file *f, const char **why);

#endif
