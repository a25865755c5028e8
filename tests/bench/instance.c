/* instance.c - builds an instance as the application does, and connects clients to it.
 *
 * Clients are blocking sockets; while one waits for the server, the server's loop is ticked. The
 * crowd is a second process of the same program: both ends of 10,000 connections in one process
 * would exceed the usual limit of descriptors, and the clients need not run under valgrind. */
#include "instance.h"

#include "bellhop/backend/memory.h"
#include "bellhop/base/error.h"
#include "counting.h"
#include "limits/edge_metrics.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOUR_MS    (3600 * 1000)
#define TIMEOUT_MS 60000

/* --- the instance --- */

static void on_script_started(void *ud, int error, const char *why) {
    if (error)
        fprintf(stderr, "bench: %s\n", why);
    *(bool *)ud = error == 0;
}

/* No CPU limit: its timer would fire at random. */
static void start_script(struct instance *in) {
    bool started = false;
    char *error = NULL;
    in->script_config = (struct bh_script_config){
        .files = &in->policy,
        .file_count = 1,
        .lua_dir = BELLHOP_ROOT "/lua",
        .shared = bh_shared_new(1 << 16),
        .memory_limit = 256u << 20,
        .hook_timeout_ms = HOUR_MS,
        .max_tasks = 10000,
    };
    if (bh_script_new(&in->script_config, in->worker, 1, &in->script, &error))
        fprintf(stderr, "bench: %s\n", error ? error : "no script");
    counting_must(in->script != NULL, in->policy);
    bh_script_start(in->script, on_script_started, &started);
    counting_must(started, in->policy);
}

static void start_edge(struct instance *in) {
    static const struct bh_slice ws_path = BH_SLICE("/ws"), sse_path = BH_SLICE("/sse");
    struct bh_edge_listen listen = {0};
    const char *why;
    size_t which;
    in->edge_config = (struct bh_edge_config){
        .backlog = 1024,
        .dev = in->policy == NULL,
        .ws_paths = &ws_path,
        .ws_path_count = 1,
        .sse_paths = &sse_path,
        .sse_path_count = 1,
        .sse_retry_ms = HOUR_MS,
        .http_head_bytes = 8192,
        .http_body_bytes = 1 << 20,
        .http_idle_ms = HOUR_MS,
        .http_request_ms = HOUR_MS,
        .handshake_ms = HOUR_MS,
        .message_bytes = 16 << 20,
        .fragments = 100000,
        .ping_interval_ms = HOUR_MS,
        .pong_timeout_ms = HOUR_MS,
        .close_timeout_ms = HOUR_MS,
        .messages_per_second = 50000,
        .bytes_per_second = 64 << 20,
        .control_per_second = 100,
        .queue_bytes = 4 << 20,
    };
    in->edge = bh_edge_new(&in->edge_config, in->worker);
    bh_addr_parse(BH_SLICE("127.0.0.1:0"), &listen.address, &why);
    counting_must(bh_edge_listen(in->edge, &listen, 1, &which) == 0, "a listener");
}

static void on_work(struct bh_defer *d) {
    struct instance *in = BH_CONTAINER_OF(d, struct instance, work);
    in->fn(in->ud);
}

static void open_node(struct instance *in, struct bh_history *history,
                      const struct bh_history_config *rules) {
    struct bh_node_config config = {.instance = BH_SLICE("counted"),
                                    .strategy = BH_STRATEGY_LOCAL_FIRST,
                                    .linger_ms = HOUR_MS,
                                    .payload_max = 1 << 20,
                                    .seen_max = 100000,
                                    .seen_ms = HOUR_MS};
    if (rules)
        config.history = *rules;
    bh_defer_init(&in->work, on_work);
    in->loop = bh_loop_new();
    in->mailbox = bh_mailbox_new(in->loop);
    in->broker = bh_memory_broker_new();
    in->tracker = bh_memory_tracker_new(1000);
    in->node = bh_node_new(&config, in->broker, in->tracker, in->loop, in->mailbox);
    if (history)
        bh_node_set_history(in->node, history);
    in->worker = bh_node_add_worker(in->node, in->loop, in->mailbox);
    counting_must(bh_node_start(in->node) == 0, "the start of a node");
}

void instance_open(struct instance *in, const char *policy) {
    *in = (struct instance){.policy = policy};
    open_node(in, NULL, NULL);
    if (policy)
        start_script(in);
    start_edge(in);
}

void instance_open_with_history(struct instance *in, struct bh_history *history,
                                const struct bh_history_config *rules) {
    *in = (struct instance){0};
    open_node(in, history, rules);
    start_edge(in);
}

static void tick(struct instance *in, unsigned times) {
    while (times--)
        bh_loop_tick(in->loop, false);
}

void instance_close(struct instance *in) {
    bh_edge_abort(in->edge);
    tick(in, 8);
    if (in->script)
        bh_script_free(in->script);
    bh_node_stop(in->node);
    bh_mailbox_close(in->mailbox);
    tick(in, 2);
    bh_mailbox_free(in->mailbox);
    bh_edge_free(in->edge);
    bh_node_free(in->node);
    in->broker->vt->free(in->broker);
    in->tracker->vt->free(in->tracker);
    bh_loop_free(in->loop);
    bh_shared_free(in->script_config.shared);
}

