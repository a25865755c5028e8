/* spec_bridge.c - bellhop.test.core: worlds and phones for specs. Plain verbs; lua/bellhop/test.lua
 * makes them pleasant. The spec's state is the one that L belongs to, never a script's. */
#include "bellhop/base/clock.h"
#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/jwt.h"
#include "bellhop/base/mem.h"
#include "lua/json_value.h"
#include "spec_internal.h"

#include <lauxlib.h>

#define WORLD_MT    "bellhop.test.world"
#define PHONE_MT    "bellhop.test.phone"
#define HEADERS_MAX 64

struct world {
    struct bh_spec_world inner;
    bool open;
};

struct phone { /* user value 1 is its world */
    struct bh_spec_phone inner;
    bool made; /* it was let in */
};

static const struct bh_spec_config *config_of(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, WORLD_MT ".config");
    const struct bh_spec_config *config = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return config;
}

static struct bh_spec_world *check_world(lua_State *L) {
    struct world *w = luaL_checkudata(L, 1, WORLD_MT);
    luaL_argcheck(L, w->open, 1, "the world is closed");
    w->inner.L = L;
    return &w->inner;
}

static struct bh_slice check_slice(lua_State *L, int arg) {
    struct bh_slice s;
    s.p = luaL_checklstring(L, arg, &s.n);
    return s;
}

/* A field of the table at index, which keeps the string; empty when it is not there. */
static struct bh_slice field(lua_State *L, int index, const char *name, const char *otherwise) {
    struct bh_slice s = bh_slice_cstr(otherwise);
    lua_getfield(L, index, name);
    if (lua_type(L, -1) == LUA_TSTRING)
        s.p = lua_tolstring(L, -1, &s.n);
    lua_pop(L, 1);
    return s;
}

static void set_slice(lua_State *L, const char *name, struct bh_slice s) {
    if (s.n)
        lua_pushlstring(L, s.p, s.n);
    else
        lua_pushnil(L);
    lua_setfield(L, -2, name);
}

/* --- JSON --- */

static int core_encode(lua_State *L) {
    struct bh_bytes out = {0};
    char why[BH_JSON_WHY_MAX];
    luaL_checkany(L, 1);
    int error = bh_json_encode(L, 1, &out, why);
    if (!error)
        lua_pushlstring(L, out.p, out.len);
    bh_bytes_free(&out);
    return error ? luaL_error(L, "%s", why) : 1;
}

/* The value, or nil and why. */
static int core_decode(lua_State *L) {
    struct bh_json_error error;
    struct bh_json *tree;
    if (bh_json_parse(check_slice(L, 1), &tree, &error)) {
        lua_pushnil(L);
        lua_pushstring(L, "this is no JSON");
        return 2;
    }
    bh_json_push(L, tree);
    bh_json_free(tree);
    return 1;
}

/* --- worlds: core.world(config, redis, http, file, ...) --- */

static int world_close(lua_State *L) {
    struct world *w = luaL_checkudata(L, 1, WORLD_MT);
    if (!w->open || w->inner.phones)
        return 0;
    w->open = false;
    w->inner.L = NULL;
    bh_spec_world_close(&w->inner);
    luaL_unref(L, LUA_REGISTRYINDEX, w->inner.redis_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, w->inner.fetch_ref);
    return 0;
}

