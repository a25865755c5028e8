/* fetch.c - the HTTP servers of an environment: one function of the spec.
 *
 * The function gets a request as a table (url, method, headers, body, timeout) and returns a
 * response as a table (status, headers, body), or nil and an error. It is called between ticks, so
 * a hook that fetches waits as in production. */
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "spec_internal.h"

#include <lauxlib.h>

#define HEADERS_MAX 64

struct call {
    struct bh_list node;
    bh_handle number;
    bh_fetch_cb done;
    void *ud;
    bh_handle handle;
    int request_ref; /* the table for the function */
};

static void set_slice(lua_State *L, const char *name, struct bh_slice s) {
    lua_pushlstring(L, s.n ? s.p : "", s.n);
    lua_setfield(L, -2, name);
}

static void push_request(lua_State *L, const struct bh_fetch_request *r) {
    lua_newtable(L);
    set_slice(L, "url", r->url);
    set_slice(L, "method",
              r->method.n   ? r->method
              : r->has_body ? BH_SLICE("POST")
                            : BH_SLICE("GET"));
    if (r->has_body)
        set_slice(L, "body", r->body);
    lua_pushnumber(L, (double)r->timeout_ms / 1000);
    lua_setfield(L, -2, "timeout");
    lua_createtable(L, 0, (int)r->header_count);
    for (size_t i = 0; i < r->header_count; i++) {
        lua_pushlstring(L, r->headers[i].name.p, r->headers[i].name.n);
        lua_pushlstring(L, r->headers[i].value.n ? r->headers[i].value.p : "",
                        r->headers[i].value.n);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "headers");
}

static bh_handle on_call(struct bh_fetch *f, const struct bh_fetch_request *request,
                         bh_fetch_cb done, void *ud, bh_handle handle) {
    struct bh_spec_env *env = BH_CONTAINER_OF(f, struct bh_spec_env, fetch);
    struct call *c = bh_malloc(sizeof *c);
    *c = (struct call){.number = ++env->fetch_number, .done = done, .ud = ud, .handle = handle};
    bh_list_init(&c->node);
    push_request(env->L, request);
    c->request_ref = luaL_ref(env->L, LUA_REGISTRYINDEX);
    bh_list_append(&env->fetches, &c->node);
    return c->number;
}

static void drop(struct bh_spec_env *env, struct call *c) {
    bh_list_unlink(&c->node);
    if (env->L)
        luaL_unref(env->L, LUA_REGISTRYINDEX, c->request_ref);
    bh_free(c);
}

static void on_cancel(struct bh_fetch *f, bh_handle number) {
    struct bh_spec_env *env = BH_CONTAINER_OF(f, struct bh_spec_env, fetch);
    for (struct bh_list *at = env->fetches.next; at != &env->fetches; at = at->next) {
        struct call *c = BH_CONTAINER_OF(at, struct call, node);
        if (c->number == number) {
            drop(env, c);
            return;
        }
    }
}

static const struct bh_fetch_vt vt = {on_call, on_cancel};

/* --- responses: the table on the stack keeps their strings alive --- */

static size_t read_headers(lua_State *L, int index, struct bh_header *out) {
    size_t n = 0;
    if (lua_getfield(L, index, "headers") == LUA_TTABLE)
        for (lua_pushnil(L); n < HEADERS_MAX && lua_next(L, -2); lua_pop(L, 1)) {
            if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
                continue;
            out[n].name.p = lua_tolstring(L, -2, &out[n].name.n);
            out[n].value.p = lua_tolstring(L, -1, &out[n].value.n);
            n++;
        }
    lua_pop(L, 1);
    return n;
}

static void answer(lua_State *L, int first, const struct call *c) {
    struct bh_header headers[HEADERS_MAX];
    struct bh_fetch_response r = {.status = 200, .headers = headers};
    if (!lua_istable(L, first)) {
        const char *why = lua_tostring(L, first + 1);
        c->done(c->ud, c->handle, BH_EUNAVAIL, why ? why : "the spec has no response", NULL);
        return;
    }
    if (lua_getfield(L, first, "status") == LUA_TNUMBER)
        r.status = (int)lua_tointeger(L, -1);
    if (lua_getfield(L, first, "body") == LUA_TSTRING)
        r.body.p = lua_tolstring(L, -1, &r.body.n);
    r.header_count = read_headers(L, first, headers);
    c->done(c->ud, c->handle, 0, NULL, &r);
}

/* On a stack of its own, because the callback may push results on the spec's stack: a handshake
 * that ends, for example. */
static void ask(struct bh_spec_env *env, const struct call *c) {
    lua_State *L = env->L, *own = lua_newthread(L);
    int anchor = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_checkstack(own, 16, "a request");
    lua_rawgeti(own, LUA_REGISTRYINDEX, env->fetch_ref);
    lua_rawgeti(own, LUA_REGISTRYINDEX, c->request_ref);
    if (lua_pcall(own, 1, 2, 0) != LUA_OK) {
        lua_pushnil(own);
        lua_insert(own, -2);
    }
    env->L = L; /* the function may have called the environment */
    answer(own, 1, c);
    luaL_unref(L, LUA_REGISTRYINDEX, anchor);
}

void bh_spec_fetch_answer(struct bh_spec_env *env) {
    struct bh_list *node;
    while (env->L && (node = bh_list_shift(&env->fetches))) {
        struct call *c = BH_CONTAINER_OF(node, struct call, node);
        ask(env, c);
        drop(env, c);
    }
}

void bh_spec_fetch_init(struct bh_spec_env *env) {
    env->fetch.vt = &vt;
    bh_list_init(&env->fetches);
    if (env->fetch_ref != LUA_NOREF)
        env->worker->fetch = &env->fetch;
}

void bh_spec_fetch_clear(struct bh_spec_env *env) {
    while (!bh_list_empty(&env->fetches))
        drop(env, BH_CONTAINER_OF(env->fetches.next, struct call, node));
}
