/* bind_history.c - bh.history: pages of the streams of topics, and removing from them. Both wait.
 *
 * Like the fields of a publish, misuse raises an error, and invalid values (which may come from
 * clients) return nil and why. A page may be larger than the memory that is left, so it is made in
 * a protected call. */
#include "bind/bind_history.h"

#include "bind/bind.h"
#include "bind/bind_message.h"
#include "lua/args.h"
#include "lua/class.h"
#include "lua/json_value.h"
#include "run/sched.h"

#include "bellhop/base/error.h"

#include <stdio.h>

const char *const bh_history_read_options[] = {"user",  "tenant", "topic", "all",
                                               "since", "limit",  "order", NULL};
const char *const bh_history_remove_options[] = {"user", "tenant",   "topic",
                                                 "all",  "position", NULL};

/* --- options --- */

/* Exactly one of user, tenant, topic and all. 0, or BH_EINVAL with why; misuse raises. */
static int read_target(lua_State *L, int index, const char *function, struct bh_topic *topic,
                       char *why) {
    static const char *const names[] = {"user", "tenant", "topic", "all"};
    struct bh_publish_request r = {.targets = 0};
    int error = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && !error; i++) {
        if (lua_getfield(L, index, names[i]) != LUA_TNIL)
            error = bh_publish_set(L, names[i], &r, why);
        lua_pop(L, 1);
    }
    if (error == BH_ESCRIPT)
        return luaL_error(L, "%s: %s", function, why);
    if (!error && r.targets != 1)
        return luaL_error(L, "%s: name exactly one of user, tenant, topic and all = true",
                          function);
    *topic = r.p.topic;
    return error;
}

/* position.epoch 0: the option is nil. */
static int read_position(lua_State *L, int index, const char *function, const char *name,
                         struct bh_position *out, char *why) {
    *out = (struct bh_position){0};
    int type = lua_getfield(L, index, name), error = 0;
    if (type != LUA_TNIL && type != LUA_TSTRING)
        return luaL_error(L, "%s: %s must be a string, \"<epoch>-<offset>\"", function, name);
    if (type == LUA_TSTRING)
        error = bh_position_parse(bh_check_slice(L, -1), out);
    if (error)
        snprintf(why, BH_WHY_MAX, "%s: not a position (\"<epoch>-<offset>\")", name);
    lua_pop(L, 1);
    return error;
}

static uint32_t read_limit(lua_State *L, int index, const char *function) {
    lua_Integer limit = BH_PAGE_LIMIT;
    if (lua_getfield(L, index, "limit") != LUA_TNIL)
        limit = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    lua_pop(L, 1);
    if (limit < 1 || limit > BH_PAGE_LIMIT_MAX)
        luaL_error(L, "%s: limit must be an integer from 1 to %d", function, BH_PAGE_LIMIT_MAX);
    return (uint32_t)limit;
}

static bool read_order(lua_State *L, int index, const char *function, bool otherwise) {
    bool given = lua_getfield(L, index, "order") != LUA_TNIL;
    const char *order = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    bool ascending = strcmp(order, "asc") == 0;
    if (given && !ascending && strcmp(order, "desc") != 0)
        luaL_error(L, "%s: order must be \"asc\" or \"desc\"", function);
    lua_pop(L, 1);
    return given ? ascending : otherwise;
}

int bh_history_query_read(lua_State *L, int index, const char *function, struct bh_page_query *out,
                          char why[BH_WHY_MAX]) {
    *out = (struct bh_page_query){.bytes = BH_PAGE_BYTES};
    bh_check_option_names(L, index, bh_history_read_options);
    out->limit = read_limit(L, index, function);
    int error = read_target(L, index, function, &out->topic, why);
    if (!error)
        error = read_position(L, index, function, "since", &out->from, why);
    out->ascending = read_order(L, index, function, out->from.epoch != 0);
    return error;
}

static int no_history(lua_State *L, const struct bh_topic *topic) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s has no history; see `history` in the configuration", topic->name);
    return 2;
}

static const char *why_of(int error, const char *why) {
    return why ? why : bh_strerror(error);
}

/* --- a page --- */

static void push_message(lua_State *L, const struct bh_message *m) {
    lua_createtable(L, 0, 6);
    bh_push_optional(L, m->id);
    lua_setfield(L, -2, "id");
    bh_push_position(L, m->position);
    lua_setfield(L, -2, "position");
    if (m->stored_ms) {
        lua_pushnumber(L, (double)m->stored_ms / 1000);
        lua_setfield(L, -2, "time");
    }
    bh_push_slice(L, m->payload);
    lua_setfield(L, -2, "data");
    bh_push_opcode(L, m->opcode);
    lua_setfield(L, -2, "opcode");
    bh_push_filter(L, m->filter);
    lua_setfield(L, -2, "filter");
}

