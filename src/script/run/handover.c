/* handover.c - connections change from one generation of the scripts to the next.
 *
 * No Lua object passes from one state to another. A connection with something to carry over gets a
 * conn in the new state: a copy of its vars (as far as they are data), its buckets, and the jobs
 * that wait. While one of its hooks still runs in the old state, the new conn waits for it, so that
 * the hooks of one connection still run one at a time; when that hook has finished, the vars are
 * copied again, since the hook may have changed them. */
#include "run/handover.h"

#include "lua/json_value.h"
#include "run/lua_conn.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"

#define DEPTH_MAX   16
#define VALUES_MAX  10000 /* of the vars of one connection */
#define SLICE_MOVED 500   /* about a millisecond */
#define SLICE_SEEN  20000 /* when there is nothing to move */
#define STACK_SPARE 8

/* --- data from one state to another --- */

struct copier {
    lua_State *from, *to;
    unsigned left; /* values; a table that is referred to twice is copied twice */
};

/* The marks of bh.json.array and bh.json.object. */
static void copy_mark(const struct copier *c, int table, const void *key) {
    if (!lua_getmetatable(c->from, table))
        return;
    lua_rawgetp(c->from, LUA_REGISTRYINDEX, key);
    if (lua_rawequal(c->from, -1, -2)) {
        lua_rawgetp(c->to, LUA_REGISTRYINDEX, key);
        lua_setmetatable(c->to, -2);
    }
    lua_pop(c->from, 2);
}

static bool copy(struct copier *c, int index, int depth);

static bool copy_table(struct copier *c, int index, int depth) {
    lua_State *from = c->from, *to = c->to;
    if (depth == 0 || !lua_checkstack(from, STACK_SPARE) || !lua_checkstack(to, STACK_SPARE))
        return false;
    int table = lua_absindex(from, index);
    lua_newtable(to);
    for (lua_pushnil(from); lua_next(from, table); lua_pop(from, 1)) {
        if (!copy(c, -2, depth - 1))
            continue;
        if (copy(c, -1, depth - 1))
            lua_rawset(to, -3);
        else
            lua_pop(to, 1);
    }
    copy_mark(c, table, &bh_json_array_key);
    copy_mark(c, table, &bh_json_object_key);
    return true;
}

/* Pushes a copy on `to`. False for a value that is not data; then nothing is pushed. */
static bool copy(struct copier *c, int index, int depth) {
    struct bh_slice s;
    if (c->left == 0)
        return false;
    c->left--;
    switch (lua_type(c->from, index)) {
    case LUA_TBOOLEAN:
        lua_pushboolean(c->to, lua_toboolean(c->from, index));
        return true;
    case LUA_TNUMBER:
        if (lua_isinteger(c->from, index))
            lua_pushinteger(c->to, lua_tointeger(c->from, index));
        else
            lua_pushnumber(c->to, lua_tonumber(c->from, index));
        return true;
    case LUA_TSTRING:
        s.p = lua_tolstring(c->from, index, &s.n);
        lua_pushlstring(c->to, s.p, s.n);
        return true;
    case LUA_TLIGHTUSERDATA: /* bh.json.null */
        lua_pushlightuserdata(c->to, lua_touserdata(c->from, index));
        return true;
    case LUA_TTABLE:
        return copy_table(c, index, depth);
    default:
        return false;
    }
}

/* Both objects are on top of their states. */
static void copy_vars(lua_State *from, lua_State *to, struct bh_lua_conn *newer) {
    struct copier c = {from, to, VALUES_MAX};
    if (lua_getiuservalue(from, -1, 1) == LUA_TTABLE && copy(&c, -1, DEPTH_MAX)) {
        lua_setiuservalue(to, -2, 1);
        newer->vars = true;
    }
    lua_pop(from, 1);
    if (c.left == 0)
        bh_warn_limited("conn.vars has too many values for a reload: some were dropped",
                        bh_kv_slice("user", bh_lua_conn_identity(newer)->user),
                        bh_kv_int("values", VALUES_MAX));
}

/* --- one connection --- */

static void move_jobs(struct bh_lua_conn *c, struct bh_lua_conn *newer) {
    struct bh_list *node;
    while ((node = bh_list_shift(&c->jobs)))
        bh_list_append(&newer->jobs, node);
    newer->messages = c->messages;
    newer->bytes = c->bytes;
    newer->paused = c->paused;
    c->messages = 0;
    c->bytes = 0;
    c->paused = false;
}

