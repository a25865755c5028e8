/* bridge_request.c - what comes from outside: handshakes, requests to endpoints of the policy and
 * to the API, and publishes of a backend.
 *
 * Each function starts the operation, then moves the clock until its callback has left the result
 * on the stack of L. */
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bind/bind_history.h"
#include "bridge.h"

#define HEADERS_MAX 64

struct request {
    struct bh_request r;
    struct bh_header headers[HEADERS_MAX];
    struct bh_path_params params;
};

struct answer {
    lua_State *L;
    struct bh_identity *identity;
    bool done;
};

/* --- requests --- */

static void read_headers(lua_State *L, int index, struct request *q) {
    if (lua_getfield(L, index, "headers") == LUA_TTABLE)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (q->r.header_count == HEADERS_MAX || lua_type(L, -2) != LUA_TSTRING ||
                lua_type(L, -1) != LUA_TSTRING)
                luaL_error(L, "headers: at most 64, names and values must be strings");
            struct bh_header *h = &q->headers[q->r.header_count++];
            h->name.p = lua_tolstring(L, -2, &h->name.n);
            h->value.p = lua_tolstring(L, -1, &h->value.n);
        }
    lua_pop(L, 1);
}

/* Pushes the request. Its strings stay in the table at index, which must stay on the stack. */
static struct request *read_request(lua_State *L, int index, const char *path) {
    struct request *q = lua_newuserdatauv(L, sizeof *q, 0);
    luaL_checktype(L, index, LUA_TTABLE);
    q->r = (struct bh_request){.method = bh_spec_field(L, index, "method", "GET"),
                               .path = bh_spec_field(L, index, "path", path),
                               .query = bh_spec_field(L, index, "query", ""),
                               .host = bh_spec_field(L, index, "host", "localhost"),
                               .peer_ip = bh_spec_field(L, index, "ip", "192.0.2.1"),
                               .peer_port = 50000,
                               .listener = BH_SLICE("127.0.0.1:8080"),
                               .headers = q->headers};
    lua_getfield(L, index, "secure");
    q->r.secure = lua_toboolean(L, -1);
    lua_pop(L, 1);
    read_headers(L, index, q);
    return q;
}

