/* bind_all.c - the list of the modules of `bh`. */
#include "bind_all.h"

#include "bind/bind.h"
#include "lua/hints.h"

void bh_bind_all(lua_State *L) {
    lua_newtable(L);
    bh_bind_json(L);
    bh_bind_cache(L);
    bh_bind_config(L);
    bh_bind_log(L);
    bh_bind_crypto(L);
    bh_bind_jwt(L);
    bh_bind_conn(L);
    bh_bind_request(L);
    bh_bind_message(L);
    bh_bind_metrics(L);
    bh_bind_publish(L);
    bh_bind_history(L);
    bh_bind_http(L);
    bh_bind_hub(L);
    bh_bind_tracker(L);
    bh_bind_id(L);
    bh_bind_redis(L);
    bh_bind_shared(L);
    bh_bind_time(L);
    lua_pushliteral(L, BELLHOP_VERSION);
    lua_setfield(L, -2, "version");
    bh_hints_watch(L, -1, "bh");
}
