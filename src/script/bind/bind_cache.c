/* bind_cache.c - bh.cache(namespace, key, ttl, fn): the result of fn(), on_fetched once and cached.
 *
 * One fetch per key: the task that asks first runs fn; the others wait for its result. A value that
 * is not nil is cached for ttl seconds, or for the seconds that fn returns as its second result.
 * nil with an error text goes to all that wait and is not cached. An error raised by fn goes to the
 * others as text, and is raised in the task that runs fn. When that task is cancelled, the others
 * get an error. Each state has its own cache: workers do not share values, and a reload starts
 * empty. At most CACHE_MAX keys; the least recently used one is removed first. */
#include "bind/bind_cache.h"

#include "bind/bind.h"
#include "lua/args.h"
#include "run/sched.h"

#include "bellhop/base/list.h"
#include "bellhop/base/map.h"
#include "bellhop/base/mem.h"

#include <math.h>

#define CACHE_MAX 10000
#define TTL_MAX   (30 * 86400.0)
#define FETCH_MT  "bellhop.cache.fetch"

struct bh_cache {
    struct bh_map map;
    struct bh_list used; /* least recently used first */
};

struct entry {
    struct bh_list used;    /* in cache->used, unless it is being on_fetched */
    struct bh_list waiting; /* of struct waiter */
    bool fetching;
    const struct bh_task *fetcher; /* while fetching */
    int ref;                       /* of the value; LUA_NOREF: none */
    uint64_t expires_ms;
    size_t key_len;
    char key[];
};

struct waiter {
    struct bh_list node;
    bh_handle wait;
};

/* A to-be-closed value in the frame that runs fn: the waiting tasks are answered however fn ends.
 */
struct fetch {
    struct entry *entry; /* NULL: they have been answered */
};

static struct bh_slice key_of(const void *value) {
    const struct entry *e = value;
    return bh_slice(e->key, e->key_len);
}

struct bh_cache *bh_cache_new(void) {
    struct bh_cache *c = bh_calloc(1, sizeof *c);
    bh_map_init(&c->map, key_of);
    bh_list_init(&c->used);
    return c;
}

static void entry_free(struct entry *e) {
    struct bh_list *node;
    while ((node = bh_list_shift(&e->waiting)))
        bh_free(BH_CONTAINER_OF(node, struct waiter, node));
    bh_list_unlink(&e->used);
    bh_free(e);
}

void bh_cache_free(struct bh_cache *c) {
    size_t cursor = 0;
    for (struct entry *e; (e = bh_map_next(&c->map, &cursor));)
        entry_free(e);
    bh_map_deinit(&c->map);
    bh_free(c);
}

static void remove_entry(lua_State *L, struct bh_cache *c, struct entry *e) {
    luaL_unref(L, LUA_REGISTRYINDEX, e->ref);
    bh_map_remove(&c->map, key_of(e));
    entry_free(e);
}

static struct entry *new_entry(lua_State *L, struct bh_cache *c, struct bh_slice key) {
    if (c->map.count >= CACHE_MAX && !bh_list_empty(&c->used))
        remove_entry(L, c, BH_CONTAINER_OF(c->used.next, struct entry, used));
    struct entry *e = bh_calloc(1, sizeof *e + key.n);
    bh_list_init(&e->used);
    bh_list_init(&e->waiting);
    e->ref = LUA_NOREF;
    e->key_len = key.n;
    memcpy(e->key, key.p, key.n);
    bh_map_put(&c->map, e);
    return e;
}

/* --- the end of a fetch --- */

/* The results are at index and index + 1 of L. */
static void finish_fetch(lua_State *L, struct entry *e, int index) {
    struct bh_script *s = bh_script_of(L);
    struct bh_list waiting, *node;
    bh_list_init(&waiting);
    while ((node = bh_list_shift(&e->waiting)))
        bh_list_append(&waiting, node);
    if (lua_isnil(L, index)) {
        remove_entry(L, s->cache, e);
    } else {
        lua_pushvalue(L, index);
        e->ref = luaL_ref(L, LUA_REGISTRYINDEX);
        e->fetching = false;
        bh_list_append(&s->cache->used, &e->used);
    }
    while ((node = bh_list_shift(&waiting))) {
        struct waiter *w = BH_CONTAINER_OF(node, struct waiter, node);
        struct bh_task *t = bh_task_waiting(s->worker, w->wait);
        bh_free(w);
        if (!t)
            continue;
        lua_checkstack(t->co, 4);
        int results = lua_isnil(L, index) ? 2 : 1;
        for (int i = 0; i < results; i++)
            lua_pushvalue(L, index + i);
        lua_xmove(L, t->co, results);
        bh_task_answer(t, results);
    }
}

