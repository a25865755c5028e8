/* safe_base.h - coroutine, xpcall and setmetatable in a form that the watchdog can stop. */
#ifndef BELLHOP_SCRIPT_SAFE_BASE_H
#define BELLHOP_SCRIPT_SAFE_BASE_H

#include <lua.h>

/* Replaces the globals: coroutine.resume, wrap and close register the coroutine with the watchdog,
 * xpcall leaves out its handler when the limit was reached, setmetatable refuses __gc. */
void bh_safe_base_open(lua_State *L);

#endif
