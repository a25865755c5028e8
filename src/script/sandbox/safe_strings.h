/* safe_strings.h - a string library that the watchdog can stop. */
#ifndef BELLHOP_SCRIPT_SAFE_STRINGS_H
#define BELLHOP_SCRIPT_SAFE_STRINGS_H

#include <lua.h>

/* Replaces find, match, gmatch, gsub and rep in the global `string` by functions that behave as
 * Lua's own; the formats of the others are bounded. Methods of strings change with it, as long as
 * this table is their __index. */
void bh_safe_strings_open(lua_State *L);

#endif
