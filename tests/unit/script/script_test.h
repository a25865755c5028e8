/* script_test.h - a worker with a real core around it, a broker that echoes, a tracker and a Redis
 * that answer when told to, and connections that write down what they are given. One thread, a fake
 * clock. The tests of a script and the specs share it. */
#ifndef BELLHOP_TESTS_UNIT_SCRIPT_TEST_H
#define BELLHOP_TESTS_UNIT_SCRIPT_TEST_H

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"
#include "bellhop/core/node.h"
#include "bellhop/io/loop.h"
#include "bellhop/script/script.h"
#include "local_tracker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEST_WALL_MS INT64_C(1700000000000)

/* --- the broker: one instance, everything comes back at once --- */

struct test_broker {
    struct bh_broker base;
    struct bh_broker_sink sink;
    unsigned published;
};

static inline int test_broker_start(struct bh_broker *b, struct bh_loop *bus,
                                    struct bh_mailbox *box, const struct bh_broker_sink *sink) {
    ((struct test_broker *)b)->sink = *sink;
    sink->on_state(sink->ud, 0, true);
    return 0;
}
static inline bool test_broker_subscribe(struct bh_broker *b, struct bh_slice topic) {
    return true;
}
static inline void test_broker_unsubscribe(struct bh_broker *b, struct bh_slice topic) {}
static inline void test_broker_stop(struct bh_broker *b) {}
static inline int test_broker_worker_start(struct bh_broker *b, unsigned w, struct bh_loop *loop) {
    return 0;
}
static inline void test_broker_worker_stop(struct bh_broker *b, unsigned w) {}
static inline void test_broker_publish(struct bh_broker *b, unsigned w, struct bh_message *m,
                                       bh_broker_published_cb done, void *ud, bh_handle handle) {
    struct test_broker *t = (struct test_broker *)b;
    t->published++;
    t->sink.on_message(t->sink.ud, m);
    done(ud, handle, 0, 1, NULL);
}
static inline int test_broker_ready(const struct bh_broker *b, const char **why) {
    return 0;
}
static inline void test_broker_free(struct bh_broker *b) {}

static const struct bh_broker_vt test_broker_vt = {
    .name = "test",
    .start = test_broker_start,
    .subscribe = test_broker_subscribe,
    .unsubscribe = test_broker_unsubscribe,
    .stop = test_broker_stop,
    .worker_start = test_broker_worker_start,
    .worker_stop = test_broker_worker_stop,
    .publish = test_broker_publish,
    .ready = test_broker_ready,
    .free = test_broker_free,
};

/* --- Redis: keeps the last call; the test answers --- */

struct test_redis_port {
    struct bh_redis base;
    struct bh_bytes command; /* the arguments with spaces */
    unsigned calls;
    bh_reply_cb done;
    void *ud;
    bh_handle handle;
    const struct bh_reply *at_once; /* answers before the call returns */
};

static inline void test_redis_call(struct bh_redis *r, unsigned worker, size_t argc,
                                   const struct bh_slice *argv, bh_reply_cb done, void *ud,
                                   bh_handle handle) {
    struct test_redis_port *t = (struct test_redis_port *)r;
    bh_bytes_clear(&t->command);
    for (size_t i = 0; i < argc; i++) {
        if (i)
            bh_bytes_addc(&t->command, ' ');
        bh_bytes_add(&t->command, argv[i]);
    }
    t->calls++;
    t->done = done;
    t->ud = ud;
    t->handle = handle;
    if (t->at_once)
        done(ud, handle, 0, t->at_once);
}

static const struct bh_redis_vt test_redis_vt = {test_redis_call};

/* --- the world --- */

struct world {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct test_broker broker;
    struct local_tracker tracker;
    struct test_redis_port redis;
    struct bh_node *node;
    struct bh_worker *worker;
    struct bh_json *tree;
    struct bh_script_config config;
    struct bh_script *script;
    char *error;  /* of the load or of on_init */
    bool started; /* on_init is done, and well */
    int init_calls;
    char dir[32];
    char *files[8];
};

static inline void world_ticks(struct world *w) {
    for (int i = 0; i < 8; i++)
        bh_loop_tick(w->loop, false);
}

/* Lets time go by. */
static inline void world_pass(struct world *w, uint64_t ms) {
    for (uint64_t gone = 0; gone < ms; gone += 5) {
        bh_clock_fake_advance(5);
        bh_loop_tick(w->loop, false);
    }
    world_ticks(w);
}

