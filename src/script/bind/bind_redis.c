/* bind_redis.c - bh.redis: call, must, pipeline, eval. All wait for the reply.
 *
 * A function that waits keeps its stack frame; completions find there what they need: the script to
 * send with EVAL, the results of a pipeline.
 *
 * Replies become strings, integers and lists. nil is nil, but bh.json.null in a list, which must
 * not have holes. An error reply, a broken link and a time-out are nil and the message. */
#include "bind/bind.h"
#include "lua/args.h"
#include "lua/class.h"
#include "run/sched.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include <stdio.h>

#define ARGUMENTS_MAX   1024
#define PIPELINE_MAX    1000
#define REPLY_DEPTH_MAX 8
#define TIMEOUT_MS      5000

static void push_reply(lua_State *L, const struct bh_reply *reply, unsigned depth) {
    if (!lua_checkstack(L, 4) || depth > REPLY_DEPTH_MAX) {
        lua_pushlightuserdata(L, NULL);
        return;
    }
    switch (reply->type) {
    case BH_REPLY_INTEGER:
        lua_pushinteger(L, reply->integer);
        return;
    case BH_REPLY_STRING:
    case BH_REPLY_STATUS:
    case BH_REPLY_ERROR:
        bh_push_slice(L, reply->str);
        return;
    case BH_REPLY_ARRAY:
        break;
    default:
        lua_pushlightuserdata(L, NULL);
        return;
    }
    lua_newtable(L);
    for (size_t i = 0; i < reply->count; i++) {
        push_reply(L, &reply->elements[i], depth + 1);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void on_reply(void *ud, bh_handle wait, int error, const struct bh_reply *reply) {
    struct bh_task *t = bh_task_waiting(ud, wait);
    if (!t)
        return;
    if (error) {
        bh_task_answer_error(t, bh_strerror(error));
        return;
    }
    lua_checkstack(t->co, 4);
    bool failed = reply->type == BH_REPLY_ERROR;
    if (failed || reply->type == BH_REPLY_NIL)
        lua_pushnil(t->co);
    if (reply->type != BH_REPLY_NIL)
        push_reply(t->co, reply, 0);
    bh_task_answer(t, failed ? 2 : 1);
}

static void on_timeout(struct bh_timer *timer) {
    bh_task_answer_error(BH_CONTAINER_OF(timer, struct bh_task, timer), bh_strerror(BH_ETIMEDOUT));
}

static bh_handle wait_for_reply(struct bh_task *t) {
    uint64_t timeout = t->script->config->redis_timeout_ms;
    return bh_task_wait(t, timeout ? timeout : TIMEOUT_MS, on_timeout);
}

static void send(struct bh_task *t, size_t argc, const struct bh_slice *argv, bh_handle wait) {
    struct bh_worker *w = t->script->worker;
    w->redis->vt->call(w->redis, w->index, argc, argv, on_reply, w, wait);
}

static bool has_redis(const struct bh_task *t) {
    return t->script->worker->redis != NULL;
}

static int no_redis(lua_State *L) {
    return bh_push_error(L, "no Redis is configured (see --redis)");
}

/* --- call, must --- */

static void check_count(lua_State *L, int argc, int arg) {
    luaL_argcheck(L, argc >= 1 && argc <= ARGUMENTS_MAX, arg,
                  "a command, with at most 1023 arguments");
}

/* The task, which waits now; NULL: no Redis is configured. */
static struct bh_task *begin_call(lua_State *L, const char *name) {
    int argc = lua_gettop(L);
    struct bh_task *t = bh_task_may_wait(L, name);
    check_count(L, argc, 1);
    if (!has_redis(t))
        return NULL;
    struct bh_slice *argv = lua_newuserdatauv(L, (size_t)argc * sizeof *argv, 0);
    for (int i = 0; i < argc; i++)
        argv[i] = bh_check_slice(L, i + 1);
    send(t, (size_t)argc, argv, wait_for_reply(t));
    return t;
}

static int redis_call(lua_State *L) {
    struct bh_task *t = begin_call(L, "bh.redis.call");
    return t ? bh_task_yield(L, t) : no_redis(L);
}

/* The answers are above `below`. */
static int must_succeed(lua_State *L, int status, lua_KContext below) {
    int first = (int)below + 1;
    if (lua_gettop(L) > first && lua_isnil(L, first))
        return luaL_error(L, "bh.redis.must: %s", lua_tostring(L, first + 1));
    return lua_gettop(L) - (int)below;
}

static int redis_must(lua_State *L) {
    struct bh_task *t = begin_call(L, "bh.redis.must");
    if (!t)
        return luaL_error(L, "bh.redis.must: no Redis is configured (see --redis)");
    return bh_task_yieldk(L, t, must_succeed);
}

/* --- pipeline --- */

/* Owned by the pending calls. The results are the table at index `results` in the frame of the
 * function that waits. */
struct pipeline {
    struct bh_worker *worker;
    bh_handle wait;
    int results;
    size_t left;
};

struct piped {
    struct pipeline *pipeline;
    lua_Integer number;
};

static void store_result(struct bh_task *t, const struct piped *one, int error,
                         const struct bh_reply *reply) {
    lua_State *L = t->co;
    lua_checkstack(L, 8);
    if (error || reply->type == BH_REPLY_ERROR) {
        lua_createtable(L, 0, 1);
        if (error)
            lua_pushstring(L, bh_strerror(error));
        else
            bh_push_slice(L, reply->str);
        lua_setfield(L, -2, "error");
    } else {
        push_reply(L, reply, 0);
    }
    lua_rawseti(L, one->pipeline->results, one->number);
}

static void on_piped(void *ud, bh_handle number, int error, const struct bh_reply *reply) {
    struct pipeline *p = ud;
    struct bh_task *t = bh_task_waiting(p->worker, p->wait);
    if (t)
        store_result(t, &(struct piped){p, (lua_Integer)number}, error, reply);
    if (--p->left > 0)
        return;
    if (t) {
        lua_pushvalue(t->co, p->results);
        bh_task_answer(t, 1);
    }
    bh_free(p);
}

/* Reads the command at index into an array that it pushes; returns the number of arguments. */
static size_t read_command(lua_State *L, int index, struct bh_slice **argv) {
    int argc = (int)lua_rawlen(L, index);
    luaL_argcheck(L, lua_istable(L, index) && argc >= 1 && argc <= ARGUMENTS_MAX, 1,
                  "a list of commands, each a list of a name and at most 1023 arguments");
    *argv = lua_newuserdatauv(L, (size_t)argc * sizeof **argv, 0);
    luaL_checkstack(L, argc, "bh.redis");
    for (int i = 0; i < argc; i++) {
        lua_rawgeti(L, index, i + 1);
        luaL_argcheck(L, lua_isstring(L, -1), 1, "commands are made of strings and numbers");
        (*argv)[i].p = lua_tolstring(L, -1, &(*argv)[i].n);
    }
    return (size_t)argc;
}

static void check_commands(lua_State *L, lua_Integer count) {
    luaL_argcheck(L, count >= 1 && count <= PIPELINE_MAX, 1, "1 to 1000 commands");
    for (lua_Integer i = 1; i <= count; i++) {
        struct bh_slice *argv;
        int top = lua_gettop(L);
        lua_rawgeti(L, 1, i);
        read_command(L, lua_gettop(L), &argv);
        lua_settop(L, top);
    }
}

static int redis_pipeline(lua_State *L) {
    struct bh_task *t = bh_task_may_wait(L, "bh.redis.pipeline");
    struct bh_worker *w = t->script->worker;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_Integer count = (lua_Integer)lua_rawlen(L, 1);
    check_commands(L, count);
    if (!has_redis(t))
        return no_redis(L);
    lua_createtable(L, (int)count, 0);
    struct pipeline *p = bh_malloc(sizeof *p);
    *p = (struct pipeline){w, wait_for_reply(t), 2, (size_t)count};
    for (lua_Integer i = 1; i <= count; i++) {
        struct bh_slice *argv;
        lua_rawgeti(L, 1, i);
        size_t argc = read_command(L, 3, &argv);
        w->redis->vt->call(w->redis, w->index, argc, argv, on_piped, p, (bh_handle)i);
        if (!t->answered)
            lua_settop(L, 2);
    }
    return bh_task_yield(L, t);
}

/* --- eval --- */

/* The frame of redis_eval. */
enum { EVAL_SCRIPT = 1, EVAL_KEYS, EVAL_ARGS };

static void add_list(lua_State *L, int index, struct bh_slice *argv, size_t *argc) {
    for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, index); i <= n; i++) {
        lua_rawgeti(L, index, i);
        argv[*argc].p = lua_tolstring(L, -1, &argv[*argc].n);
        (*argc)++;
    }
}

