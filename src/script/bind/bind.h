/* bind.h - the modules of `bh`, and what they share.
 *
 * Each bh_bind_<module> finds the `bh` table on top of the stack and adds itself to it. */
#ifndef BELLHOP_SCRIPT_BIND_H
#define BELLHOP_SCRIPT_BIND_H

#include "state.h"

/* The whole table, on top of the stack. */
void bh_bind_all(lua_State *L);

void bh_bind_cache(lua_State *L);
void bh_bind_config(lua_State *L);
void bh_bind_conn(lua_State *L);
void bh_bind_crypto(lua_State *L);
void bh_bind_http(lua_State *L);
void bh_bind_hub(lua_State *L);
void bh_bind_json(lua_State *L);
void bh_bind_jwt(lua_State *L);
void bh_bind_log(lua_State *L);
void bh_bind_message(lua_State *L);
void bh_bind_metrics(lua_State *L);
void bh_bind_publish(lua_State *L);
void bh_bind_redis(lua_State *L);
void bh_bind_request(lua_State *L);
void bh_bind_shared(lua_State *L);
void bh_bind_time(lua_State *L);
void bh_bind_tracker(lua_State *L);

/* A table of functions as a field of the table on top. */
void bh_bind_module(lua_State *L, const char *name, const luaL_Reg *functions);

/* A metatable, left on top. `index` is called with one upvalue, the map of members: methods, and
 * fields (NULL-terminated) by their number from 1. newindex may be NULL: read only. */
void bh_bind_class(lua_State *L, const char *name, const luaL_Reg *methods,
                   const char *const *fields, lua_CFunction index, lua_CFunction newindex);
/* Argument 1 as an object of the class, as luaL_checkudata gives it, for classes whose members are
 * asked for often: `metatable` is the address of the class's (lua_topointer), which tells an object
 * of it in a fifth of the time that a look-up of the name in the registry takes. */
void *bh_bind_self(lua_State *L, const void *metatable, const char *name);
/* The metatable of a class that has methods only. */
void bh_bind_methods(lua_State *L, const char *name, const luaL_Reg *methods);
/* In `index` and `newindex`: the number of the field that argument 2 names; 0 when there is none;
 * -1 for a method, which is then on top. */
int bh_bind_member(lua_State *L);

/* The options of bh.jwt.verify and sign, and of bh.http.fetch (from 0): NULL at the end. */
extern const char *const bh_jwt_verify_options[], *const bh_jwt_sign_options[];
const char *bh_fetch_option(size_t i);

/* nil, why */
int bh_bind_error(lua_State *L, const char *why);
/* Pushes the value of a JSON text, or nil and why; returns how many. */
int bh_json_decode(lua_State *L, struct bh_slice text);
/* true, or nil and the error's text */
int bh_bind_result(lua_State *L, int error);
struct bh_slice bh_bind_slice(lua_State *L, int arg); /* a string argument */
void bh_bind_push_slice(lua_State *L, struct bh_slice s);
/* nil when it is empty */
void bh_bind_push_optional(lua_State *L, struct bh_slice s);

#endif
