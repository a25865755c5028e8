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
#include "conn.h"

#include "bellhop/base/error.h"

#define DEPTH_MAX   16
#define SLICE_MOVED 500   /* about a millisecond */
#define SLICE_SEEN  20000 /* without anything to move */
#define STACK_SPARE 8

/* --- data from one state to another --- */

/* Pushes a copy on `to`; false, and nothing is pushed, for what is no data. */
static bool copy(lua_State *from, int index, lua_State *to, int depth) {
    struct bh_slice s;
    switch (lua_type(from, index)) {
    case LUA_TBOOLEAN:
        lua_pushboolean(to, lua_toboolean(from, index));
        return true;
    case LUA_TNUMBER:
        if (lua_isinteger(from, index))
            lua_pushinteger(to, lua_tointeger(from, index));
        else
            lua_pushnumber(to, lua_tonumber(from, index));
        return true;
    case LUA_TSTRING:
        s.p = lua_tolstring(from, index, &s.n);
        lua_pushlstring(to, s.p, s.n);
        return true;
    case LUA_TLIGHTUSERDATA: /* bh.json.null */
        lua_pushlightuserdata(to, lua_touserdata(from, index));
        return true;
    case LUA_TTABLE:
        break;
    default:
        return false;
    }
    if (depth == 0 || !lua_checkstack(from, STACK_SPARE) || !lua_checkstack(to, STACK_SPARE))
        return false;
    int table = lua_absindex(from, index);
    lua_newtable(to);
    for (lua_pushnil(from); lua_next(from, table); lua_pop(from, 1)) {
        if (!copy(from, -2, to, depth - 1))
            continue;
        if (copy(from, -1, to, depth - 1))
            lua_rawset(to, -3);
        else
            lua_pop(to, 1);
    }
    return true;
}

/* Both objects are on top of their states. */
static void copy_vars(lua_State *from, lua_State *to, struct bh_conn *heir) {
    if (lua_getiuservalue(from, -1, 1) == LUA_TTABLE && copy(from, -1, to, DEPTH_MAX)) {
        lua_setiuservalue(to, -2, 1);
        heir->vars = true;
    }
    lua_pop(from, 1);
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