static void send_eval(struct bh_task *t, bh_handle wait, struct bh_slice command,
                      struct bh_slice script, bh_reply_cb done) {
    lua_State *L = t->co;
    struct bh_worker *w = t->script->worker;
    char count[24];
    int top = lua_gettop(L);
    size_t keys = lua_rawlen(L, EVAL_KEYS), argc = 3;
    size_t most = argc + keys + lua_rawlen(L, EVAL_ARGS);
    lua_checkstack(L, (int)most + 4);
    struct bh_slice *argv = bh_malloc(most * sizeof *argv);
    argv[0] = command;
    argv[1] = script;
    argv[2] = bh_slice(count, (size_t)snprintf(count, sizeof count, "%zu", keys));
    add_list(L, EVAL_KEYS, argv, &argc);
    add_list(L, EVAL_ARGS, argv, &argc);
    w->redis->vt->call(w->redis, w->index, argc, argv, done, w, wait);
    bh_free(argv);
    if (!t->answered)
        lua_settop(L, top);
}

static void on_evalsha(void *ud, bh_handle wait, int error, const struct bh_reply *reply) {
    struct bh_task *t = bh_task_waiting(ud, wait);
    struct bh_slice script;
    if (!t || error || reply->type != BH_REPLY_ERROR ||
        !bh_slice_starts(reply->str, BH_SLICE("NOSCRIPT"))) {
        on_reply(ud, wait, error, reply);
        return;
    }
    script.p = lua_tolstring(t->co, EVAL_SCRIPT, &script.n);
    send_eval(t, wait, BH_SLICE("EVAL"), script, on_reply);
}

