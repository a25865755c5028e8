/* bridge_client.c - clients as Lua objects. */
#include "bridge.h"
#include "lua/args.h"

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

/* client:sent(from) -> the messages after the first `from`, their opcodes, and their positions
 * (false: none) */
static int client_sent(lua_State *L) {
    struct bh_spec_client *client = check_client(L);
    lua_Integer n = 0;
    lua_newtable(L);
    lua_newtable(L);
    lua_newtable(L);
    for (size_t i = (size_t)luaL_optinteger(L, 2, 0); i < client->sent_count; i++) {
        lua_pushlstring(L, client->sent[i].data, client->sent[i].len);
        lua_rawseti(L, -4, ++n);
        lua_pushstring(L, client->sent[i].opcode == BH_TEXT ? "text" : "binary");
        lua_rawseti(L, -3, n);
        bh_push_position(L, client->sent[i].position);
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_pushboolean(L, 0);
        }
        lua_rawseti(L, -2, n);
    }
    return 3;
}

/* --- one that resumes --- */

/* client:position() -> the text that it gives back as `since`; nil: it does not resume */
static int client_position(lua_State *L) {
    char text[BH_RESUME_TEXT_MAX + 1];
    bh_spec_client_position(check_client(L), text);
    lua_pushstring(L, text[0] ? text : NULL);
    return 1;
}

/* client:recovered() -> true or false; nil: not yet, or it does not resume */
static int client_recovered(lua_State *L) {
    struct bh_spec_client *client = check_client(L);
    if (client->recovered == BH_SPEC_RECOVERED_UNKNOWN)
        lua_pushnil(L);
    else
        lua_pushboolean(L, client->recovered == BH_SPEC_RECOVERED_YES);
    return 1;
}

/* client:notes() -> gaps { { topic =, reason = } }, and the topics that were rewound */
static int client_notes(lua_State *L) {
    struct bh_spec_client *client = check_client(L);
    lua_Integer gaps = 0, rewound = 0;
    lua_newtable(L);
    lua_newtable(L);
    for (size_t i = 0; i < client->note_count; i++) {
        const struct bh_spec_note *note = &client->notes[i];
        if (!note->gap) {
            lua_pushstring(L, note->topic);
            lua_rawseti(L, -2, ++rewound);
            continue;
        }
        lua_createtable(L, 0, 2);
        lua_pushstring(L, note->topic);
        lua_setfield(L, -2, "topic");
        lua_pushstring(L, note->gap);
        lua_setfield(L, -2, "reason");
        lua_rawseti(L, -3, ++gaps);
    }
    return 2;
}

/* client:gap(topic, reason): as if messages of the topic were missing for it */
static int client_gap(lua_State *L) {
    static const char *const reasons[] = {"expired", "unavailable", "lost", "size",
                                          "off",     "slow",        NULL};
    struct bh_spec_client *client = check_client(L);
    struct bh_slice topic = bh_spec_check_slice(L, 2);
    const char *why = reasons[luaL_checkoption(L, 3, "expired", reasons)];
    struct bh_topic ignored;
    luaL_argcheck(L, client->open, 1, "the connection is closed");
    luaL_argcheck(L, bh_topic_parse(topic, &ignored) == 0, 2,
                  "the name of a topic: \"user:42\", \"tenant:7\", \"topic:news\" or \"all\"");
    bh_spec_client_gap(client, topic, why);
    return 0;
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

static const luaL_Reg methods[] = {
    {"recv", client_recv},         {"sent", client_sent},           {"closed", client_closed},
    {"close", client_close},       {"slow", client_slow},           {"id", client_id},
    {"position", client_position}, {"recovered", client_recovered}, {"notes", client_notes},
    {"gap", client_gap},           {"free", client_free},           {NULL, NULL}};

void bh_spec_open_client(lua_State *L) {
    bh_spec_new_class(L, CLASS, methods, client_free);
}
