/* config_values.h - which values a key may have, beyond its type, bounds and choices. Pure; any
 * thread. */
#ifndef BELLHOP_SRC_APP_CONFIG_VALUES_H
#define BELLHOP_SRC_APP_CONFIG_VALUES_H

#include "bellhop/base/slice.h"
#include "config.h"

/* Checks a string that is not empty, or an entry of a list: 0, or BH_EINVAL with *why, which
 * contains no part of the value. */
typedef int (*bh_config_value_cb)(struct bh_slice value, const char **why);
/* The check of this key; NULL: any value is good. */
bh_config_value_cb bh_config_value_check(const char *path);

/* The set of auth.jwt.algorithms (enum bh_jwt_alg), without unknown names. */
unsigned bh_config_jwt_algorithms(const struct bh_config *c);

#endif
