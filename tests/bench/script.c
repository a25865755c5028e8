/* script.c - the cost of scripts: an absent hook, one that replies, one that waits, on_deliver for
 * many sockets, JSON, and a reload with many connections.
 *
 *     bench_script [CONNECTIONS]    open at the reload (default 50,000)
 *
 * The hooks are called as the core calls them, in the real runtime, with connections that keep
 * nothing. Each row is the median of ROUNDS rounds, and the fastest, in CPU time of this thread;
 * for the reload it is wall-clock time. Each row checks that its work was done. */
#include "../unit/script/script_test.h"

#include "bellhop/base/log.h"

#include <time.h>

#define ROUNDS    9
#define CALLS     200000
#define RECEIVERS 10000

static volatile unsigned sink;

static double now_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(bool ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "bench: the work was not done: %s\n", what);
    exit(1);
}

/* --- rows --- */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void row(const char *what, double rounds[ROUNDS], double n) {
    qsort(rounds, ROUNDS, sizeof *rounds, compare);
    printf("%-52s %10.1f %10.1f\n", what, rounds[ROUNDS / 2] / n, rounds[0] / n);
    fflush(stdout);
}

/* --- connections that count deliveries --- */

static unsigned sends;

static int count_deliver(struct bh_subscriber *s, struct bh_message *m) {
    sends++;
    return 0;
}

static int count_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data) {
    sends++;
    return 0;
}

static struct bh_subscriber_vt counting; /* of a client, but for these two */

static struct client *open_many(struct env *env, size_t count) {
    counting = client_vt;
    counting.deliver = count_deliver;
    counting.send = count_send;
    struct client *clients = bh_calloc(count, sizeof *clients);
    for (size_t i = 0; i < count; i++) {
        struct bh_identity parts = {.user = BH_SLICE("u")}, *identity;
        char user[24];
        snprintf(user, sizeof user, "u%zu", i);
        parts.user = bh_slice_cstr(user);
        must(bh_identity_new(&parts, &identity, NULL) == 0, "an identity");
        clients[i].sub.vt = &counting;
        clients[i].env = env;
        bh_node_open(env->worker, &clients[i].sub, identity, client_on_open, &clients[i], 0);
        if (i % 100 == 0)
            env_run_due(env);
    }
    env_run_due(env);
    return clients;
}

static void close_many(struct env *env, struct client *clients, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bh_node_close(env->worker, &clients[i].sub, 1000, bh_slice(NULL, 0));
        if (i % 100 == 0)
            env_run_due(env);
    }
    env_run_due(env);
    bh_free(clients);
}

static void load(struct env *env, const char *source) {
    env->config.cpu_limit_ms = 50; /* the watchdog is on, as in production */
    env->config.memory_limit = 1u << 30;
    env->config.hook_timeout_ms = 10000;
    env->config.max_tasks = 1000000;
    if (ENV_LOAD(env, source) || !env->started) {
        fprintf(stderr, "bench: %s\n", env->error);
        exit(1);
    }
}

/* --- hooks --- */

static void absent(void) {
    struct env env;
    double rounds[ROUNDS];
    env_open(&env);
    load(&env, "return {}");
    for (int r = 0; r < ROUNDS; r++) {
        double begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
        for (int i = 0; i < 100 * CALLS; i++)
            sink += bh_hooks_has(*(struct bh_hooks *volatile *)&env.worker->hooks, BH_HOOK_MESSAGE);
        rounds[r] = now_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
    }
    row("hook absent", rounds, 100.0 * CALLS);
    env_close(&env);
}

