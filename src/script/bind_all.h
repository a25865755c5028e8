/* bind_all.h - the whole `bh` table. */
#ifndef BELLHOP_SCRIPT_BIND_ALL_H
#define BELLHOP_SCRIPT_BIND_ALL_H

#include <lua.h>

/* Pushes it. Errors are raised: call it protected. */
void bh_bind_all(lua_State *L);

#endif
