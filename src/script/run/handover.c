/* handover.c - connections change from one generation of the scripts to the next.
 *
 * No object of Lua passes from one state to another. Each open connection that has something to
 * remember gets an object in the new state: a copy of its vars (as far as they are data) and the
 * jobs that wait. Where a hook is under way in the old state, the new object waits for it, so that
 * the hooks of one connection still run one at a time; when it ends, its vars win, for they are
 * the later ones.
 *
 * A connection is handed over when the new state first needs it; all others follow in slices, so
 * that nobody waits for 50,000. */
#include "lua/json_value.h"
#include "run/lua_conn.h"

#include "bellhop/base/error.h"
#include "bellhop/base/log.h"

#define DEPTH_MAX   16
#define VALUES_MAX  10000 /* of the vars of one connection */
#define SLICE_MOVED 500   /* about a millisecond */
#define SLICE_SEEN  20000 /* without anything to move */
#define STACK_SPARE 8

/* --- data from one state to another --- */

struct copier {
    lua_State *from, *to;
    unsigned left; /* values; a table that is referred to twice is two copies */
};

/* An empty list that says so stays a list. */
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

/* Pushes a copy on `to`; false, and nothing is pushed, for what is no data. */
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
static void copy_vars(lua_State *from, lua_State *to, struct bh_conn *heir) {
    struct copier c = {from, to, VALUES_MAX};
    if (lua_getiuservalue(from, -1, 1) == LUA_TTABLE && copy(&c, -1, DEPTH_MAX)) {
        lua_setiuservalue(to, -2, 1);
        heir->vars = true;
    }
    lua_pop(from, 1);
    if (c.left == 0)
        bh_warn_limited("conn.vars are too many to go along in a reload: some are left behind",
                        bh_kv_slice("user", bh_conn_identity(heir)->user),
                        bh_kv_int("values", VALUES_MAX));
}

/* --- one connection --- */

static void move_jobs(struct bh_conn *c, struct bh_conn *heir) {
    struct bh_list *node;
    while ((node = bh_list_shift(&c->jobs)))
        bh_list_append(&heir->jobs, node);
    heir->messages = c->messages;
    heir->bytes = c->bytes;
    heir->paused = c->paused;
    c->messages = 0;
    c->bytes = 0;
    c->paused = false;
}

static bool is_busy(const struct bh_conn *c) {
    return c->running || !bh_list_empty(&c->nested);
}

/* The elder is c, or whom c itself waits for. */
static void succeed(struct bh_conn *c, struct bh_conn *heir) {
    struct bh_conn *elder = is_busy(c) ? c : c->elder;
    c->elder = NULL;
    heir->elder = elder;
    if (!elder)
        return;
    elder->heir = heir;
    bh_conn_keep(elder); /* its vars are to be read when its hook has ended */
}

static void make_heir(struct bh_conn *c, struct bh_script *to, struct bh_subscriber *sub) {
    lua_checkstack(to->L, STACK_SPARE);
    struct bh_conn *heir = bh_conn_push(to->L, to, sub);
    copy_vars(c->script->L, to->L, heir);
    move_jobs(c, heir);
    heir->buckets = c->buckets;
    c->buckets = NULL;
    succeed(c, heir);
    bh_conn_keep(heir);
    c->vars = false;
    if (!is_busy(c))
        bh_conn_settle(c);
    lua_pop(to->L, 1);
}

void bh_conn_hand_over(struct bh_subscriber *sub, struct bh_script *to) {
    struct bh_conn *c = sub->script;
    lua_State *L = c->script->L;
    sub->script = NULL;
    if (!is_busy(c) && !c->elder && !c->vars && !c->buckets)
        return;
    lua_checkstack(L, STACK_SPARE);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->script->conns_ref);
    if (lua_rawgeti(L, -1, (lua_Integer)c->handle) == LUA_TUSERDATA)
        make_heir(c, to, sub);
    lua_pop(L, 2);
}

/* --- all of them, a slice at a time --- */

bool bh_conn_hand_over_some(struct bh_script *to, uint32_t *cursor) {
    struct bh_subscriber *sub;
    unsigned moved = 0;
    for (unsigned seen = 0; seen < SLICE_SEEN && moved < SLICE_MOVED; seen++) {
        if (!(sub = bh_slots_next(&to->worker->subscribers, cursor)))
            return false;
        if (!bh_conn_is_elsewhere(sub, to))
            continue;
        bh_conn_hand_over(sub, to);
        moved++;
    }
    return true;
}

void bh_conn_inherit(struct bh_conn *elder) {
    struct bh_conn *heir = elder->heir;
    if (is_busy(elder))
        return;
    lua_State *from = elder->script->L, *to = heir->script->L;
    lua_checkstack(from, STACK_SPARE);
    lua_checkstack(to, STACK_SPARE);
    bh_conn_push_kept(from, elder);
    bh_conn_push_kept(to, heir);
    copy_vars(from, to, heir);
    lua_pop(from, 1);
    lua_pop(to, 1);
    elder->heir = NULL;
    heir->elder = NULL;
    bh_conn_next(heir);
}