static void messages(const char *what, const char *source, unsigned replies) {
    struct env env;
    double rounds[ROUNDS];
    struct bh_slice data = BH_SLICE("twenty bytes of text");
    env_open(&env);
    load(&env, source);
    struct client *p = open_many(&env, 1);
    struct bh_hooks *h = env.worker->hooks;
    for (int r = 0; r < ROUNDS; r++) {
        sends = 0;
        double begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
        for (int i = 0; i < CALLS; i++) {
            h->vt->message(h, &p->sub, BH_TEXT, data);
            if (i % 64 == 0)
                bh_loop_tick(env.loop, false); /* the garbage collector runs */
        }
        rounds[r] = now_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
        must(sends == replies * CALLS, what);
    }
    row(what, rounds, CALLS);
    close_many(&env, p, 1);
    env_close(&env);
}

static void waiting(void) {
    enum { CROWD = 1000, TURNS = 50 };
    struct env env;
    double rounds[ROUNDS];
    env_open(&env);
    load(&env, "local bh = require 'bellhop'\n"
               "return { on_message = function(conn, d) bh.sleep(0.001) return d end }");
    struct client *p = open_many(&env, CROWD);
    struct bh_hooks *h = env.worker->hooks;
    for (int r = 0; r < ROUNDS; r++) {
        sends = 0;
        double begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
        for (int t = 0; t < TURNS; t++) {
            for (int i = 0; i < CROWD; i++)
                h->vt->message(h, &p[i].sub, BH_TEXT, BH_SLICE("twenty bytes of text"));
            env_advance(&env, 20);
        }
        rounds[r] = now_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
        must(sends == CROWD * TURNS, "hooks that wait");
    }
    row("on_message that waits once and replies", rounds, (double)CROWD * TURNS);
    close_many(&env, p, CROWD);
    env_close(&env);
}

static void ignore(void *ud, bh_handle handle, const struct bh_publish_result *r) {
    must(r->error == 0, "a publish");
}

static void deliveries(const char *what, const char *source, unsigned each) {
    enum { TURNS = 20 };
    struct env env;
    double rounds[ROUNDS];
    env_open(&env);
    load(&env, source);
    struct client *p = open_many(&env, RECEIVERS);
    for (int r = 0; r < ROUNDS; r++) {
        sends = 0;
        double begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
        for (int t = 0; t < TURNS; t++) {
            struct bh_publish publish = {.source = BH_SOURCE_HTTP, .opcode = BH_TEXT};
            bh_topic_parse(BH_SLICE("all"), &publish.topic);
            publish.data = bh_buf_copy(BH_SLICE("one message for everybody who is there"));
            bh_node_publish(env.worker, &publish, ignore, NULL, 0);
            env_run_due(&env);
        }
        rounds[r] = now_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
        must(sends == each * TURNS * RECEIVERS, what);
    }
    row(what, rounds, (double)TURNS * RECEIVERS);
    close_many(&env, p, RECEIVERS);
    env_close(&env);
}

/* --- JSON --- */

#define OBJECT                                                                                     \
    "{\"type\":\"say\",\"room\":\"lobby\",\"id\":1234567,\"text\":\"some forty bytes of text, as " \
    "people write\",\"tags\":[\"a\",\"b\",\"c\"],\"user\":{\"id\":42,\"name\":\"Jane "             \
    "Doe\",\"admin\":false},\"at\":1700000000.25,\"n\":null}"

static void json(const char *what, const char *expression) {
    struct bh_bytes source = {0};
    struct env env;
    double rounds[ROUNDS];
    bh_bytes_addf(&source,
                  "local bh = require 'bellhop'\nlocal text = [[%s]]\n"
                  "return { on_message = function() for _ = 1, 1000 do local v = %s\n"
                  "if v == nil then error 'nothing' end end return 'done' end }",
                  OBJECT, expression);
    bh_bytes_addc(&source, '\0');
    env_open(&env);
    load(&env, source.p);
    struct client *p = open_many(&env, 1);
    struct bh_hooks *h = env.worker->hooks;
    for (int r = 0; r < ROUNDS; r++) {
        sends = 0;
        double begin = now_ns(CLOCK_THREAD_CPUTIME_ID);
        for (int i = 0; i < 50; i++) {
            h->vt->message(h, &p->sub, BH_TEXT, BH_SLICE("go"));
            bh_loop_tick(env.loop, false);
        }
        rounds[r] = now_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
        must(sends == 50, what);
    }
    row(what, rounds, 50 * 1000);
    close_many(&env, p, 1);
    env_close(&env);
    bh_bytes_free(&source);
}