static int ref_function(lua_State *L, int arg) {
    if (!lua_isfunction(L, arg))
        return LUA_NOREF;
    lua_pushvalue(L, arg);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* The world, or nil and the error of the load or of on_init. */
static int core_world(lua_State *L) {
    struct bh_json_error error;
    struct bh_json *tree;
    size_t files = (size_t)lua_gettop(L) - 3;
    luaL_argcheck(L, files >= 1 && files <= BH_SPEC_FILES, 4, "1 to 8 files");
    luaL_argcheck(L, bh_json_parse(check_slice(L, 1), &tree, &error) == 0, 1, "JSON");
    struct world *w = lua_newuserdatauv(L, sizeof *w, 0);
    *w = (struct world){
        .open = true, .inner.L = L, .inner.redis_ref = LUA_NOREF, .inner.fetch_ref = LUA_NOREF};
    for (size_t i = 0; i < files; i++)
        w->inner.files[i] = bh_strdup(luaL_checkstring(L, (int)i + 4));
    w->inner.redis_ref = ref_function(L, 2);
    w->inner.fetch_ref = ref_function(L, 3);
    luaL_setmetatable(L, WORLD_MT);
    if (bh_spec_world_open(&w->inner, config_of(L), tree, files) == 0)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, w->inner.error);
    return 2;
}

static int world_advance(lua_State *L) {
    struct bh_spec_world *w = check_world(L);
    lua_Number seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, seconds >= 0 && seconds <= 1e8, 2, "seconds");
    bh_spec_world_advance(w, (uint64_t)(seconds * 1000));
    return 0;
}

static int world_time(lua_State *L) {
    check_world(L);
    lua_pushnumber(L, (double)bh_clock_wall_ms() / 1000);
    return 1;
}

/* True, or nil and the error. */
static int world_reload(lua_State *L) {
    const char *why = bh_spec_world_reload(check_world(L));
    if (!why) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

/* Of each class of the script's state, its members. */
static int world_members(lua_State *L) {
    bh_spec_push_members(L, check_world(L)->script);
    return 1;
}

static void on_shut_down(void *ud) {
    *(bool *)ud = true;
}

static int world_shutdown(lua_State *L) {
    struct bh_spec_world *w = check_world(L);
    bool done = false;
    bh_script_shutdown(w->script, "stop", 10000, on_shut_down, &done);
    for (int i = 0; i < 1000 && !done; i++)
        bh_spec_world_advance(w, 20);
    lua_pushboolean(L, done);
    return 1;
}

/* --- publishing: world:publish(target, data, options) --- */

static void on_published(void *ud, bh_handle handle, const struct bh_publish_result *r) {
    static const char *const words[] = {[BH_PUBLISH_DELIVERED] = "delivered",
                                        [BH_PUBLISH_PUBLISHED] = "published",
                                        [BH_PUBLISH_OFFLINE] = "offline"};
    lua_State *L = ud;
    if (r->error) {
        lua_pushnil(L);
        lua_pushstring(L, r->why ? r->why : bh_strerror(r->error));
        lua_pushboolean(L, 1);
        return;
    }
    lua_newtable(L);
    lua_pushstring(L, r->duplicate ? "duplicate" : words[r->status]);
    lua_setfield(L, -2, "status");
    lua_pushinteger(L, r->local);
    lua_setfield(L, -2, "local");
    lua_pushinteger(L, r->instances);
    lua_setfield(L, -2, "instances");
    set_slice(L, "id", r->id);
    lua_pushnil(L);
    lua_pushboolean(L, 1);
}

static int read_publish(lua_State *L, struct bh_publish *p, const char **why) {
    int is_number;
    struct bh_slice id = field(L, 4, "id", ""), strategy = field(L, 4, "strategy", "");
    enum bh_strategy parsed = BH_STRATEGY_DEFAULT;
    if (bh_topic_parse(check_slice(L, 2), &p->topic)) {
        *why = "no topic: user:42, tenant:7, topic:news, all";
        return BH_EINVAL;
    }
    if (strategy.n && bh_strategy_parse(strategy, &parsed, why))
        return BH_EINVAL;
    p->strategy = (uint8_t)parsed;
    p->opcode =
        bh_slice_eq(field(L, 4, "opcode", "text"), BH_SLICE("binary")) ? BH_BINARY : BH_TEXT;
    lua_getfield(L, 4, "ttl");
    p->ttl_s = (uint32_t)lua_tointeger(L, -1);
    lua_getfield(L, 4, "priority");
    p->priority = (uint8_t)lua_tointegerx(L, -1, &is_number);
    lua_pop(L, 2);
    if (id.n > BH_MESSAGE_ID_MAX) {
        *why = "the id is too long";
        return BH_EINVAL;
    }
    memcpy(p->id, id.p, id.n);
    p->id_len = (uint8_t)id.n;
    p->id_given = id.n > 0;
    return 0;
}

/* A table, or nil and why. */
static int world_publish(lua_State *L) {
    struct bh_spec_world *w = check_world(L);
    struct bh_publish p = {.source = BH_SOURCE_HTTP};
    const char *why = NULL;
    struct bh_slice data = check_slice(L, 3);
    luaL_checktype(L, 4, LUA_TTABLE);
    if (read_publish(L, &p, &why))
        return luaL_error(L, "publish: %s", why);
    p.data = bh_buf_copy(data);
    lua_settop(L, 4);
    bh_node_publish(w->worker, &p, on_published, L, 0);
    for (int i = 0; i < 1000 && lua_gettop(L) < 7; i++)
        bh_spec_world_advance(w, i < 10 ? 0 : 20);
    if (lua_gettop(L) < 7)
        return luaL_error(L, "publish: on_publish has not ended");
    lua_settop(L, 6);
    return 2;
}

/* --- requests --- */

struct request {
    struct bh_request r;
    struct bh_header headers[HEADERS_MAX];
    struct bh_path_params params;
};

/* The table at index keeps the strings. */
static void read_request(lua_State *L, int index, struct request *q, const char *path) {
    luaL_checktype(L, index, LUA_TTABLE);
    q->r = (struct bh_request){.method = field(L, index, "method", "GET"),
                               .path = field(L, index, "path", path),
                               .query = field(L, index, "query", ""),
                               .host = field(L, index, "host", "localhost"),
                               .peer_ip = field(L, index, "ip", "192.0.2.1"),
                               .peer_port = 50000,
                               .listener = BH_SLICE("127.0.0.1:8080"),
                               .headers = q->headers};
    lua_getfield(L, index, "secure");
    q->r.secure = lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (lua_getfield(L, index, "headers") == LUA_TTABLE)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (q->r.header_count == HEADERS_MAX || lua_type(L, -2) != LUA_TSTRING ||
                lua_type(L, -1) != LUA_TSTRING)
                luaL_error(L, "headers: at most 64 names with strings");
            struct bh_header *h = &q->headers[q->r.header_count++];
            h->name.p = lua_tolstring(L, -2, &h->name.n);
            h->value.p = lua_tolstring(L, -1, &h->value.n);
        }
    lua_pop(L, 1);
}

