/* runner.c - busted inside a program that holds the real script runtime and the real core.
 *
 * Specs run in a Lua state of their own, with all libraries; each policy under test runs in a
 * bh_script state, on a worker with a fake transport, a fake broker and a clock that only the spec
 * moves. The module `bellhop.test.core` is the bridge; harness.lua makes it pleasant.
 *
 *     spec_runner LUA_DIR BUSTED_ARGUMENT... */
#include "../unit/script/script_test.h"

#include "bellhop/base/jwt.h"
#include "bellhop/base/log.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#define WORLD_MT    "bellhop.test.world"
#define PHONE_MT    "bellhop.test.phone"
#define HEADERS_MAX 32

static const char *lua_dir;

/* --- worlds: core.world(config_json, file, ...) --- */

struct spec_world {
    struct world world;
    bool open;
    int phones; /* still open: the world must outlive them */
};

static struct world *check_world(lua_State *L) {
    struct spec_world *w = luaL_checkudata(L, 1, WORLD_MT);
    luaL_argcheck(L, w->open, 1, "the world is closed");
    return &w->world;
}

static int world_lua_close(lua_State *L) {
    struct spec_world *w = luaL_checkudata(L, 1, WORLD_MT);
    if (w->open && w->phones == 0) {
        w->open = false;
        world_close(&w->world);
    }
    return 0;
}

/* The world, or nil and the error of the load or of on_init. */
static int core_world(lua_State *L) {
    const char *config = luaL_checkstring(L, 1);
    size_t count = (size_t)lua_gettop(L) - 1;
    luaL_argcheck(L, count >= 1 && count <= 8, 2, "1 to 8 files");
    struct spec_world *sw = lua_newuserdatauv(L, sizeof *sw, 0);
    sw->open = true;
    sw->phones = 0;
    world_open(&sw->world);
    luaL_setmetatable(L, WORLD_MT);
    struct world *w = &sw->world;
    world_config(w, config);
    w->config.lua_dir = lua_dir;
    for (size_t i = 0; i < count; i++)
        w->files[i] = bh_strdup(luaL_checkstring(L, (int)i + 2));
    if (world_load_files(w, count) == 0) {
        bh_script_start(w->script, world_on_init, w);
        world_pass(w, 10);
    }
    if (w->started)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, w->error ? w->error : "on_init has not ended");
    return 2;
}

static int world_advance(lua_State *L) {
    world_pass(check_world(L), (uint64_t)(luaL_checknumber(L, 2) * 1000));
    return 0;
}

static void ignore_published(void *ud, bh_handle handle, const struct bh_publish_result *r) {
    *(int *)ud = r->error;
}

/* world:publish(topic, data): topic in the core's own form, user:42. True or the error. */
static int world_publish(lua_State *L) {
    struct world *w = check_world(L);
    struct bh_publish p = {.source = BH_SOURCE_HTTP, .opcode = BH_TEXT};
    struct bh_slice topic, data;
    int error = 0;
    topic.p = luaL_checklstring(L, 2, &topic.n);
    data.p = luaL_checklstring(L, 3, &data.n);
    luaL_argcheck(L, bh_topic_parse(topic, &p.topic) == 0, 2, "no topic");
    p.data = bh_buf_copy(data);
    bh_node_publish(w->worker, &p, ignore_published, &error, 0);
    world_ticks(w);
    lua_pushboolean(L, error == 0);
    lua_pushstring(L, bh_strerror(error));
    return error ? 2 : 1;
}

/* --- phones: world:connect(query, headers) --- */

struct spec_phone {
    struct spec_world *world;
    struct phone *phone; /* NULL: refused, or gone */
    struct answer answer;
};

static size_t read_headers(lua_State *L, int index, struct bh_header headers[HEADERS_MAX]) {
    size_t n = 0;
    luaL_checktype(L, index, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        luaL_argcheck(L, n < HEADERS_MAX, index, "too many headers");
        headers[n].name.p = luaL_checklstring(L, -2, &headers[n].name.n);
        headers[n].value.p = luaL_checklstring(L, -1, &headers[n].value.n);
        n++;
    }
    return n;
}

static void push_slice(lua_State *L, const char *key, struct bh_slice s) {
    if (s.n)
        lua_pushlstring(L, s.p, s.n);
    else
        lua_pushnil(L);
    lua_setfield(L, -2, key);
}

/* status, body, and of a welcome: user, tenant, expires, topics */
static void push_answer(lua_State *L, const struct answer *a) {
    lua_newtable(L);
    lua_pushinteger(L, a->status);
    lua_setfield(L, -2, "status");
    lua_pushstring(L, a->body);
    lua_setfield(L, -2, "body");
    if (!a->identity)
        return;
    push_slice(L, "user", a->identity->user);
    push_slice(L, "tenant", a->identity->tenant);
    if (a->identity->expires) {
        lua_pushinteger(L, a->identity->expires);
        lua_setfield(L, -2, "expires");
    }
    lua_newtable(L);
    for (size_t i = 0; i < a->identity->topic_count; i++) {
        lua_pushlstring(L, a->identity->topics[i].p, a->identity->topics[i].n);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "topics");
}

