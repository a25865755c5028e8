/* bridge_client.c - clients as Lua objects. */
#include "bridge.h"

#define CLASS "bellhop.test.client"

struct bh_spec_client *bh_spec_new_client(lua_State *L) {
    struct bh_spec_client *client = lua_newuserdatauv(L, sizeof *client, 1);
    *client = (struct bh_spec_client){.accepted = false};
    luaL_setmetatable(L, CLASS);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return client;
}

static struct bh_spec_client *check_client(lua_State *L) {
    struct bh_spec_client *client = luaL_checkudata(L, 1, CLASS);
    luaL_argcheck(L, client->accepted, 1, "the handshake was rejected; see its status and body");
    client->env->L = L;
    return client;
}

static int client_recv(lua_State *L) {
    struct bh_spec_client *client = check_client(L);
    struct bh_slice data = bh_spec_check_slice(L, 2);
    luaL_argcheck(L, client->open && !client->code, 1, "the connection is closed");
    bh_spec_client_message(client, lua_toboolean(L, 3) ? BH_BINARY : BH_TEXT, data);
    return 0;
}

/* client:sent(from) -> the messages after the first `from`, and their opcodes */
static int client_sent(lua_State *L) {
    struct bh_spec_client *client = check_client(L);
    lua_Integer n = 0;
    lua_newtable(L);
    lua_newtable(L);
    for (size_t i = (size_t)luaL_optinteger(L, 2, 0); i < client->sent_count; i++) {
        lua_pushlstring(L, client->sent[i].data, client->sent[i].len);
        lua_rawseti(L, -3, ++n);
        lua_pushstring(L, client->sent[i].opcode == BH_TEXT ? "text" : "binary");
        lua_rawseti(L, -2, n);
    }
    return 2;
}

/* client:closed() -> code and reason of the close that bellhop requested; or nothing */
static int client_closed(lua_State *L) {
    struct bh_spec_client *client = check_client(L);
    if (!client->code)
        return 0;
    lua_pushinteger(L, client->code);
    lua_pushstring(L, client->reason);
    return 2;
}

static int client_close(lua_State *L) {
    struct bh_spec_client *client = check_client(L);
    struct bh_slice reason = bh_slice_cstr(luaL_optstring(L, 3, ""));
    bh_spec_client_close(client, (unsigned)luaL_optinteger(L, 2, 1000), reason);
    return 0;
}

/* client:slow(queued) -> the decision of on_slow when so many bytes are queued */
static int client_slow(lua_State *L) {
    static const char *const decisions[] = {[BH_SLOW_CLOSE] = "close",
                                            [BH_SLOW_DROP_OLDEST] = "drop_oldest",
                                            [BH_SLOW_DROP_NEWEST] = "drop_newest"};
    struct bh_spec_client *client = check_client(L);
    struct bh_hooks *h = client->env->worker->hooks;
    enum bh_slow decision = BH_SLOW_CLOSE;
    client->queued = (size_t)luaL_checkinteger(L, 2);
    if (bh_hooks_has(h, BH_HOOK_SLOW))
        decision = h->vt->slow(h, &client->subscriber, client->queued, decision);
    lua_pushstring(L, decisions[decision]);
    return 1;
}

static int client_id(lua_State *L) {
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(check_client(L)->subscriber.number, id);
    lua_pushstring(L, id);
    return 1;
}

static int client_free(lua_State *L) {
    struct bh_spec_client *client = luaL_checkudata(L, 1, CLASS);
    if (!client->accepted)
        return 0;
    client->accepted = false;
    if (client->env->open)
        client->env->L = L;
    bh_spec_client_free(client);
    return 0;
}

static const luaL_Reg methods[] = {{"recv", client_recv},     {"sent", client_sent},
                                   {"closed", client_closed}, {"close", client_close},
                                   {"slow", client_slow},     {"id", client_id},
                                   {"free", client_free},     {NULL, NULL}};

void bh_spec_open_client(lua_State *L) {
    bh_spec_new_class(L, CLASS, methods, client_free);
}