/* By the patterns of websocket.paths; false: there is no WebSocket at this path. */
static bool find_path(const struct bh_spec_world *w, struct request *q) {
    const struct bh_json *section = bh_json_get(w->tree, "websocket");
    const struct bh_json *paths = section ? bh_json_get(section, "paths") : NULL;
    if (!paths)
        return bh_slice_eq(q->r.path, BH_SLICE("/ws"));
    for (const struct bh_json *p = bh_json_child(paths); p; p = bh_json_sibling(p)) {
        const char *pattern = bh_json_str(p);
        if (!pattern || !bh_path_match(bh_slice_cstr(pattern), q->r.path, &q->params))
            continue;
        q->r.params = q->params.list;
        q->r.param_count = q->params.count;
        return true;
    }
    return false;
}

struct answer {
    lua_State *L;
    struct bh_identity *identity;
    bool done;
};

static void push_headers(lua_State *L, const struct bh_header *headers, size_t count) {
    lua_createtable(L, 0, (int)count);
    for (size_t i = 0; i < count; i++) {
        lua_pushlstring(L, headers[i].name.p, headers[i].name.n);
        lua_pushlstring(L, headers[i].value.n ? headers[i].value.p : "", headers[i].value.n);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "headers");
}

static void push_status(lua_State *L, int status, struct bh_slice body) {
    lua_newtable(L);
    lua_pushinteger(L, status);
    lua_setfield(L, -2, "status");
    lua_pushlstring(L, body.n ? body.p : "", body.n);
    lua_setfield(L, -2, "body");
}

