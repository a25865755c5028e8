/* path.h - patterns of paths: "/app/:key/files", "/pages/" and then "*rest".
 *
 * A segment of a pattern stands for itself, byte for byte as the client sends it; ":name" is any
 * one segment that is not empty; "*name" or "*", at the end only, is all that is left, also when
 * that is nothing. Values only; no memory, any thread. */
#ifndef BELLHOP_CORE_PATH_H
#define BELLHOP_CORE_PATH_H

#include "bellhop/base/slice.h"

#define BH_PATH_PARAMS_MAX 16

struct bh_path_param {
    struct bh_slice name;  /* of the pattern; of a bare "*" it is "*" */
    struct bh_slice value; /* of the path: as sent, each % of it begins a whole escape */
};

struct bh_path_params {
    size_t count;
    struct bh_path_param list[BH_PATH_PARAMS_MAX];
};

/* Is it a pattern? 0, or BH_EINVAL with *why (what to do). The others expect that it is one. */
int bh_path_check(struct bh_slice pattern, const char **why);
/* Does it fit? The parameters are slices of both. A value with a broken escape fits nothing. */
bool bh_path_match(struct bh_slice pattern, struct bh_slice path, struct bh_path_params *out);
/* Below 0 when a is the more specific: at the first segment where they are of another kind, text
 * comes before a parameter, and a parameter before what is left. */
int bh_path_compare(struct bh_slice a, struct bh_slice b);
/* Do they fit the same paths? Names do not count. */
bool bh_path_same(struct bh_slice a, struct bh_slice b);

#endif
