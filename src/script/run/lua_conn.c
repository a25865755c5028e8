/* lua_conn.c - conn: the Lua object of a connection, its life, and its queue of jobs.
 *
 * The object lives as long as one of these refers to it: a script, the stack of its running hook,
 * or the strong table while it is pinned. When only the weak table is left, the collector takes it
 * and __gc clears subscriber->script. As long as the object exists, subscriber->script is not NULL,
 * so a script that still holds it always sees that the connection has closed.
 *
 * Between the collector's decision and __gc the weak table has no entry for an object that
 * subscriber->script still points to. Such an object has no running hook and no jobs, and a new one
 * replaces it. */
#include "run/lua_conn.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#define STACK_SPARE    8
#define PAUSE_MESSAGES 32
#define PAUSE_BYTES    (256 * 1024)

static const struct bh_identity nobody;

struct bh_subscriber *bh_lua_conn_subscriber(const struct bh_lua_conn *c) {
    return c->closed ? NULL : bh_worker_subscriber(c->script->worker, c->handle);
}

struct bh_subscriber *bh_lua_conn_readable(const struct bh_lua_conn *c) {
    return c->closed ? NULL : bh_slots_get(&c->script->worker->subscribers, c->handle);
}

const struct bh_identity *bh_lua_conn_identity(const struct bh_lua_conn *c) {
    const struct bh_subscriber *sub = bh_lua_conn_readable(c);
    const struct bh_identity *id = sub ? sub->identity : c->closed ? c->closed->identity : NULL;
    return id ? id : &nobody;
}

/* --- the object --- */

static struct bh_lua_conn *create(lua_State *L, struct bh_script *s, struct bh_subscriber *sub) {
    struct bh_lua_conn *c = lua_newuserdatauv(L, sizeof *c, 1);
    *c = (struct bh_lua_conn){
        .script = s, .handle = sub->handle, .number = sub->number, .opened_at = sub->opened_at};
    bh_list_init(&c->nested);
    bh_list_init(&c->jobs);
    luaL_setmetatable(L, BH_LUA_CONN_MT);
    return c;
}

struct bh_lua_conn *bh_lua_conn_push(lua_State *L, struct bh_script *s, struct bh_subscriber *sub) {
    if (!s->retired && bh_lua_conn_is_elsewhere(sub, s))
        s->script_worker->handover.move(sub, s);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->conns_ref);
    if (lua_rawgeti(L, -1, (lua_Integer)sub->handle) == LUA_TUSERDATA) {
        lua_remove(L, -2);
        return lua_touserdata(L, -1);
    }
    lua_pop(L, 1);
    struct bh_lua_conn *c = create(L, s, sub);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)sub->handle);
    lua_remove(L, -2);
    if (!s->retired) /* a hook of an earlier generation gets a view, which owns nothing */
        sub->script = c;
    return c;
}

/* The object is on top. */
static void pin_top(lua_State *L, struct bh_lua_conn *c) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->script->pinned_ref);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, c);
    lua_pop(L, 1);
    c->pinned = true;
}

void bh_lua_conn_pin(struct bh_lua_conn *c) {
    if (c->pinned)
        return;
    lua_State *L = c->script->L;
    lua_checkstack(L, STACK_SPARE);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->script->conns_ref);
    lua_rawgeti(L, -1, (lua_Integer)c->handle);
    pin_top(L, c);
    lua_pop(L, 2);
}

void bh_lua_conn_push_pinned(lua_State *L, struct bh_lua_conn *c) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->script->pinned_ref);
    lua_rawgetp(L, -1, c);
    lua_remove(L, -2);
}

void bh_lua_conn_unpin_if_idle(struct bh_lua_conn *c) {
    if (c->newer && !c->running && !c->draining)
        c->script->script_worker->handover.adopt(c);
    if ((c->vars || c->buckets || c->overruns.known) && !c->closed)
        return;
    bool idle = !c->running && !c->draining && !c->older && bh_list_empty(&c->jobs) &&
                bh_list_empty(&c->nested);
    if (!c->pinned || !idle)
        return;
    lua_State *L = c->script->L;
    lua_checkstack(L, STACK_SPARE);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->script->pinned_ref);
    lua_pushnil(L);
    lua_rawsetp(L, -2, c);
    lua_pop(L, 1);
    c->pinned = false;
}