void instance_tick_with(struct instance *in, void (*fn)(void *ud), void *ud) {
    in->fn = fn;
    in->ud = ud;
    bh_defer(in->loop, BH_PHASE_FLUSH, &in->work);
    bh_loop_tick(in->loop, false);
}

static unsigned port_of(const struct instance *in) {
    const struct bh_addr *a = bh_edge_address(in->edge, 0);
    return ntohs(((const struct sockaddr_in *)&a->sa)->sin_port);
}

static int64_t connections(void) {
    return bh_metric_read(&bh_edge_metrics[BH_EDGE_CONNECTIONS]) +
           bh_metric_read(&bh_edge_metrics[BH_EDGE_SSE_CONNECTIONS]);
}

static void wait_for_connections(struct instance *in, int64_t count) {
    for (int i = 0; i < TIMEOUT_MS && connections() != count; i++) {
        tick(in, 4);
        if (connections() != count)
            poll(NULL, 0, 1);
    }
    counting_must(connections() == count, "connections");
}

/* --- a client --- */

static int dial(unsigned port) {
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct linger no_time_wait = {.l_onoff = 1};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &no_time_wait, sizeof no_time_wait);
    bool connected = connect(fd, (const struct sockaddr *)&to, sizeof to) == 0;
    counting_must(connected, "a client's connect");
    return fd;
}

static void ask(int fd, const char *path, unsigned user) {
    static const char upgrade[] = "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    bool websocket = strcmp(path, CROWD_SSE) != 0;
    char request[256];
    int n = snprintf(request, sizeof request, "GET %suser=u%u HTTP/1.1\r\nHost: x\r\n%s\r\n", path,
                     user, websocket ? upgrade : "");
    counting_must(send(fd, request, (size_t)n, MSG_NOSIGNAL) == n, "a client's request");
}

void client_open(struct client *c, struct instance *in) {
    char answer[1024];
    *c = (struct client){in, dial(port_of(in)), 0};
    ask(c->fd, CROWD_WS, 0);
    wait_for_connections(in, connections() + 1);
    tick(in, 1);
    ssize_t n = recv(c->fd, answer, sizeof answer, 0);
    counting_must(n > 12 && memcmp(answer, "HTTP/1.1 101", 12) == 0, "a client's 101");
}

void client_close(struct client *c) {
    int64_t before = connections();
    close(c->fd);
    wait_for_connections(c->instance, before - 1);
}

void client_send(struct client *c, struct bh_slice bytes) {
    ssize_t sent = write(c->fd, bytes.p, bytes.n);
    counting_must(sent == (ssize_t)bytes.n, "what a client was to say");
}

void client_receive(struct client *c) {
    char buffer[65536];
    while (c->expected) {
        ssize_t n = read(c->fd, buffer, sizeof buffer);
        counting_must(n > 0 && (size_t)n <= c->expected, "what a client was to hear");
        c->expected -= (size_t)n;
    }
}

void client_add_frame(struct bh_bytes *out, struct bh_slice payload) {
    static const unsigned char mask[4] = {0x11, 0xa2, 0x33, 0xc4};
    bh_bytes_addc(out, (char)0x81);
    if (payload.n < 126) {
        bh_bytes_addc(out, (char)(0x80 | payload.n));
    } else {
        bh_bytes_addc(out, (char)(0x80 | 126));
        bh_bytes_addc(out, (char)(payload.n >> 8));
        bh_bytes_addc(out, (char)payload.n);
    }
    bh_bytes_add(out, bh_slice((const char *)mask, 4));
    for (size_t i = 0; i < payload.n; i++)
        bh_bytes_addc(out, (char)((unsigned char)payload.p[i] ^ mask[i % 4]));
}

/* --- a crowd --- */

static void allow_descriptors(unsigned count) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max < count + 100) {
        fprintf(stderr, "bench: %u connections need a limit of descriptors over %lu (ulimit -n)\n",
                count, (unsigned long)files.rlim_max);
        exit(1);
    }
}

int crowd_main(unsigned count, unsigned port, const char *path) {
    char end;
    allow_descriptors(count);
    for (unsigned i = 0; i < count; i++)
        ask(dial(port), path, i);
    return read(STDIN_FILENO, &end, 1) != 0; /* the sockets are closed with the process */
}

static void start_crowd(const int leash[2], unsigned count, unsigned port, const char *path) {
    char self[4096], counts[16], ports[16];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        _exit(127);
    self[n] = '\0';
    snprintf(counts, sizeof counts, "%u", count);
    snprintf(ports, sizeof ports, "%u", port);
    dup2(leash[0], STDIN_FILENO);
    close(leash[1]);
    execl(self, self, "--crowd", counts, ports, path, (char *)NULL);
    _exit(127);
}

void crowd_open(struct crowd *c, struct instance *in, unsigned count, const char *path) {
    int leash[2];
    int64_t before = connections();
    allow_descriptors(count);
    counting_must(pipe(leash) == 0, "a pipe");
    c->pid = fork();
    if (c->pid == 0)
        start_crowd(leash, count, port_of(in), path);
    counting_must(c->pid > 0, "a process");
    close(leash[0]);
    c->leash = leash[1];
    wait_for_connections(in, before + count);
}

void crowd_close(struct crowd *c, struct instance *in) {
    int status;
    close(c->leash);
    waitpid(c->pid, &status, 0);
    counting_must(status == 0, "the crowd's process");
    wait_for_connections(in, 0);
}