static inline void world_open(struct world *w) {
    *w = (struct world){.dir = "/tmp/bellhop-script-XXXXXX"};
    bh_clock_fake(1000, TEST_WALL_MS);
    w->broker.base.vt = &test_broker_vt;
    w->tracker.base.vt = &local_tracker_vt;
    w->redis.base.vt = &test_redis_vt;
    w->loop = bh_loop_new();
    w->mailbox = bh_mailbox_new(w->loop);
    struct bh_node_config config = {.instance = BH_SLICE("i1"),
                                    .strategy = BH_STRATEGY_LOCAL_FIRST,
                                    .payload_max = 1 << 20,
                                    .seen_max = 100,
                                    .seen_ms = 10000};
    w->node = bh_node_new(&config, &w->broker.base, &w->tracker.base, w->loop, w->mailbox);
    w->worker = bh_node_add_worker(w->node, w->loop, w->mailbox);
    bh_node_start(w->node);
    world_ticks(w);
    w->config.shared = bh_shared_new(1 << 16);
    if (!mkdtemp(w->dir))
        abort();
}

static inline void world_write(struct world *w, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    FILE *f = fopen(path, "w");
    if (!f)
        abort();
    fputs(text, f);
    fclose(f);
}

static inline void world_config(struct world *w, const char *json) {
    struct bh_json_error error;
    if (bh_json_parse(bh_slice_cstr(json), &w->tree, &error))
        abort();
    w->config.config = w->tree;
}

static inline void world_on_init(void *ud, int error, const char *why) {
    struct world *w = ud;
    w->init_calls++;
    w->started = error == 0;
    if (error)
        w->error = bh_strdup(why);
}

static inline int world_load_files(struct world *w, size_t count) {
    w->config.files = (const char *const *)w->files;
    w->config.file_count = count;
    return bh_script_new(&w->config, w->worker, 1, &w->script, &w->error);
}

/* Loads sources as a.lua, b.lua, ... (the list ends with NULL) and starts them. The load's result;
 * what became of on_init is in w. */
static inline int world_load(struct world *w, const char *const *sources) {
    size_t n = 0;
    for (; sources[n]; n++) {
        char name[8] = {(char)('a' + n), '.', 'l', 'u', 'a'}, path[64];
        world_write(w, name, sources[n]);
        snprintf(path, sizeof path, "%s/%s", w->dir, name);
        bh_free(w->files[n]);
        w->files[n] = bh_strdup(path);
    }
    int rc = world_load_files(w, n);
    if (rc == 0) {
        bh_script_start(w->script, world_on_init, w);
        world_ticks(w);
    }
    return rc;
}

#define WORLD_LOAD(w, ...) world_load(w, (const char *const[]){__VA_ARGS__, NULL})

static inline void world_close_script(struct world *w) {
    if (w->script)
        bh_script_free(w->script);
    w->script = NULL;
}

static inline void world_close(struct world *w) {
    char command[64];
    world_ticks(w);
    world_close_script(w);
    bh_node_stop(w->node);
    world_ticks(w);
    bh_mailbox_close(w->mailbox);
    bh_mailbox_free(w->mailbox);
    bh_node_free(w->node);
    bh_loop_free(w->loop);
    bh_json_free(w->tree);
    bh_shared_free(w->config.shared);
    bh_bytes_free(&w->redis.command);
    bh_free(w->error);
    for (int i = 0; i < 8; i++)
        bh_free(w->files[i]);
    snprintf(command, sizeof command, "rm -r %s", w->dir);
    if (system(command))
        abort();
    bh_clock_real();
}

/* --- connections --- */

#ifndef PHONE_LOG_MAX
#define PHONE_LOG_MAX 512
#endif

struct phone {
    struct bh_subscriber sub;
    char *sent[PHONE_LOG_MAX];
    uint8_t opcodes[PHONE_LOG_MAX];
    unsigned sent_count;
    unsigned code; /* of the close that was asked for; 0 none */
    char reason[128];
    bool paused, opened;
    struct world *world;
};

static inline void phone_note(struct phone *p, unsigned opcode, struct bh_slice data) {
    if (p->sent_count == PHONE_LOG_MAX)
        abort();
    p->opcodes[p->sent_count] = (uint8_t)opcode;
    p->sent[p->sent_count++] = bh_strndup(data.p, data.n);
}

static inline int phone_deliver(struct bh_subscriber *s, struct bh_message *m) {
    phone_note((struct phone *)s, m->opcode, m->payload);
    return 0;
}