/* Arguments: the fetch, an error or nil. */
static int fetch_close(lua_State *L) {
    struct fetch *f = luaL_checkudata(L, 1, FETCH_MT);
    struct entry *e = f->entry;
    f->entry = NULL;
    if (!e || !bh_script_of(L)->started)
        return 0;
    const char *why = lua_tostring(L, 2);
    lua_settop(L, 2);
    lua_pushnil(L);
    lua_pushstring(L, why ? why : "the task that was fetching the value was cancelled");
    finish_fetch(L, e, 3);
    return 0;
}

static lua_Number check_ttl(lua_State *L, int arg) {
    lua_Number ttl = luaL_checknumber(L, arg);
    luaL_argcheck(L, ttl >= 0 && ttl <= TTL_MAX, arg, "seconds, from 0 to 30 days");
    return ttl;
}

/* The frame of bh.cache. */
enum { NAMESPACE = 1, KEY, TTL, FUNCTION, GUARD };

static int on_fetched(lua_State *L, int status, lua_KContext context) {
    struct fetch *f = lua_touserdata(L, GUARD);
    struct entry *e = f->entry;
    lua_Number ttl = lua_tonumber(L, TTL);
    lua_settop(L, GUARD + 2);
    bool found = !lua_isnil(L, GUARD + 1);
    if (found && !lua_isnil(L, GUARD + 2)) {
        ttl = check_ttl(L, GUARD + 2);
        lua_pushnil(L);
        lua_replace(L, GUARD + 2);
    }
    f->entry = NULL;
    e->expires_ms = bh_loop_now(bh_script_of(L)->worker->loop) + (uint64_t)ceil(ttl * 1000);
    finish_fetch(L, e, GUARD + 1);
    lua_settop(L, found ? GUARD + 1 : GUARD + 2);
    return found ? 1 : 2;
}

/* --- look-up --- */

static int start_fetch(lua_State *L, struct entry *e, const struct bh_task *t) {
    struct fetch *f = lua_newuserdatauv(L, sizeof *f, 0);
    f->entry = e;
    e->fetching = true;
    e->fetcher = t;
    luaL_setmetatable(L, FETCH_MT);
    lua_toclose(L, GUARD);
    lua_pushvalue(L, FUNCTION);
    lua_callk(L, 0, 2, 0, on_fetched);
    return on_fetched(L, LUA_OK, 0);
}

static int wait_for(lua_State *L, struct bh_task *t, struct entry *e) {
    struct waiter *w = bh_malloc(sizeof *w);
    bh_list_init(&w->node);
    w->wait = bh_task_wait(t, 0, NULL);
    bh_list_append(&e->waiting, &w->node);
    return bh_task_yield(L, t);
}

static struct entry *find(lua_State *L, struct bh_cache *c, struct bh_slice key, uint64_t now_ms) {
    struct entry *e = bh_map_get(&c->map, key);
    if (!e || e->fetching || e->expires_ms > now_ms)
        return e;
    remove_entry(L, c, e);
    return NULL;
}

static int cache(lua_State *L) {
    struct bh_script *s = bh_script_of(L);
    struct bh_task *t = bh_task_may_wait(L, "bh.cache");
    struct bh_slice name = bh_check_slice(L, NAMESPACE), key = bh_check_slice(L, KEY);
    check_ttl(L, TTL);
    luaL_checktype(L, FUNCTION, LUA_TFUNCTION);
    lua_settop(L, FUNCTION);
    bh_bytes_clear(&s->scratch);
    bh_bytes_addf(&s->scratch, "%zu:", name.n);
    bh_bytes_add(&s->scratch, name);
    bh_bytes_add(&s->scratch, key);
    struct bh_slice whole = bh_bytes_slice(&s->scratch);
    struct entry *e = find(L, s->cache, whole, bh_loop_now(s->worker->loop));
    if (e && e->fetching && e->fetcher == t)
        return luaL_error(L, "bh.cache: fn calls bh.cache for the key that it fetches");
    if (e && e->fetching)
        return wait_for(L, t, e);
    if (!e)
        return start_fetch(L, new_entry(L, s->cache, whole), t);
    bh_list_unlink(&e->used);
    bh_list_append(&s->cache->used, &e->used);
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->ref);
    return 1;
}

void bh_bind_cache(lua_State *L) {
    luaL_newmetatable(L, FETCH_MT);
    lua_pushcfunction(L, fetch_close);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
    lua_pushcfunction(L, cache);
    lua_setfield(L, -2, "cache");
}
