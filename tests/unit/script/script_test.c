/* script_test.c - see script_test.h. The broker and the tracker are real implementations of their
 * ports, so a script meets the core as in a server. */
#include "script_test.h"

#include "bellhop/base/utf8.h"

/* --- the broker --- */

static int test_broker_start(struct bh_broker *b, struct bh_loop *bus, struct bh_mailbox *box,
                             const struct bh_broker_sink *sink) {
    ((struct test_broker *)b)->sink = *sink;
    sink->on_state(sink->ud, 0, true);
    return 0;
}
static bool test_broker_subscribe(struct bh_broker *b, struct bh_slice topic) {
    return true;
}
static void test_broker_unsubscribe(struct bh_broker *b, struct bh_slice topic) {}
static void test_broker_stop(struct bh_broker *b) {}
static int test_broker_worker_start(struct bh_broker *b, unsigned worker, struct bh_loop *loop) {
    return 0;
}
static void test_broker_worker_stop(struct bh_broker *b, unsigned worker) {}
static void test_broker_publish(struct bh_broker *b, unsigned worker, struct bh_message *m,
                                bh_broker_published_cb done, void *ud, bh_handle handle) {
    struct test_broker *t = (struct test_broker *)b;
    t->published++;
    t->sink.on_message(t->sink.ud, m);
    done(ud, handle, 0, 1, NULL);
}
static int test_broker_ready(const struct bh_broker *b, const char **why) {
    return 0;
}
static void test_broker_free(struct bh_broker *b) {}

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

/* --- Redis --- */

static void test_redis_call(struct bh_redis *r, unsigned worker, size_t argc,
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

/* --- the environment --- */

void env_run_due(struct env *env) {
    for (int i = 0; i < 8; i++)
        bh_loop_tick(env->loop, false);
}

void env_advance(struct env *env, uint64_t ms) {
    for (uint64_t gone = 0; gone < ms; gone += 5) {
        bh_clock_fake_advance(5);
        bh_loop_tick(env->loop, false);
    }
    env_run_due(env);
}

void env_open(struct env *env) {
    *env = (struct env){.dir = "/tmp/bellhop-script-XXXXXX"};
    bh_clock_fake(1000, TEST_WALL_MS);
    env->broker.base.vt = &test_broker_vt;
    env->tracker.base.vt = &local_tracker_vt;
    env->redis.base.vt = &test_redis_vt;
    env->loop = bh_loop_new();
    env->mailbox = bh_mailbox_new(env->loop);
    static const struct bh_history_rule rules[] = {
        {.pattern = BH_SLICE("user:"), .prefix = true, .size = 100, .ttl_ms = 60000},
        {.pattern = BH_SLICE("all"), .size = 100, .ttl_ms = 60000},
    };
    struct bh_node_config config = {.instance = BH_SLICE("i1"),
                                    .history = {.rules = rules, .rule_count = 2},
                                    .strategy = BH_STRATEGY_LOCAL_FIRST,
                                    .payload_max = 1 << 20,
                                    .seen_max = 100,
                                    .seen_ms = 10000};
    env->node =
        bh_node_new(&config, &env->broker.base, &env->tracker.base, env->loop, env->mailbox);
    env->worker = bh_node_add_worker(env->node, env->loop, env->mailbox);
    bh_node_start(env->node);
    env_run_due(env);
    env->config.shared = bh_shared_new(1 << 16);
    if (!mkdtemp(env->dir))
        abort();
}

void env_write(struct env *env, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", env->dir, name);
    FILE *f = fopen(path, "w");
    if (!f)
        abort();
    fputs(text, f);
    fclose(f);
}

void env_config(struct env *env, const char *json) {
    struct bh_json_error error;
    if (bh_json_parse(bh_slice_cstr(json), &env->tree, &error))
        abort();
    env->config.config = env->tree;
}

void env_on_init(void *ud, int error, const char *why) {
    struct env *env = ud;
    env->init_calls++;
    env->started = error == 0;
    if (error)
        env->error = bh_strdup(why);
}

int env_load_files(struct env *env, size_t count) {
    env->config.files = (const char *const *)env->files;
    env->config.file_count = count;
    return bh_script_new(&env->config, env->worker, 1, &env->script, &env->error);
}

int env_load(struct env *env, const char *const *sources) {
    size_t n = 0;
    for (; sources[n]; n++) {
        char name[8] = {(char)('a' + n), '.', 'l', 'u', 'a'}, path[64];
        env_write(env, name, sources[n]);
        snprintf(path, sizeof path, "%s/%s", env->dir, name);
        bh_free(env->files[n]);
        env->files[n] = bh_strdup(path);
    }
    int rc = env_load_files(env, n);
    if (rc == 0) {
        bh_script_start(env->script, env_on_init, env);
        env_run_due(env);
    }
    return rc;
}

void env_close_script(struct env *env) {
    if (env->script)
        bh_script_free(env->script);
    env->script = NULL;
}

void env_close(struct env *env) {
    char command[64];
    env_run_due(env);
    env_close_script(env);
    bh_node_stop(env->node);
    env_run_due(env);
    bh_mailbox_close(env->mailbox);
    bh_mailbox_free(env->mailbox);
    bh_node_free(env->node);
    bh_loop_free(env->loop);
    bh_json_free(env->tree);
    bh_shared_free(env->config.shared);
    bh_bytes_free(&env->redis.command);
    bh_free(env->error);
    for (int i = 0; i < 8; i++)
        bh_free(env->files[i]);
    snprintf(command, sizeof command, "rm -r %s", env->dir);
    if (system(command))
        abort();
    bh_clock_real();
}

/* --- clients --- */

static void client_record(struct client *p, unsigned opcode, struct bh_slice data) {
    unsigned n = p->sent_count + 1;
    p->sent = bh_realloc(p->sent, n * sizeof *p->sent);
    p->opcodes = bh_realloc(p->opcodes, n);
    p->opcodes[p->sent_count] = (uint8_t)opcode;
    p->sent[p->sent_count++] = bh_strndup(data.p, data.n);
}

static int client_deliver(struct bh_subscriber *s, struct bh_message *m) {
    client_record((struct client *)s, m->opcode, m->payload);
    return 0;
}

static int client_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    struct client *p = (struct client *)s;
    if (p->code)
        return BH_ECLOSED;
    if (opcode == BH_TEXT && !bh_utf8_valid(data))
        return BH_EUTF8;
    client_record(p, opcode, data);
    return 0;
}

