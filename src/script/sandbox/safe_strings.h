/* safe_strings.h - a string library that the watchdog can stop. */
#ifndef BELLHOP_SCRIPT_SAFE_STRINGS_H
#define BELLHOP_SCRIPT_SAFE_STRINGS_H

#include <lua.h>

/* Replaces find, match, gmatch, gsub and rep in the global `string`; they behave as Lua's own.
 * Formats of the others are bounded. The
 * methods of strings are meant, too, as long as this table is their __index. */
void bh_safe_strings_open(lua_State *L);

#endif
