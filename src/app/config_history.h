/* config_history.h - the rules of `history`: which topics are streams. Pure; any thread. */
#ifndef BELLHOP_SRC_APP_CONFIG_HISTORY_H
#define BELLHOP_SRC_APP_CONFIG_HISTORY_H

#include "bellhop/base/json.h"
#include "bellhop/core/history.h"

/* A mistake in a rule (from 0). key: the one that is wrong, NULL: the rule itself. text: without
 * the place. */
typedef void (*bh_config_rule_cb)(void *ud, size_t rule, const char *key, const char *text);

/* Whether it is a list, maybe an empty one. */
bool bh_config_history_is_list(const struct bh_json *list);
/* Reads a list of at most BH_HISTORY_RULES_MAX rules; their patterns point into it. Returns the
 * number of those that are good, and reports every mistake of the others; a longer list is one
 * mistake. mistake may be NULL for a list without any. */
size_t bh_config_history_read(const struct bh_json *list, struct bh_history_rule *out,
                              bh_config_rule_cb mistake, void *ud);

#endif