/* A phone and what the handshake answered. */
static int world_connect(lua_State *L) {
    struct world *w = check_world(L);
    struct bh_hooks *h = w->worker->hooks;
    struct bh_header headers[HEADERS_MAX];
    struct bh_request r = {.method = BH_SLICE("GET"),
                           .path = BH_SLICE("/ws"),
                           .host = BH_SLICE("localhost"),
                           .headers = headers,
                           .peer_ip = BH_SLICE("192.0.2.1"),
                           .listener = BH_SLICE("127.0.0.1:8080")};
    r.query.p = luaL_checklstring(L, 2, &r.query.n);
    r.header_count = read_headers(L, 3, headers);
    struct spec_phone *p = lua_newuserdatauv(L, sizeof *p, 1);
    *p = (struct spec_phone){.world = (struct spec_world *)w};
    luaL_setmetatable(L, PHONE_MT);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    h->vt->handshake(h, &r, answer_welcome, &p->answer, 0);
    world_pass(w, 10);
    push_answer(L, &p->answer);
    if (p->answer.identity) {
        p->phone = bh_calloc(1, sizeof *p->phone);
        p->world->phones++;
        phone_open_as(w, p->phone, p->answer.identity);
        p->answer.identity = NULL;
    }
    return 2;
}

static struct phone *check_phone(lua_State *L) {
    struct spec_phone *p = luaL_checkudata(L, 1, PHONE_MT);
    luaL_argcheck(L, p->phone, 1, "not connected");
    return p->phone;
}

static int phone_recv(lua_State *L) {
    struct phone *p = check_phone(L);
    struct bh_hooks *h = p->world->worker->hooks;
    const char *text = luaL_checkstring(L, 2);
    if (bh_hooks_has(h, BH_HOOK_MESSAGE))
        phone_says(p, text);
    world_ticks(p->world);
    return 0;
}

static int phone_lua_sent(lua_State *L) {
    struct phone *p = check_phone(L);
    lua_newtable(L);
    for (unsigned i = 0; i < p->sent_count; i++) {
        lua_pushstring(L, p->sent[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* The close that the policy has asked for: code and reason, or nothing. */
static int phone_closed(lua_State *L) {
    struct phone *p = check_phone(L);
    if (!p->code)
        return 0;
    lua_pushinteger(L, p->code);
    lua_pushstring(L, p->reason);
    return 2;
}

static int phone_hang_up(lua_State *L) {
    struct spec_phone *p = luaL_checkudata(L, 1, PHONE_MT);
    if (p->phone) {
        phone_free(p->phone);
        world_ticks(&p->world->world);
        bh_free(p->phone);
        p->phone = NULL;
        p->world->phones--;
    }
    answer_free(&p->answer);
    return 0;
}

/* --- core.jwt(claims_json, secret) --- */

static int core_jwt(lua_State *L) {
    struct bh_slice claims, secret;
    struct bh_bytes out = {0};
    claims.p = luaL_checklstring(L, 1, &claims.n);
    secret.p = luaL_checklstring(L, 2, &secret.n);
    struct bh_jwt_key *key = bh_jwt_key_secret(secret);
    int error = bh_jwt_sign(BH_JWT_HS256, key, claims, &out);
    bh_jwt_key_free(key);
    lua_pushlstring(L, out.p, out.len);
    bh_bytes_free(&out);
    return error ? luaL_error(L, "cannot sign") : 1;
}

/* --- the program --- */

static void new_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

static int open_core(lua_State *L) {
    static const luaL_Reg functions[] = {{"world", core_world}, {"jwt", core_jwt}, {NULL, NULL}};
    static const luaL_Reg world_methods[] = {{"connect", world_connect},
                                             {"advance", world_advance},
                                             {"publish", world_publish},
                                             {"close", world_lua_close},
                                             {NULL, NULL}};
    static const luaL_Reg phone_methods[] = {{"recv", phone_recv},
                                             {"sent", phone_lua_sent},
                                             {"closed", phone_closed},
                                             {"hang_up", phone_hang_up},
                                             {NULL, NULL}};
    new_class(L, WORLD_MT, world_methods, world_lua_close);
    new_class(L, PHONE_MT, phone_methods, phone_hang_up);
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_pushinteger(L, TEST_WALL_MS / 1000);
    lua_setfield(L, -2, "now");
    lua_pushstring(L, lua_dir);
    lua_setfield(L, -2, "lua_dir");
    return 1;
}

/* busted reads its arguments there; LUA_DIR is not among them. */
static void set_arg(lua_State *L, int argc, char **argv) {
    lua_newtable(L);
    for (int i = 2; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - 1);
    }
    lua_pushstring(L, argv[0]);
    lua_rawseti(L, -2, 0);
    lua_setglobal(L, "arg");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: spec_runner LUA_DIR BUSTED_ARGUMENT...\n");
        return 2;
    }
    lua_dir = argv[1];
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open_core);
    lua_setfield(L, -2, "bellhop.test.core");
    set_arg(L, argc, argv);
    lua_settop(L, 0);
    int error = luaL_dostring(L, "require 'busted.runner' { standalone = false }");
    if (error)
        fprintf(stderr, "spec_runner: %s\n", lua_tostring(L, -1));
    lua_close(L);
    return error ? 1 : 0;
}
