/* config_text.h - values of the configuration as JSON text, the form in which all sources meet.
 * Pure; any thread. */
#ifndef BELLHOP_SRC_APP_CONFIG_TEXT_H
#define BELLHOP_SRC_APP_CONFIG_TEXT_H

#include "bellhop/base/json.h"

/* Free what they return with bh_free. chomp: without a line end at the end of its strings. */
char *bh_config_text_of(const struct bh_json *node, bool chomp);
char *bh_config_text_quoted(const char *s);
/* "a, b" as a list of strings. urls: a URL may contain commas (the hosts of Sentinels), so the next
 * one begins with a scheme. */
char *bh_config_text_list(const char *text, bool urls);

#endif