static bool is_busy(const struct bh_lua_conn *c) {
    return c->running || !bh_list_empty(&c->nested);
}

/* newer waits for c, or, when c has no running hook, for the conn that c itself waits for. */
static void link_generations(struct bh_lua_conn *c, struct bh_lua_conn *newer) {
    struct bh_lua_conn *older = is_busy(c) ? c : c->older;
    c->older = NULL;
    newer->older = older;
    if (!older)
        return;
    older->newer = newer;
    bh_lua_conn_pin(older); /* its vars are read when its hook has finished */
}

static void make_newer(struct bh_lua_conn *c, struct bh_script *to, struct bh_subscriber *sub) {
    lua_checkstack(to->L, STACK_SPARE);
    struct bh_lua_conn *newer = bh_lua_conn_push(to->L, to, sub);
    copy_vars(c->script->L, to->L, newer);
    move_jobs(c, newer);
    newer->buckets = c->buckets;
    c->buckets = NULL;
    link_generations(c, newer);
    bh_lua_conn_pin(newer);
    c->vars = false;
    if (!is_busy(c))
        bh_lua_conn_unpin_if_idle(c);
    lua_pop(to->L, 1);
}

static void move(struct bh_subscriber *sub, struct bh_script *to) {
    struct bh_lua_conn *c = sub->script;
    lua_State *L = c->script->L;
    sub->script = NULL;
    if (!is_busy(c) && !c->older && !c->vars && !c->buckets)
        return;
    lua_checkstack(L, STACK_SPARE);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->script->conns_ref);
    if (lua_rawgeti(L, -1, (lua_Integer)c->handle) == LUA_TUSERDATA)
        make_newer(c, to, sub);
    lua_pop(L, 2);
}

static void adopt(struct bh_lua_conn *older) {
    struct bh_lua_conn *newer = older->newer;
    if (is_busy(older))
        return;
    lua_State *from = older->script->L, *to = newer->script->L;
    lua_checkstack(from, STACK_SPARE);
    lua_checkstack(to, STACK_SPARE);
    bh_lua_conn_push_pinned(from, older);
    bh_lua_conn_push_pinned(to, newer);
    copy_vars(from, to, newer);
    lua_pop(from, 1);
    lua_pop(to, 1);
    older->newer = NULL;
    newer->older = NULL;
    bh_lua_conn_run_next(newer);
}

/* --- the rest of the connections, in slices --- */

/* False: those were the last. */
static bool move_slice(struct bh_script_worker *sw) {
    struct bh_script *to = (struct bh_script *)sw->worker->hooks;
    struct bh_subscriber *sub;
    unsigned moved = 0;
    for (unsigned seen = 0; seen < SLICE_SEEN && moved < SLICE_MOVED; seen++) {
        if (!(sub = bh_slots_next(&sw->worker->subscribers, &sw->handover.cursor)))
            return false;
        if (!bh_lua_conn_is_elsewhere(sub, to))
            continue;
        move(sub, to);
        moved++;
    }
    return true;
}

static void on_slice(struct bh_timer *t) {
    struct bh_script_worker *sw = BH_CONTAINER_OF(t, struct bh_script_worker, handover.timer);
    sw->handover.active = move_slice(sw);
    if (sw->handover.active) {
        bh_timer_set(t, 1);
        return;
    }
    for (struct bh_list *at = sw->states.next; at != &sw->states; at = at->next) {
        struct bh_script *s = BH_CONTAINER_OF(at, struct bh_script, in_worker);
        if (s->live_count == 0)
            s->on_idle(s);
    }
}

void bh_handover_init(struct bh_script_worker *sw) {
    sw->handover.move = move;
    sw->handover.adopt = adopt;
    bh_timer_init(&sw->handover.timer, sw->worker->loop, on_slice);
}

void bh_handover_deinit(struct bh_script_worker *sw) {
    bh_timer_cancel(&sw->handover.timer);
}

void bh_handover_start(struct bh_script_worker *sw) {
    sw->handover.active = true;
    sw->handover.cursor = 0;
    bh_timer_set(&sw->handover.timer, 0);
}
