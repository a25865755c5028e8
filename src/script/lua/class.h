/* class.h - Lua classes: the metatables of our objects, and modules of functions.
 *
 * An object is a userdata whose metatable is registered under its class's name. Thread: the one
 * that runs L. */
#ifndef BELLHOP_SCRIPT_CLASS_H
#define BELLHOP_SCRIPT_CLASS_H

#include <lauxlib.h>
#include <lua.h>

/* Leaves the metatable on top. The upvalues of `index` and `newindex` are for bh_class_member; the
 * first is the map of members: methods, and fields (NULL-terminated) by their number from 1. After
 * the last dot of the name is what scripts call an object, for hints.h. newindex NULL: objects are
 * read-only. */
void bh_class_new(lua_State *L, const char *name, const luaL_Reg *methods,
                  const char *const *fields, lua_CFunction index, lua_CFunction newindex);
/* A class without fields; leaves nothing on the stack. */
void bh_class_new_methods(lua_State *L, const char *name, const luaL_Reg *methods);

/* Argument 1 as an object of the class, else a Lua error. Like luaL_checkudata, for classes that
 * are accessed often: comparing the address of the metatable (lua_topointer) takes a fifth of the
 * time of looking up its name in the registry. */
void *bh_class_self(lua_State *L, const void *metatable, const char *name);
/* In `index` and `newindex`: the number of the field that argument 2 names; 0: no such member; -1:
 * a method, which is on top. */
int bh_class_member(lua_State *L);

/* Adds a table of functions as a field of the table on top. */
void bh_set_module(lua_State *L, const char *name, const luaL_Reg *functions);

#endif