static void push_identity(lua_State *L, const struct bh_identity *id) {
    set_slice(L, "user", id->user);
    set_slice(L, "tenant", id->tenant);
    set_slice(L, "device", id->device);
    if (id->expires) {
        lua_pushinteger(L, id->expires);
        lua_setfield(L, -2, "expires");
    }
    lua_newtable(L);
    for (size_t i = 0; i < id->topic_count; i++) {
        lua_pushlstring(L, id->topics[i].p, id->topics[i].n);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "topics");
    lua_newtable(L);
    for (size_t i = 0; i < id->tag_count; i++) {
        lua_pushlstring(L, id->tags[i].name.p, id->tags[i].name.n);
        lua_pushlstring(L, id->tags[i].value.p, id->tags[i].value.n);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "tags");
}

/* Leaves the answer's table on the stack: status (0 is a welcome), body, headers, identity. */
static void on_welcome(void *ud, bh_handle handle, const struct bh_welcome *welcome) {
    struct answer *a = ud;
    a->done = true;
    a->identity = welcome->identity;
    push_status(a->L, welcome->status, welcome->body);
    push_headers(a->L, welcome->headers, welcome->header_count);
    set_slice(a->L, "protocol", welcome->protocol);
    if (welcome->identity)
        push_identity(a->L, welcome->identity);
}

static void wait_for(struct bh_spec_world *w, const bool *done) {
    for (int i = 0; i < 2000 && !*done; i++)
        bh_spec_world_advance(w, i < 10 ? 0 : 20);
}

/* A phone and what the handshake has answered. */
static int world_connect(lua_State *L) {
    struct bh_spec_world *w = check_world(L);
    struct bh_hooks *h = w->worker->hooks;
    struct answer a = {.L = L};
    struct request *q = lua_newuserdatauv(L, sizeof *q, 0);
    read_request(L, 2, q, "/ws");
    struct phone *p = lua_newuserdatauv(L, sizeof *p, 1);
    *p = (struct phone){.made = false};
    luaL_setmetatable(L, PHONE_MT);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    snprintf(p->inner.ip, sizeof p->inner.ip, "%.*s", BH_SLICE_ARG(q->r.peer_ip));
    if (!find_path(w, q))
        push_status(L, 404, BH_SLICE("there is no WebSocket at this path"));
    else if (!bh_hooks_has(h, BH_HOOK_HANDSHAKE))
        push_status(L, 401, BH_SLICE("the policy has no on_handshake"));
    else
        h->vt->handshake(h, &q->r, on_welcome, &a, 0);
    if (lua_gettop(L) < 5)
        wait_for(w, &a.done);
    if (lua_gettop(L) < 5)
        return luaL_error(L, "connect: on_handshake has not ended");
    if (a.identity) {
        struct bh_slice protocol = field(L, 5, "protocol", "");
        snprintf(p->inner.protocol, sizeof p->inner.protocol, "%.*s", BH_SLICE_ARG(protocol));
        p->made = true;
        bh_spec_phone_open(&p->inner, w, a.identity);
    }
    return 2;
}

static void on_response(void *ud, bh_handle handle, const struct bh_response *response) {
    struct answer *a = ud;
    a->done = true;
    push_status(a->L, response->status, response->body);
    push_headers(a->L, response->headers, response->header_count);
}