/* Matches the path with the patterns of websocket.paths, as the edge does. */
static bool find_path(const struct bh_spec_env *env, struct request *q) {
    const struct bh_json *section = bh_json_get(env->tree, "websocket");
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

/* --- answers --- */

static void push_answer(struct answer *a, int status, struct bh_slice body) {
    a->done = true;
    lua_newtable(a->L);
    lua_pushinteger(a->L, status);
    lua_setfield(a->L, -2, "status");
    lua_pushlstring(a->L, body.n ? body.p : "", body.n);
    lua_setfield(a->L, -2, "body");
}

static void set_headers(lua_State *L, const struct bh_header *headers, size_t count) {
    lua_createtable(L, 0, (int)count);
    for (size_t i = 0; i < count; i++) {
        lua_pushlstring(L, headers[i].name.p, headers[i].name.n);
        lua_pushlstring(L, headers[i].value.n ? headers[i].value.p : "", headers[i].value.n);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "headers");
}

static void set_identity(lua_State *L, const struct bh_identity *id) {
    bh_spec_set_slice(L, "user", id->user);
    bh_spec_set_slice(L, "tenant", id->tenant);
    bh_spec_set_slice(L, "device", id->device);
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

static int finish(struct bh_spec_env *env, const struct answer *a, const char *what) {
    bh_spec_env_wait(env, &a->done);
    return a->done ? 1 : luaL_error(a->L, "%s did not finish within 40 s", what);
}

/* --- handshakes --- */

static void on_handshake(void *ud, bh_handle handle, const struct bh_handshake_result *result) {
    struct answer *a = ud;
    a->identity = result->identity;
    push_answer(a, result->status, result->body);
    set_headers(a->L, result->headers, result->header_count);
    bh_spec_set_slice(a->L, "protocol", result->protocol);
    bh_spec_set_slice(a->L, "compression",
                      bh_slice_cstr(bh_compression_names[result->compression]));
    bh_spec_set_slice(a->L, "format", bh_slice_cstr(bh_format_names[result->format]));
    if (result->identity)
        set_identity(a->L, result->identity);
}

/* Whether the client asks to resume: `since` says where it was, or `resume` is true for a new one.
 */
static bool read_since(lua_State *L, int index, struct bh_resume *since) {
    const char *why = "";
    struct bh_slice text = bh_spec_field(L, index, "since", "");
    lua_getfield(L, index, "resume");
    bool resumes = lua_toboolean(L, -1) || text.n > 0;
    lua_pop(L, 1);
    if (bh_resume_parse(text, since, &why))
        luaL_error(L, "t.connect: %s", why);
    return resumes;
}

int bh_spec_env_connect(lua_State *L) {
    struct bh_spec_env *env = bh_spec_check_env(L);
    struct bh_hooks *h = env->worker->hooks;
    struct answer a = {.L = L};
    struct bh_resume since;
    bool resumes = read_since(L, 2, &since);
    struct request *q = read_request(L, 2, "/ws");
    struct bh_spec_client *client = bh_spec_new_client(L);
    snprintf(client->ip, sizeof client->ip, "%.*s", BH_SLICE_ARG(q->r.peer_ip));
    if (!find_path(env, q))
        push_answer(&a, 404, BH_SLICE("no WebSocket at this path"));
    else if (!bh_hooks_has(h, BH_HOOK_HANDSHAKE))
        push_answer(&a, 401, BH_SLICE("the policy has no on_handshake"));
    else
        h->vt->handshake(h, &q->r, on_handshake, &a, 0);
    finish(env, &a, "on_handshake");
    if (a.identity) {
        struct bh_slice protocol = bh_spec_field(L, -1, "protocol", "");
        resumes |= bh_slice_eq(bh_spec_field(L, -1, "format", ""), BH_SLICE("json"));
        snprintf(client->protocol, sizeof client->protocol, "%.*s", BH_SLICE_ARG(protocol));
        bh_spec_client_open(client, env, a.identity, resumes ? &since : NULL);
    }
    return 2;
}

/* --- endpoints and the API --- */

static void on_response(void *ud, bh_handle handle, const struct bh_response *response) {
    struct answer *a = ud;
    push_answer(a, response->status, response->body);
    set_headers(a->L, response->headers, response->header_count);
}

int bh_spec_env_request(lua_State *L) {
    struct bh_spec_env *env = bh_spec_check_env(L);
    struct bh_hooks *h = env->worker->hooks;
    struct answer a = {.L = L};
    const char *allow = "";
    struct request *q = read_request(L, 2, "/");
    int error = bh_hooks_has(h, BH_HOOK_HTTP) ? h->vt->route(h, q->r.method, q->r.path, &allow)
                                              : BH_ENOTFOUND;
    if (error)
        push_answer(&a, error == BH_EINVAL ? 405 : 404, bh_slice_cstr(allow));
    else
        h->vt->http(h, &q->r, bh_spec_field(L, 2, "body", ""), on_response, &a, 0);
    return finish(env, &a, "the endpoint");
}

static void on_api(void *ud, bh_handle handle, bool allowed, int status, struct bh_slice body) {
    push_answer(ud, allowed ? 200 : status, body);
}

int bh_spec_env_api(lua_State *L) {
    struct bh_spec_env *env = bh_spec_check_env(L);
    struct bh_hooks *h = env->worker->hooks;
    struct answer a = {.L = L};
    struct request *q = read_request(L, 2, "/api/broadcast");
    if (!bh_hooks_has(h, BH_HOOK_API))
        push_answer(&a, 0, BH_SLICE(""));
    else
        h->vt->api(h, &q->r, on_api, &a, 0);
    return finish(env, &a, "on_api");
}

/* --- histories --- */

/* Leaves two values: the page and nil, or nil and the reason. */
static void on_page(void *ud, bh_handle handle, int error, struct bh_range *range, bool gap,
                    bool more, const char *why) {
    struct answer *a = ud;
    a->done = true;
    if (error) {
        lua_pushnil(a->L);
        lua_pushstring(a->L, why ? why : bh_strerror(error));
        return;
    }
    bh_history_push_page(a->L, &(struct bh_lua_page){range, gap, more, bh_clock_ms()});
    lua_pushnil(a->L);
}

int bh_spec_env_history(lua_State *L) {
    struct bh_spec_env *env = bh_spec_check_env(L);
    struct bh_history *history = bh_node_history(env->node);
    struct answer a = {.L = L};
    struct bh_page_query q;
    char why[BH_WHY_MAX];
    if (bh_history_query_read(L, 2, "t.history", &q, why)) {
        lua_pushnil(L);
        lua_pushstring(L, why);
        return 2;
    }
    if (!bh_node_stream_rule(env->node, &q.topic)) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s has no history", q.topic.name);
        return 2;
    }
    history->vt->page(history, 0, &q, on_page, &a, 0);
    finish(env, &a, "the history");
    return 2;
}

/* --- publishes --- */

/* Leaves two values: the result and nil, or nil and the reason. */
static void on_published(void *ud, bh_handle handle, const struct bh_publish_result *r) {
    struct answer *a = ud;
    lua_State *L = a->L;
    a->done = true;
    if (r->error) {
        lua_pushnil(L);
        lua_pushstring(L, r->why ? r->why : bh_strerror(r->error));
        return;
    }
    bh_publish_push_result(L, r);
    lua_pushnil(L);
}

/* Raises the error at the line of the spec, which called test.lua, which called us. */
static int refuse_publish(lua_State *L, const char *why) {
    luaL_where(L, 2);
    lua_pushfstring(L, "t.publish: %s", why);
    lua_concat(L, 2);
    return lua_error(L);
}

/* A conn is an object of the policy's state, and only policies publish to one. */
static bool has_conn(lua_State *L) {
    bool has = lua_getfield(L, 2, "conn") != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

int bh_spec_env_publish(lua_State *L) {
    struct bh_spec_env *env = bh_spec_check_env(L);
    struct answer a = {.L = L};
    struct bh_publish_request r;
    char why[BH_WHY_MAX];
    luaL_checktype(L, 2, LUA_TTABLE);
    if (has_conn(L))
        return refuse_publish(L,
                              "only a policy publishes to a conn; name user, tenant, topic or all");
    if (bh_publish_read(L, 2, &r, why))
        return refuse_publish(L, why);
    r.p.source = BH_SOURCE_HTTP;
    bh_node_publish(env->worker, &r.p, on_published, &a, 0);
    finish(env, &a, "on_publish");
    return 2;
}