/* --- buckets --- */

#define BUCKETS_MAX 16

static struct bh_bucket *find_bucket(const struct bh_lua_conn *c, struct bh_slice name,
                                     size_t *count) {
    struct bh_bucket *b = c->buckets;
    *count = 0;
    while (b && !bh_slice_eq(bh_slice(b->name, b->len), name)) {
        b = b->next;
        (*count)++;
    }
    return b;
}

static struct bh_bucket *add_bucket(struct bh_lua_conn *c, struct bh_slice name, double burst) {
    struct bh_bucket *b = bh_malloc(sizeof *b + name.n);
    *b = (struct bh_bucket){.next = c->buckets,
                            .tokens = burst,
                            .at_ms = bh_loop_now(c->script->worker->loop),
                            .len = name.n};
    memcpy(b->name, name.p, name.n);
    c->buckets = b;
    bh_lua_conn_pin(c);
    return b;
}

int bh_lua_conn_allow(struct bh_lua_conn *c, struct bh_slice name, double rate, double burst,
                      bool *allowed) {
    size_t count;
    uint64_t now = bh_loop_now(c->script->worker->loop);
    struct bh_bucket *b = find_bucket(c, name, &count);
    if (!b && count == BUCKETS_MAX)
        return BH_ETOOBIG;
    if (!b)
        b = add_bucket(c, name, burst);
    b->tokens += (double)(now - b->at_ms) / 1000 * rate;
    b->tokens = b->tokens < burst ? b->tokens : burst;
    b->at_ms = now;
    *allowed = b->tokens >= 1;
    if (*allowed)
        b->tokens--;
    return 0;
}

static void free_buckets(struct bh_lua_conn *c) {
    for (struct bh_bucket *b; (b = c->buckets);) {
        c->buckets = b->next;
        bh_free(b);
    }
}

/* --- jobs --- */

static bool is_full(const struct bh_lua_conn *c, unsigned part) {
    return c->messages > PAUSE_MESSAGES / part || c->bytes > PAUSE_BYTES / part;
}

static void set_paused(struct bh_lua_conn *c, bool paused) {
    struct bh_subscriber *sub = bh_lua_conn_subscriber(c);
    c->paused = paused;
    if (sub)
        sub->vt->read(sub, !paused);
}

static void append(struct bh_lua_conn *c, const struct bh_job *job) {
    struct bh_job *copy = bh_malloc(sizeof *copy + job->data.n);
    *copy = *job;
    copy->data.p = (char *)(copy + 1);
    if (job->data.n)
        memcpy(copy + 1, job->data.p, job->data.n);
    bh_lua_conn_pin(c);
    bh_list_append(&c->jobs, &copy->node);
    if (job->ops->hook != HOOK_MESSAGE)
        return;
    c->messages++;
    c->bytes += job->data.n;
    if (!c->paused && is_full(c, 1))
        set_paused(c, true);
}

static struct bh_job *take_job(struct bh_lua_conn *c) {
    struct bh_list *node = bh_list_shift(&c->jobs);
    if (!node)
        return NULL;
    struct bh_job *job = BH_CONTAINER_OF(node, struct bh_job, node);
    if (job->ops->hook == HOOK_MESSAGE) {
        c->messages--;
        c->bytes -= job->data.n;
        if (c->paused && !is_full(c, 2))
            set_paused(c, false);
    }
    return job;
}

static void on_finished(struct bh_lua_conn *c, bool nested) {
    if (nested)
        bh_lua_conn_unpin_if_idle(c);
    else
        bh_lua_conn_run_next(c);
}

static const struct bh_task_conn_ops task_ops = {bh_lua_conn_pin, on_finished};