/* --- a reload --- */

/* The longest tick: no other connection is served meanwhile. */
static double change(struct env *env, struct bh_script *next) {
    double longest = 0;
    bh_script_activate(next);
    env->script = next;
    for (int i = 0; bh_script_state_count(env->worker) > 1 && i < 10000; i++) {
        bh_clock_fake_advance(4);
        double begin = now_ns(CLOCK_MONOTONIC);
        bh_loop_tick(env->loop, false);
        double took = now_ns(CLOCK_MONOTONIC) - begin;
        longest = took > longest ? took : longest;
    }
    return longest;
}

static void reload(size_t connections, bool vars) {
    static const char source[] = "return { on_open = function(conn) if %s then conn.vars.n = 1 "
                                 "conn.vars.name = 'x' end end,\n"
                                 "on_message = function(conn) return tostring(conn.vars.n) end }";
    struct env env;
    double loads[ROUNDS], stalls[ROUNDS];
    char text[256], what[80];
    snprintf(text, sizeof text, source, vars ? "true" : "false");
    env_open(&env);
    load(&env, text);
    struct client *p = open_many(&env, connections);
    for (int r = 0; r < ROUNDS; r++) {
        struct bh_script *next;
        double begin = now_ns(CLOCK_MONOTONIC);
        must(bh_script_new(&env.config, env.worker, 2 + (unsigned)r, &next, &env.error) == 0,
             "a load");
        env.started = false;
        bh_script_start(next, env_on_init, &env);
        must(env.started, "a start");
        loads[r] = now_ns(CLOCK_MONOTONIC) - begin;
        stalls[r] = change(&env, next);
        must(bh_script_state_count(env.worker) == 1, "the end of the old state");
    }
    sends = 0;
    struct bh_hooks *h = env.worker->hooks;
    h->vt->message(h, &p[connections - 1].sub, BH_TEXT, BH_SLICE("x"));
    must(sends == 1, "a message after it");
    snprintf(what, sizeof what, "reload: a new state, off the worker (us)");
    row(what, loads, 1000);
    snprintf(what, sizeof what, "reload: longest stall, %zu connections%s (us)", connections,
             vars ? " with vars" : "");
    row(what, stalls, 1000);
    close_many(&env, p, connections);
    env_close(&env);
}

int main(int argc, char **argv) {
    size_t connections = argc > 1 ? (size_t)atol(argv[1]) : 50000;
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
    printf("machine: %ld cores; Lua 5.4; %d rounds\n\n", sysconf(_SC_NPROCESSORS_ONLN), ROUNDS);
    printf("%-52s %10s %10s\n", "ns each, where not said otherwise", "median", "fastest");
    absent();
    messages("on_message that returns true",
             "return { on_message = function(conn, data) return true end }", 0);
    messages("on_message that replies", "return { on_message = function(conn, d) return d end }",
             1);
    messages("on_message that reads and sends",
             "return { on_message = function(conn, d)\n"
             "if conn.user then conn:send(d) end return true end }",
             1);
    waiting();
    deliveries("delivery to each of 10,000, no on_deliver", "return {}", 1);
    deliveries("delivery to each of 10,000, on_deliver passes",
               "return { on_deliver = function(conn, msg) return true end }", 1);
    deliveries("delivery to each of 10,000, on_deliver filters",
               "return { on_deliver = function(conn, msg) return conn.user ~= msg.user end }", 1);
    json("bh.json.decode, 230 bytes", "bh.json.decode(text)");
    json("bh.json.peek of a string in them", "bh.json.peek(text, 'user.name')");
    reload(connections, false);
    reload(connections, true);
    return 0;
}
