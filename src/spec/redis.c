/* redis.c - the Redis of an environment: one function of the spec.
 *
 * The function gets the words of a command. Its result becomes the reply: a string, an integer, a
 * list or nil; `nil, text` is an error reply; false means that the link is down. It is called
 * between ticks, so a hook that asks Redis waits as in production. */
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "spec_internal.h"

#include <lauxlib.h>

struct call {
    struct bh_list node;
    bh_reply_cb done;
    void *ud;
    bh_handle handle;
    size_t argc;
    struct bh_slice *argv; /* followed by their bytes */
};

static void on_call(struct bh_redis *r, unsigned worker, size_t argc, const struct bh_slice *argv,
                    bh_reply_cb done, void *ud, bh_handle handle) {
    struct bh_spec_env *env = BH_CONTAINER_OF(r, struct bh_spec_env, redis);
    size_t bytes = 0;
    for (size_t i = 0; i < argc; i++)
        bytes += argv[i].n;
    struct call *c = bh_calloc(1, sizeof *c + argc * sizeof *argv + bytes);
    *c = (struct call){.done = done, .ud = ud, .handle = handle, .argc = argc};
    bh_list_init(&c->node);
    c->argv = (struct bh_slice *)(c + 1);
    char *at = (char *)(c->argv + argc);
    for (size_t i = 0; i < argc; i++) {
        c->argv[i] = bh_slice(at, argv[i].n);
        if (argv[i].n)
            memcpy(at, argv[i].p, argv[i].n);
        at += argv[i].n;
    }
    bh_list_append(&env->calls, &c->node);
}

static const struct bh_redis_vt vt = {on_call};

/* --- replies: the stack keeps their strings alive --- */

static struct bh_slice string_at(lua_State *L, int index) {
    struct bh_slice s;
    s.p = lua_tolstring(L, index, &s.n);
    return s;
}

static void read_reply(lua_State *L, int index, struct bh_reply *out);

static void read_list(lua_State *L, int index, struct bh_reply *out) {
    out->type = BH_REPLY_ARRAY;
    out->count = (size_t)lua_rawlen(L, index);
    struct bh_reply *elements = bh_calloc(out->count + 1, sizeof *elements);
    luaL_checkstack(L, (int)out->count + 4, "a reply");
    for (size_t i = 0; i < out->count; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        read_reply(L, lua_gettop(L), &elements[i]);
    }
    out->elements = elements;
}

static void read_reply(lua_State *L, int index, struct bh_reply *out) {
    *out = (struct bh_reply){.type = BH_REPLY_NIL};
    if (lua_istable(L, index)) {
        read_list(L, index, out);
    } else if (lua_isinteger(L, index)) {
        out->type = BH_REPLY_INTEGER;
        out->integer = lua_tointeger(L, index);
    } else if (lua_isstring(L, index)) {
        out->str = string_at(L, index);
        bool status =
            bh_slice_eq(out->str, BH_SLICE("OK")) || bh_slice_eq(out->str, BH_SLICE("PONG"));
        out->type = status ? BH_REPLY_STATUS : BH_REPLY_STRING;
    }
}

static void free_reply(const struct bh_reply *r) {
    for (size_t i = 0; r->type == BH_REPLY_ARRAY && i < r->count; i++)
        free_reply(&r->elements[i]);
    if (r->type == BH_REPLY_ARRAY)
        bh_free((void *)r->elements);
}

/* The function's results are at first and first + 1. */
static void answer(lua_State *L, int first, const struct call *c) {
    struct bh_reply reply;
    if (lua_isboolean(L, first)) {
        c->done(c->ud, c->handle, BH_EUNAVAIL, NULL);
        return;
    }
    read_reply(L, first, &reply);
    if (reply.type == BH_REPLY_NIL && lua_isstring(L, first + 1))
        reply = (struct bh_reply){.type = BH_REPLY_ERROR, .str = string_at(L, first + 1)};
    c->done(c->ud, c->handle, 0, &reply);
    free_reply(&reply);
}

/* On a stack of its own, because the callback may push results on the spec's stack: a handshake
 * that ends, for example. */
static void ask(struct bh_spec_env *env, const struct call *c) {
    lua_State *L = env->L, *own = lua_newthread(L);
    int anchor = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_checkstack(own, (int)c->argc + 8, "a command");
    lua_rawgeti(own, LUA_REGISTRYINDEX, env->redis_ref);
    for (size_t i = 0; i < c->argc; i++)
        lua_pushlstring(own, c->argv[i].p, c->argv[i].n);
    if (lua_pcall(own, (int)c->argc, 2, 0) != LUA_OK) {
        lua_pushnil(own);
        lua_insert(own, -2); /* an error reply */
    }
    env->L = L; /* the function may have called the environment */
    answer(own, 1, c);
    luaL_unref(L, LUA_REGISTRYINDEX, anchor);
}

void bh_spec_redis_answer(struct bh_spec_env *env) {
    struct bh_list *node;
    while (env->L && (node = bh_list_shift(&env->calls))) {
        struct call *c = BH_CONTAINER_OF(node, struct call, node);
        if (env->redis_ref == LUA_NOREF)
            c->done(c->ud, c->handle, BH_EUNAVAIL, NULL);
        else
            ask(env, c);
        bh_free(c);
    }
}

void bh_spec_redis_init(struct bh_spec_env *env) {
    env->redis.vt = &vt;
    bh_list_init(&env->calls);
    if (env->redis_ref != LUA_NOREF)
        env->worker->redis = &env->redis;
}

void bh_spec_redis_clear(struct bh_spec_env *env) {
    struct bh_list *node;
    while ((node = bh_list_shift(&env->calls)))
        bh_free(BH_CONTAINER_OF(node, struct call, node));
}