/* To an endpoint of the script's own. */
static int world_request(lua_State *L) {
    struct bh_spec_world *w = check_world(L);
    struct bh_hooks *h = w->worker->hooks;
    struct answer a = {.L = L};
    const char *allow = "";
    struct request *q = lua_newuserdatauv(L, sizeof *q, 0);
    read_request(L, 2, q, "/");
    int found = bh_hooks_has(h, BH_HOOK_HTTP) ? h->vt->route(h, q->r.method, q->r.path, &allow)
                                              : BH_ENOTFOUND;
    if (found)
        push_status(L, found == BH_EINVAL ? 405 : 404, bh_slice_cstr(allow));
    else
        h->vt->http(h, &q->r, field(L, 2, "body", ""), on_response, &a, 0);
    if (lua_gettop(L) < 4)
        wait_for(w, &a.done);
    return lua_gettop(L) < 4 ? luaL_error(L, "request: the endpoint has not ended") : 1;
}

static void on_allowed(void *ud, bh_handle handle, bool allowed, int status, struct bh_slice body) {
    struct answer *a = ud;
    a->done = true;
    push_status(a->L, allowed ? 200 : status, body);
}

/* What on_api says to a request: status 200 is yes, 0 is no opinion. */
static int world_api(lua_State *L) {
    struct bh_spec_world *w = check_world(L);
    struct bh_hooks *h = w->worker->hooks;
    struct answer a = {.L = L};
    struct request *q = lua_newuserdatauv(L, sizeof *q, 0);
    read_request(L, 2, q, "/api/broadcast");
    if (!bh_hooks_has(h, BH_HOOK_API))
        push_status(L, 0, BH_SLICE(""));
    else
        h->vt->api(h, &q->r, on_allowed, &a, 0);
    if (lua_gettop(L) < 4)
        wait_for(w, &a.done);
    return lua_gettop(L) < 4 ? luaL_error(L, "api: on_api has not ended") : 1;
}

/* --- phones --- */

static struct bh_spec_phone *check_phone(lua_State *L) {
    struct phone *p = luaL_checkudata(L, 1, PHONE_MT);
    luaL_argcheck(L, p->made, 1, "this client was not let in: see its status and body");
    p->inner.world->L = L;
    return &p->inner;
}

static int phone_recv(lua_State *L) {
    struct bh_spec_phone *p = check_phone(L);
    struct bh_slice data = check_slice(L, 2);
    luaL_argcheck(L, p->open && !p->code, 1, "the connection is closed");
    bh_spec_phone_says(p, lua_toboolean(L, 3) ? BH_BINARY : BH_TEXT, data);
    return 0;
}

/* phone:sent(from): what it was sent after the first `from`: a list, and a list of opcodes. */
static int phone_sent(lua_State *L) {
    struct bh_spec_phone *p = check_phone(L);
    lua_Integer n = 0;
    lua_newtable(L);
    lua_newtable(L);
    for (size_t i = (size_t)luaL_optinteger(L, 2, 0); i < p->sent_count; i++) {
        lua_pushlstring(L, p->sent[i].data, p->sent[i].len);
        lua_rawseti(L, -3, ++n);
        lua_pushstring(L, p->sent[i].opcode == BH_TEXT ? "text" : "binary");
        lua_rawseti(L, -2, n);
    }
    return 2;
}

/* Code and reason, when it was asked for. */
static int phone_closed(lua_State *L) {
    struct bh_spec_phone *p = check_phone(L);
    if (!p->code)
        return 0;
    lua_pushinteger(L, p->code);
    lua_pushstring(L, p->reason);
    return 2;
}

static int phone_close(lua_State *L) {
    struct bh_spec_phone *p = check_phone(L);
    struct bh_slice reason = bh_slice_cstr(luaL_optstring(L, 3, ""));
    bh_spec_phone_close(p, (unsigned)luaL_optinteger(L, 2, 1000), reason);
    return 0;
}

