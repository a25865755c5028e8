/* sandbox.h - what a script can reach: libraries, load, require. */
#ifndef BELLHOP_SCRIPT_SANDBOX_H
#define BELLHOP_SCRIPT_SANDBOX_H

#include "run/state.h"

/* Opens the libraries into a fresh state, `bh` included. Errors are raised: call it protected. */
void bh_sandbox_open(lua_State *L);
/* Puts a folder first where Lua's own `require` looks. */
void bh_put_in_path(lua_State *L, const char *folder);

#endif