/* Replaces the list by a copy whose numbers are strings. */
static void copy_list(lua_State *L, int arg) {
    lua_Integer n = 0;
    if (!lua_isnoneornil(L, arg)) {
        luaL_checktype(L, arg, LUA_TTABLE);
        n = (lua_Integer)lua_rawlen(L, arg);
    }
    luaL_argcheck(L, n <= ARGUMENTS_MAX - 3, arg, "too many");
    lua_createtable(L, (int)n, 0);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, arg, i);
        luaL_argcheck(L, lua_isstring(L, -1), arg, "a list of strings and numbers");
        lua_tostring(L, -1);
        lua_rawseti(L, -2, i);
    }
    lua_replace(L, arg);
}

static int redis_eval(lua_State *L) {
    struct bh_task *t = bh_task_may_wait(L, "bh.redis.eval");
    char sha[2 * BH_DIGEST_MAX + 1];
    unsigned char digest[BH_DIGEST_MAX];
    struct bh_slice script = bh_check_slice(L, EVAL_SCRIPT);
    lua_settop(L, 3);
    copy_list(L, EVAL_KEYS);
    copy_list(L, EVAL_ARGS);
    if (!has_redis(t))
        return no_redis(L);
    int n = bh_digest("sha1", script, digest);
    for (int i = 0; i < n; i++)
        snprintf(sha + 2 * i, 3, "%02x", digest[i]);
    send_eval(t, wait_for_reply(t), BH_SLICE("EVALSHA"), bh_slice_cstr(sha), on_evalsha);
    return bh_task_yield(L, t);
}

static const luaL_Reg functions[] = {{"call", redis_call},
                                     {"must", redis_must},
                                     {"pipeline", redis_pipeline},
                                     {"eval", redis_eval},
                                     {NULL, NULL}};

void bh_bind_redis(lua_State *L) {
    bh_set_module(L, "redis", functions);
}
