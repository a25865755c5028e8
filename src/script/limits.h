/* limits.h - how long a script may be. */
#ifndef BELLHOP_SCRIPT_LIMITS_H
#define BELLHOP_SCRIPT_LIMITS_H

#include <lua.h>

/* Raises a Lua error when the watchdog has found that the script runs too long. For loops of ours
 * that execute no bytecode: call it every few thousand steps. */
void bh_limits_check(lua_State *L);

#endif
