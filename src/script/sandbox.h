/* sandbox.h - the environment of a script: libraries, load, require. */
#ifndef BELLHOP_SCRIPT_SANDBOX_H
#define BELLHOP_SCRIPT_SANDBOX_H

#include "run/state.h"

/* Opens the libraries into a fresh state, `bh` included. Errors are raised: call it protected. */
void bh_sandbox_open(lua_State *L);
/* Adds a folder at the front of the search path of Lua's own `require`. */
void bh_prepend_path(lua_State *L, const char *folder);

#endif