/* The conn is on top of t->co. */
static void start(struct bh_lua_conn *c, struct bh_task *t, const struct bh_job *job, bool nested) {
    t->conn = c;
    t->conn_ops = &task_ops;
    t->nested = nested;
    if (nested) {
        bh_lua_conn_pin(c); /* it may finish after the hook that it runs in */
        bh_list_append(&c->nested, &t->in_nested);
    } else {
        c->running = t;
    }
    job->ops->prepare(t, job);
    bh_task_run(t, lua_gettop(t->co) - BH_TASK_BASE);
}

/* A hook that waits for a subscribe of its own connection would wait for itself. */
static bool is_inside(const struct bh_script *s, const struct bh_lua_conn *c,
                      const struct bh_job *job) {
    const struct bh_task *t = bh_script_current(s);
    return job->ops->hook == HOOK_SUBSCRIBE && t && t->conn &&
           (t->conn == c || t->conn == c->older);
}

/* As bh_lua_conn_push. Most connections have their object already: one table access. */
static struct bh_lua_conn *push_on(struct bh_task *t, struct bh_script *s,
                                   struct bh_subscriber *sub) {
    if (lua_rawgeti(t->co, BH_TASK_CONNS, (lua_Integer)sub->handle) == LUA_TUSERDATA)
        return lua_touserdata(t->co, -1);
    lua_pop(t->co, 1);
    return bh_lua_conn_push(t->co, s, sub);
}

void bh_lua_conn_submit(struct bh_script *s, struct bh_subscriber *sub, const struct bh_job *job) {
    if (bh_lua_conn_is_elsewhere(sub, s))
        s->script_worker->handover.move(sub, s);
    struct bh_lua_conn *c = sub->script;
    bool nested = c && is_inside(s, c, job);
    if (c && !nested && (c->running || c->draining || c->older)) {
        append(c, job);
        return;
    }
    struct bh_task *t = bh_task_new(s, job->ops->hook, job->ops->on_done);
    start(push_on(t, s, sub), t, job, nested);
}

static void drop_job(struct bh_lua_conn *c, struct bh_job *job) {
    if (job->ops->hook == HOOK_SUBSCRIBE && c->script->started)
        job->done(job->ud, job->handle, false, 0, BH_SLICE("closed"));
    bh_free(job);
}

static void drop_jobs(struct bh_lua_conn *c) {
    struct bh_job *job;
    c->paused = false;
    while ((job = take_job(c)))
        drop_job(c, job);
}

void bh_lua_conn_run_next(struct bh_lua_conn *c) {
    struct bh_job *job;
    c->running = NULL;
    bool nothing_to_do = !c->pinned && !c->newer; /* jobs pin it */
    if (c->draining || nothing_to_do)
        return;
    if (!c->script->started)
        drop_jobs(c);
    c->draining = true;
    while (!c->running && !c->older && (job = take_job(c))) {
        struct bh_task *t = bh_task_new(c->script, job->ops->hook, job->ops->on_done);
        bh_lua_conn_push_pinned(t->co, c);
        start(c, t, job, false);
        bh_free(job);
    }
    c->draining = false;
    bh_lua_conn_unpin_if_idle(c);
}

/* --- closing --- */

static struct bh_snapshot *snapshot(struct bh_subscriber *sub) {
    struct bh_snapshot *shot = bh_calloc(1, sizeof *shot);
    char buffer[64];
    struct bh_slice ip = sub->vt->ip(sub, buffer);
    struct bh_slice protocol = sub->vt->protocol(sub);
    bh_bytes_add(&shot->bytes, ip);
    bh_bytes_add(&shot->bytes, protocol);
    shot->ip = bh_slice(shot->bytes.p, ip.n);
    shot->protocol = bh_slice(protocol.n ? shot->bytes.p + ip.n : NULL, protocol.n);
    if (sub->identity)
        bh_identity_new(sub->identity, &shot->identity, NULL);
    return shot;
}

static void snapshot_free(struct bh_snapshot *shot) {
    if (!shot)
        return;
    bh_identity_free(shot->identity);
    bh_bytes_free(&shot->bytes);
    bh_free(shot);
}

