/* config_lines.h - where a key stands in the text of a configuration file, for error messages.
 * Pure; any thread. */
#ifndef BELLHOP_SRC_APP_CONFIG_LINES_H
#define BELLHOP_SRC_APP_CONFIG_LINES_H

#include <stddef.h>

/* The line, from 1, on which the text sets the key with this path ("redis.url"). 0: it is not
 * found, because the file computes its table in another way. */
int bh_config_find_line(const char *text, const char *path);
/* The line of this key in the nth table (from 0) of the list that the path is set to; key NULL, or
 * not there: the line of the table's first key. 0 as above. */
int bh_config_find_entry(const char *text, const char *path, size_t entry, const char *key);

#endif