static inline int phone_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    struct phone *p = (struct phone *)s;
    if (p->code)
        return BH_ECLOSED;
    if (opcode == BH_TEXT && !bh_utf8_valid(data))
        return BH_EUTF8;
    phone_note(p, opcode, data);
    return 0;
}

static inline void phone_close_asked(struct bh_subscriber *s, unsigned code,
                                     struct bh_slice reason) {
    struct phone *p = (struct phone *)s;
    if (p->code)
        return;
    p->code = code;
    snprintf(p->reason, sizeof p->reason, "%.*s", BH_SLICE_ARG(reason));
}

static inline size_t phone_queued(const struct bh_subscriber *s) {
    return 7;
}

static inline void phone_read(struct bh_subscriber *s, bool on) {
    ((struct phone *)s)->paused = !on;
}

static inline struct bh_slice phone_ip(struct bh_subscriber *s, char buffer[64]) {
    return BH_SLICE("192.0.2.1");
}

static inline struct bh_slice phone_protocol(const struct bh_subscriber *s) {
    return bh_slice(NULL, 0);
}

static const struct bh_subscriber_vt phone_vt = {phone_deliver, phone_send, phone_close_asked,
                                                 phone_queued,  phone_read, phone_ip,
                                                 phone_protocol};

static inline void phone_on_open(void *ud, bh_handle handle, int error) {
    struct phone *p = ud;
    struct bh_hooks *h = p->world->worker->hooks;
    p->opened = true;
    if (bh_hooks_has(h, BH_HOOK_OPEN))
        h->vt->open(h, &p->sub);
}

/* Takes the identity over. */
static inline void phone_open_as(struct world *w, struct phone *p, struct bh_identity *identity) {
    *p = (struct phone){.sub.vt = &phone_vt, .world = w};
    bh_node_open(w->worker, &p->sub, identity, phone_on_open, p, 0);
    world_ticks(w);
}

static inline void phone_open(struct world *w, struct phone *p, const char *user) {
    struct bh_identity parts = {.user = bh_slice_cstr(user)}, *identity;
    if (bh_identity_new(&parts, &identity, NULL))
        abort();
    phone_open_as(w, p, identity);
}

static inline void phone_says_bytes(struct phone *p, unsigned opcode, struct bh_slice data) {
    struct bh_hooks *h = p->world->worker->hooks;
    h->vt->message(h, &p->sub, opcode, data);
}

static inline void phone_says(struct phone *p, const char *text) {
    phone_says_bytes(p, BH_TEXT, bh_slice_cstr(text));
}

/* The connection is gone. */
static inline void phone_gone(struct phone *p, unsigned code, const char *reason) {
    bh_node_close(p->world->worker, &p->sub, code, bh_slice_cstr(reason));
}

static inline void phone_forget(struct phone *p) {
    for (unsigned i = 0; i < p->sent_count; i++)
        bh_free(p->sent[i]);
    p->sent_count = 0;
}

static inline void phone_free(struct phone *p) {
    if (p->sub.handle)
        phone_gone(p, 1000, "");
    phone_forget(p);
}

static inline const char *phone_last(const struct phone *p) {
    return p->sent_count ? p->sent[p->sent_count - 1] : "(nothing)";
}

/* --- handshakes --- */

struct answer {
    int calls;
    int status;
    char *body;
    char protocol[64];
    struct bh_identity *identity;
    unsigned header_count;
    char header[128]; /* the first, "name: value" */
    bool allowed;
};

static inline void on_handshake_result(void *ud, bh_handle handle,
                                       const struct bh_handshake_result *w) {
    struct answer *a = ud;
    a->calls++;
    a->status = w->status;
    a->body = bh_strndup(w->body.p, w->body.n);
    a->identity = w->identity;
    a->header_count = (unsigned)w->header_count;
    snprintf(a->protocol, sizeof a->protocol, "%.*s", BH_SLICE_ARG(w->protocol));
    if (w->header_count)
        snprintf(a->header, sizeof a->header, "%.*s: %.*s", BH_SLICE_ARG(w->headers[0].name),
                 BH_SLICE_ARG(w->headers[0].value));
}

static inline void answer_allowed(void *ud, bh_handle handle, bool allowed, int status,
                                  struct bh_slice body) {
    struct answer *a = ud;
    a->calls++;
    a->allowed = allowed;
    a->status = status;
    a->body = bh_strndup(body.p, body.n);
}

static inline void answer_free(struct answer *a) {
    bh_free(a->body);
    bh_identity_free(a->identity);
    *a = (struct answer){0};
}

#endif
