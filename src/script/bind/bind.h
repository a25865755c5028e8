/* bind.h - the modules of `bh`, one file each.
 *
 * Each bh_bind_<module> expects the `bh` table on top of the stack and adds itself to it, or
 * registers the class of an object. */
#ifndef BELLHOP_SCRIPT_BIND_H
#define BELLHOP_SCRIPT_BIND_H

#include "lua/json_value.h"

#include <lua.h>
#include <stddef.h>

void bh_bind_cache(lua_State *L);
void bh_bind_config(lua_State *L);
void bh_bind_conn(lua_State *L);
void bh_bind_crypto(lua_State *L);
void bh_bind_history(lua_State *L);
void bh_bind_http(lua_State *L);
void bh_bind_hub(lua_State *L);
void bh_bind_id(lua_State *L);
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

/* The options of bh.json.decode at that argument, which may be absent. */
enum bh_json_big bh_check_json_options(lua_State *L, int arg);

/* The options of bh.history.read, bh.history.remove, bh.json.decode, bh.json.peek, bh.jwt.verify
 * and bh.jwt.sign (NULL at the end), and of bh.http.fetch (from 0; NULL: no more). */
extern const char *const bh_history_read_options[], *const bh_history_remove_options[];
extern const char *const bh_json_decode_options[];
extern const char *const bh_json_peek_options[];
extern const char *const bh_jwt_verify_options[], *const bh_jwt_sign_options[];
const char *bh_fetch_option(size_t i);

#endif