static void take_subscribes(struct bh_lua_conn *c, struct bh_list *out) {
    for (struct bh_list *node = c->jobs.next, *next; node != &c->jobs; node = next) {
        next = node->next;
        if (BH_CONTAINER_OF(node, struct bh_job, node)->ops->hook == HOOK_SUBSCRIBE) {
            bh_list_unlink(node);
            bh_list_append(out, node);
        }
    }
}

/* The connection is closing: no subscribe can succeed any more. */
static void cancel_subscribes(struct bh_lua_conn *c) {
    struct bh_list subscribes, nested, *node;
    bh_list_init(&subscribes);
    bh_list_init(&nested);
    take_subscribes(c, &subscribes);
    while ((node = bh_list_shift(&c->nested))) /* those on the C stack stay listed */
        bh_list_append(&nested, node);
    while ((node = bh_list_shift(&nested))) {
        bh_list_append(&c->nested, node);
        bh_task_cancel(BH_CONTAINER_OF(node, struct bh_task, in_nested));
    }
    if (c->running && c->running->hook == HOOK_SUBSCRIBE)
        bh_task_cancel(c->running);
    while ((node = bh_list_shift(&subscribes)))
        drop_job(c, BH_CONTAINER_OF(node, struct bh_job, node));
}

static void fail_joining(struct bh_script *s, bh_handle handle) {
    for (;;) {
        struct bh_list *node = s->script_worker->joining.next;
        while (node != &s->script_worker->joining &&
               BH_CONTAINER_OF(node, struct bh_task, in_joining)->joining != handle)
            node = node->next;
        if (node == &s->script_worker->joining)
            return;
        bh_task_answer_error(BH_CONTAINER_OF(node, struct bh_task, in_joining), "closed");
    }
}

/* Pushes the object that exists, or a new one if there is an on_close hook to pass it to. */
static struct bh_lua_conn *push_for_close(lua_State *L, struct bh_script *s,
                                          struct bh_subscriber *sub) {
    struct bh_lua_conn *c = sub->script;
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->conns_ref);
    if (c && lua_rawgeti(L, -1, (lua_Integer)c->handle) == LUA_TUSERDATA) {
        lua_pushnil(L);
        lua_rawseti(L, -3, (lua_Integer)c->handle);
        return c;
    }
    return bh_script_has(s, HOOK_CLOSE) ? create(L, s, sub) : NULL;
}

static void close_older(struct bh_lua_conn *older, struct bh_subscriber *sub) {
    older->closed = snapshot(sub);
    cancel_subscribes(older);
}

void bh_lua_conn_closed(struct bh_script *s, struct bh_subscriber *sub,
                        const struct bh_job *close) {
    lua_State *L = s->L;
    int top = lua_gettop(L);
    lua_checkstack(L, STACK_SPARE);
    if (bh_lua_conn_is_elsewhere(sub, s))
        s->script_worker->handover.move(sub, s);
    struct bh_lua_conn *c = push_for_close(L, s, sub);
    sub->script = NULL;
    if (c) {
        bool draining = c->draining;
        pin_top(L, c);
        c->closed = snapshot(sub);
        /* A task that finishes now must not unpin it before on_close is queued. */
        c->draining = true;
        cancel_subscribes(c);
        if (c->older)
            close_older(c->older, sub);
        fail_joining(s, c->handle);
        if (bh_script_has(s, HOOK_CLOSE))
            append(c, close);
        c->draining = draining;
        if (!c->running && !c->older)
            bh_lua_conn_run_next(c);
    }
    lua_settop(L, top);
}

static int collect(lua_State *L) {
    struct bh_lua_conn *c = luaL_checkudata(L, 1, BH_LUA_CONN_MT);
    struct bh_subscriber *sub = bh_lua_conn_subscriber(c);
    if (sub && sub->script == c)
        sub->script = NULL;
    drop_jobs(c);
    free_buckets(c);
    snapshot_free(c->closed);
    c->closed = NULL;
    return 0;
}

void bh_lua_conn_set_gc(lua_State *L) {
    lua_pushcfunction(L, collect);
    lua_setfield(L, -2, "__gc");
}
