/* bind_redis.c - bh.redis.call(command, ...): waits for the reply.
 *
 * Replies become strings, integers and lists; nil is nil at the top and bh.json.null in a list,
 * which must not have holes. An error reply, a broken link and a timeout are nil and the text. */
#include "bind.h"
#include "sched.h"

#include "bellhop/base/error.h"

#define ARGUMENTS_MAX   1024
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
        bh_bind_push_slice(L, reply->str);
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

static int redis_call(lua_State *L) {
    int argc = lua_gettop(L);
    struct bh_task *t = bh_task_may_wait(L, "bh.redis.call");
    struct bh_worker *w = t->script->worker;
    luaL_argcheck(L, argc >= 1 && argc <= ARGUMENTS_MAX, 1,
                  "a command, with at most 1023 arguments");
    if (!w->redis)
        return bh_bind_error(L, "no Redis is configured (see --redis)");
    struct bh_slice *argv = lua_newuserdatauv(L, (size_t)argc * sizeof *argv, 0);
    for (int i = 0; i < argc; i++)
        argv[i] = bh_bind_slice(L, i + 1);
    uint64_t timeout = t->script->config->redis_timeout_ms;
    bh_handle wait = bh_task_wait(t, timeout ? timeout : TIMEOUT_MS, on_timeout);
    w->redis->vt->call(w->redis, w->index, (size_t)argc, argv, on_reply, w, wait);
    return bh_task_yield(L, t);
}

static const luaL_Reg functions[] = {{"call", redis_call}, {NULL, NULL}};

void bh_bind_redis(lua_State *L) {
    bh_bind_module(L, "redis", functions);
}
