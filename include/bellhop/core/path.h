/* path.h - patterns of paths: "/app/:key/files", "/pages/" and then "*rest".
 *
 * A segment of a pattern matches itself, byte for byte as the client sends it; ":name" matches any
 * one segment that is not empty; "*name" or "*", only at the end, matches the rest, which may be
 * empty. Values only; no memory, any thread. */
#ifndef BELLHOP_CORE_PATH_H
#define BELLHOP_CORE_PATH_H

#include "bellhop/base/slice.h"

#define BH_PATH_PARAMS_MAX 16

struct bh_path_param {
    struct bh_slice name;  /* of the pattern; of a bare "*" it is "*" */
    struct bh_slice value; /* of the path, as sent; each % in it begins a complete escape */
};

struct bh_path_params {
    size_t count;
    struct bh_path_param list[BH_PATH_PARAMS_MAX];
};

/* 0 for a valid pattern, or BH_EINVAL with *why. The other functions need valid ones. */
int bh_path_check(struct bh_slice pattern, const char **why);
/* Whether the path matches. The parameters are slices of both. A broken escape in a value matches
 * nothing. */
bool bh_path_match(struct bh_slice pattern, struct bh_slice path, struct bh_path_params *out);
/* Below 0 when a is more specific: at the first segment of different kinds, text comes before a
 * parameter, and a parameter before the rest. */
int bh_path_compare(struct bh_slice a, struct bh_slice b);
/* Whether they match the same paths. Names do not count. */
bool bh_path_same(struct bh_slice a, struct bh_slice b);

/* Matches the most specific of the patterns that the path fits; false: none. */
bool bh_path_find(const struct bh_slice *patterns, size_t count, struct bh_slice path,
                  struct bh_path_params *out);

#endif