static void client_close_asked(struct bh_subscriber *s, unsigned code, struct bh_slice reason) {
    struct client *p = (struct client *)s;
    if (p->code)
        return;
    p->code = code;
    snprintf(p->reason, sizeof p->reason, "%.*s", BH_SLICE_ARG(reason));
}

static size_t client_queued(const struct bh_subscriber *s) {
    return 7;
}

static void client_read(struct bh_subscriber *s, bool on) {
    ((struct client *)s)->paused = !on;
}

static struct bh_slice client_ip(struct bh_subscriber *s, char buffer[64]) {
    return BH_SLICE("192.0.2.1");
}

static struct bh_slice client_protocol(const struct bh_subscriber *s) {
    return bh_slice(NULL, 0);
}

const struct bh_subscriber_vt client_vt = {
    .deliver = client_deliver,
    .send = client_send,
    .close = client_close_asked,
    .queued = client_queued,
    .read = client_read,
    .ip = client_ip,
    .protocol = client_protocol,
};

void client_on_open(void *ud, bh_handle handle, int error) {
    struct client *p = ud;
    struct bh_hooks *h = p->env->worker->hooks;
    p->opened = true;
    if (bh_hooks_has(h, BH_HOOK_OPEN))
        h->vt->open(h, &p->sub);
}

void client_open_as(struct env *env, struct client *p, struct bh_identity *identity) {
    *p = (struct client){.sub.vt = &client_vt, .env = env};
    bh_node_open(env->worker, &p->sub, identity, client_on_open, p, 0);
    env_run_due(env);
}

void client_open(struct env *env, struct client *p, const char *user) {
    struct bh_identity parts = {.user = bh_slice_cstr(user)}, *identity;
    if (bh_identity_new(&parts, &identity, NULL))
        abort();
    client_open_as(env, p, identity);
}

void client_sends_bytes(struct client *p, unsigned opcode, struct bh_slice data) {
    struct bh_hooks *h = p->env->worker->hooks;
    h->vt->message(h, &p->sub, opcode, data);
}

void client_sends(struct client *p, const char *text) {
    client_sends_bytes(p, BH_TEXT, bh_slice_cstr(text));
}

void client_closed(struct client *p, unsigned code, const char *reason) {
    bh_node_close(p->env->worker, &p->sub, code, bh_slice_cstr(reason));
}

void client_forget(struct client *p) {
    for (unsigned i = 0; i < p->sent_count; i++)
        bh_free(p->sent[i]);
    bh_free(p->sent);
    bh_free(p->opcodes);
    p->sent = NULL;
    p->opcodes = NULL;
    p->sent_count = 0;
}

void client_free(struct client *p) {
    if (p->sub.handle)
        client_closed(p, 1000, "");
    client_forget(p);
}

const char *client_last(const struct client *p) {
    return p->sent_count ? p->sent[p->sent_count - 1] : "(nothing)";
}

/* --- handshakes --- */

void on_handshake_result(void *ud, bh_handle handle, const struct bh_handshake_result *r) {
    struct answer *a = ud;
    a->calls++;
    a->status = r->status;
    a->body = bh_strndup(r->body.p, r->body.n);
    a->identity = r->identity;
    a->header_count = (unsigned)r->header_count;
    snprintf(a->protocol, sizeof a->protocol, "%.*s", BH_SLICE_ARG(r->protocol));
    a->compression = r->compression;
    a->format = r->format;
    if (r->header_count)
        snprintf(a->header, sizeof a->header, "%.*s: %.*s", BH_SLICE_ARG(r->headers[0].name),
                 BH_SLICE_ARG(r->headers[0].value));
}

void answer_allowed(void *ud, bh_handle handle, bool allowed, int status, struct bh_slice body) {
    struct answer *a = ud;
    a->calls++;
    a->allowed = allowed;
    a->status = status;
    a->body = bh_strndup(body.p, body.n);
}

void answer_free(struct answer *a) {
    bh_free(a->body);
    bh_identity_free(a->identity);
    *a = (struct answer){0};
}
