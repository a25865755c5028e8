/* bind_history.h - the table of bh.history.read{...}, and the page that it returns; for specs, too.
 */
#ifndef BELLHOP_SCRIPT_BIND_HISTORY_H
#define BELLHOP_SCRIPT_BIND_HISTORY_H

#include "bind/bind_publish.h"

#include "bellhop/core/history.h"

struct bh_lua_page {
    const struct bh_range *range;
    bool gap, more;
    uint64_t now_ms; /* of the loop: what has expired is left out */
};

/* Reads the table at index. 0, or BH_EINVAL for invalid values, with why. Misuse raises an error
 * that names the function. */
int bh_history_query_read(lua_State *L, int index, const char *function, struct bh_page_query *out,
                          char why[BH_WHY_MAX]);
/* May raise: without memory. */
void bh_history_push_page(lua_State *L, const struct bh_lua_page *p);

#endif
