/* safe_tables.h - a table library that the watchdog can stop. */
#ifndef BELLHOP_SCRIPT_SAFE_TABLES_H
#define BELLHOP_SCRIPT_SAFE_TABLES_H

#include <lua.h>

/* Replaces concat, insert, move, remove and sort in the global `table` by functions that behave as
 * Lua's own. The others are bounded by the size of the stack. */
void bh_safe_tables_open(lua_State *L);

#endif
