/* bridge.h - the parts of the Lua module `bellhop.test.core`.
 *
 * L is always the spec's state, never a script's. Functions of the form (lua_State *) are Lua
 * functions; in methods the object is argument 1. Errors of misuse are raised in L. */
#ifndef BELLHOP_SPEC_BRIDGE_H
#define BELLHOP_SPEC_BRIDGE_H

#include "spec_internal.h"

#include <lauxlib.h>

/* --- bridge.c --- */

/* luaopen of bellhop.test.core. */
int bh_spec_open_core(lua_State *L);

/* --- bridge_args.c: what several functions take and return --- */

#define BH_SPEC_CONFIG_KEY "bellhop.test.config"
#define BH_SPEC_ENV_CLASS  "bellhop.test.env"

/* The configuration that bh_spec_run stored in the registry. */
const struct bh_spec_config *bh_spec_config_of(lua_State *L);
struct bh_slice bh_spec_check_slice(lua_State *L, int arg);
/* A string field of the table at index, which keeps the bytes alive; else the fallback. */
struct bh_slice bh_spec_field(lua_State *L, int index, const char *name, const char *fallback);
/* Sets a field of the table on top; an empty slice becomes nil. */
void bh_spec_set_slice(lua_State *L, const char *name, struct bh_slice s);
/* The environment at argument 1; it must be open. Stores L in it. */
struct bh_spec_env *bh_spec_check_env(lua_State *L);
/* Creates the class and leaves nothing on the stack. */
void bh_spec_new_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc);

/* --- bridge_env.c: environments --- */

/* core.env(config, redis, http, file, ...) -> env; or nil and the error of the load or on_init. */
int bh_spec_new_env(lua_State *L);
void bh_spec_open_env(lua_State *L);

/* --- bridge_request.c: what comes from outside --- */

/* env:connect(request) -> client, answer {status (0: accepted), body, headers, identity fields} */
int bh_spec_env_connect(lua_State *L);
/* env:request(request) -> {status, headers, body} of an endpoint of the policy */
int bh_spec_env_request(lua_State *L);
/* env:api(request) -> {status, body} of on_api: 200 allows the request, 0 is no decision */
int bh_spec_env_api(lua_State *L);
/* env:publish(message) -> result; or nil and the reason. message: the table of bh.publish, whose
 * fields it checks */
int bh_spec_env_publish(lua_State *L);

/* env:history(query) -> page, as bh.history.read; or nil and the reason */
int bh_spec_env_history(lua_State *L);

/* --- bridge_client.c: clients --- */

/* Pushes a client that is not open yet; it keeps the environment at argument 1 alive. */
struct bh_spec_client *bh_spec_new_client(lua_State *L);
void bh_spec_open_client(lua_State *L);

#endif