/* What becomes of a message when so many bytes wait for this client: on_slow's word. */
static int phone_slow(lua_State *L) {
    static const char *const words[] = {[BH_SLOW_CLOSE] = "close",
                                        [BH_SLOW_DROP_OLDEST] = "drop_oldest",
                                        [BH_SLOW_DROP_NEWEST] = "drop_newest"};
    struct bh_spec_phone *p = check_phone(L);
    struct bh_hooks *h = p->world->worker->hooks;
    enum bh_slow what = BH_SLOW_CLOSE;
    p->queued = (size_t)luaL_checkinteger(L, 2);
    if (bh_hooks_has(h, BH_HOOK_SLOW))
        what = h->vt->slow(h, &p->subscriber, p->queued, what);
    lua_pushstring(L, words[what]);
    return 1;
}

static int phone_id(lua_State *L) {
    char id[BH_CONNECTION_ID_LEN + 1];
    bh_connection_id(check_phone(L)->subscriber.number, id);
    lua_pushstring(L, id);
    return 1;
}

static int phone_gc(lua_State *L) {
    struct phone *p = luaL_checkudata(L, 1, PHONE_MT);
    if (!p->made)
        return 0;
    p->made = false;
    lua_getiuservalue(L, 1, 1);
    const struct world *w = lua_touserdata(L, -1);
    if (w->open)
        p->inner.world->L = L;
    bh_spec_phone_free(&p->inner);
    return 0;
}

/* --- tokens --- */

static int core_jwt(lua_State *L) {
    struct bh_bytes out = {0};
    struct bh_slice claims = check_slice(L, 1);
    struct bh_jwt_key *key = bh_jwt_key_secret(check_slice(L, 2));
    int error = bh_jwt_sign(BH_JWT_HS256, key, claims, &out);
    bh_jwt_key_free(key);
    lua_pushlstring(L, out.p, out.len);
    bh_bytes_free(&out);
    return error ? luaL_error(L, "cannot sign: %s", bh_strerror(error)) : 1;
}

/* --- names of Redis' scripts --- */

static int core_sha1(lua_State *L) {
    unsigned char digest[BH_DIGEST_MAX];
    char hex[2 * BH_DIGEST_MAX];
    int n = bh_digest("sha1", check_slice(L, 1), digest);
    bh_hex_encode(bh_slice(digest, (size_t)n), hex);
    lua_pushlstring(L, hex, 2 * (size_t)n);
    return 1;
}

/* --- the module --- */

static void new_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc) {
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

static const luaL_Reg functions[] = {
    {"world", core_world},   {"jwt", core_jwt},       {"sha1", core_sha1}, {"names", bh_spec_names},
    {"encode", core_encode}, {"decode", core_decode}, {NULL, NULL}};
static const luaL_Reg world_methods[] = {{"connect", world_connect},
                                         {"advance", world_advance},
                                         {"publish", world_publish},
                                         {"request", world_request},
                                         {"api", world_api},
                                         {"reload", world_reload},
                                         {"time", world_time},
                                         {"close", world_close},
                                         {"shutdown", world_shutdown},
                                         {"members", world_members},
                                         {NULL, NULL}};
static const luaL_Reg phone_methods[] = {
    {"recv", phone_recv}, {"sent", phone_sent}, {"closed", phone_closed}, {"close", phone_close},
    {"slow", phone_slow}, {"id", phone_id},     {"free", phone_gc},       {NULL, NULL}};

int bh_spec_open_core(lua_State *L) {
    const struct bh_spec_config *config = config_of(L);
    bh_json_make_marks(L);
    new_class(L, WORLD_MT, world_methods, world_close);
    new_class(L, PHONE_MT, phone_methods, phone_gc);
    luaL_newlib(L, functions);
    lua_pushinteger(L, BH_SPEC_WALL_MS / 1000);
    lua_setfield(L, -2, "now");
    lua_pushstring(L, config->script->lua_dir);
    lua_setfield(L, -2, "lua_dir");
    bh_json_push(L, config->script->config);
    lua_setfield(L, -2, "config");
    return 1;
}