void bh_history_push_page(lua_State *L, const struct bh_lua_page *p) {
    lua_createtable(L, 0, 4);
    bh_push_position(L, p->range->top);
    lua_setfield(L, -2, "position");
    lua_pushboolean(L, p->more);
    lua_setfield(L, -2, "more");
    lua_pushboolean(L, p->gap);
    lua_setfield(L, -2, "gap");
    lua_createtable(L, (int)p->range->count, 0);
    lua_rawgetp(L, LUA_REGISTRYINDEX,
                &bh_json_array_key); /* a list for bh.json, also an empty one */
    lua_setmetatable(L, -2);
    for (size_t i = 0, n = 0; i < p->range->count; i++) {
        const struct bh_message *m = p->range->messages[i];
        if (m->kind != BH_MESSAGE_DATA || bh_message_expired(m, p->now_ms))
            continue;
        push_message(L, m);
        lua_rawseti(L, -2, (lua_Integer)++n);
    }
    lua_setfield(L, -2, "messages");
}

static int make_page(lua_State *L) {
    bh_history_push_page(L, lua_touserdata(L, 1));
    return 1;
}

static void answer_page(struct bh_task *t, struct bh_lua_page *page) {
    lua_State *L = t->script->L;
    int top = lua_gettop(L);
    lua_checkstack(L, 4);
    lua_pushcfunction(L, make_page);
    lua_pushlightuserdata(L, page);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        lua_settop(L, top);
        bh_task_answer_error(t, "not enough memory for the page");
        return;
    }
    lua_checkstack(t->co, 4);
    lua_xmove(L, t->co, 1);
    bh_task_answer(t, 1);
}

static void on_page(void *ud, bh_handle wait, int error, struct bh_range *range, bool gap,
                    bool more, const char *why) {
    struct bh_worker *w = ud;
    struct bh_task *t = bh_task_waiting(w, wait);
    if (!t)
        return;
    if (error)
        bh_task_answer_error(t, why_of(error, why));
    else
        answer_page(t, &(struct bh_lua_page){range, gap, more, bh_loop_now(w->loop)});
}

static int history_read(lua_State *L) {
    struct bh_page_query q;
    char why[BH_WHY_MAX];
    struct bh_task *t = bh_task_may_wait(L, "bh.history.read");
    struct bh_worker *w = t->script->worker;
    if (bh_history_query_read(L, 1, "bh.history.read", &q, why))
        return bh_push_error(L, why);
    if (!bh_node_stream_rule(w->node, &q.topic))
        return no_history(L, &q.topic);
    struct bh_history *history = bh_node_history(w->node);
    history->vt->page(history, w->index, &q, on_page, w, bh_task_wait(t, 0, NULL));
    return bh_task_yield(L, t);
}

/* --- removing --- */

static void on_removed(void *ud, bh_handle wait, int error, int64_t removed, const char *why) {
    struct bh_task *t = bh_task_waiting(ud, wait);
    if (!t)
        return;
    if (error) {
        bh_task_answer_error(t, why_of(error, why));
        return;
    }
    lua_pushinteger(t->co, (lua_Integer)removed);
    bh_task_answer(t, 1);
}

static int history_remove(lua_State *L) {
    static const char function[] = "bh.history.remove";
    struct bh_topic topic;
    struct bh_position position;
    char why[BH_WHY_MAX];
    struct bh_task *t = bh_task_may_wait(L, function);
    struct bh_worker *w = t->script->worker;
    bh_check_option_names(L, 1, bh_history_remove_options);
    if (read_target(L, 1, function, &topic, why) ||
        read_position(L, 1, function, "position", &position, why))
        return bh_push_error(L, why);
    if (position.epoch && !position.offset)
        return bh_push_error(L, "position: no message has offset 0");
    if (!bh_node_stream_rule(w->node, &topic))
        return no_history(L, &topic);
    struct bh_history *history = bh_node_history(w->node);
    history->vt->remove(history, w->index, &topic, position, on_removed, w,
                        bh_task_wait(t, 0, NULL));
    return bh_task_yield(L, t);
}

static const luaL_Reg functions[] = {
    {"read", history_read}, {"remove", history_remove}, {NULL, NULL}};

void bh_bind_history(lua_State *L) {
    bh_set_module(L, "history", functions);
}
