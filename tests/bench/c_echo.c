/* c_echo.c - a server of bellhop's layers whose on_message hook is written in C: the cost of echo
 * without Lua.
 *
 *     bench_c_echo --listen ADDRESS:PORT
 *
 * It is set up as the daemon does it (src/app/serve.c), except that the bus, which is idle here,
 * shares the loop of the only worker: all runs on the main thread. It prints the address when it
 * listens, and ends with SIGTERM or SIGINT. main frees everything, in the order that edge.h
 * requires. */
#include "bellhop/backend/memory.h"
#include "bellhop/base/log.h"
#include "bellhop/edge/edge.h"
#include "bellhop/io/signal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(bool ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "bench_c_echo: %s\n", what);
    exit(1);
}

/* --- the hooks --- */

static bh_handle accept_anybody(struct bh_hooks *h, const struct bh_request *request,
                                bh_handshake_cb done, void *ud, bh_handle handle) {
    static const struct bh_identity nobody;
    struct bh_handshake_result result = {0};
    const char *why = NULL;
    must(bh_identity_new(&nobody, &result.identity, &why) == 0, "cannot make an identity");
    done(ud, handle, &result);
    return 0;
}

static void cancel_nothing(struct bh_hooks *h, bh_handle ticket) {}

static void echo(struct bh_hooks *h, struct bh_subscriber *s, enum bh_opcode opcode,
                 struct bh_slice data) {
    s->vt->send(s, opcode, data);
}

static const struct bh_hooks_vt echo_vt = {
    .handshake = accept_anybody,
    .cancel = cancel_nothing,
    .message = echo,
};

/* --- the server --- */

static void on_signal(int signo, void *ud) {
    bh_loop_stop(ud);
}

static const struct bh_slice paths[] = {BH_SLICE("/ws")};

/* The daemon's defaults that are not 0. */
static const struct bh_edge_config edge_config = {
    .backlog = 1024,
    .ws_paths = paths,
    .ws_path_count = 1,
    .http_head_bytes = 16 * 1024,
    .http_body_bytes = 4 * 1024 * 1024,
    .http_idle_ms = 75000,
    .http_request_ms = 10000,
    .handshake_ms = 10000,
    .message_bytes = 16 * 1024 * 1024,
    .fragments = 100000,
    .ping_interval_ms = 25000,
    .pong_timeout_ms = 8000,
    .close_timeout_ms = 5000,
    .messages_per_second = 50000,
    .bytes_per_second = 64 * 1024 * 1024,
    .control_per_second = 100,
    .queue_bytes = 4 * 1024 * 1024,
};

static const struct bh_node_config node_config = {
    .instance = BH_SLICE("echo"),
    .strategy = BH_STRATEGY_LOCAL_FIRST,
    .linger_ms = 5000,
    .payload_max = 4 * 1024 * 1024,
    .seen_max = 1000,
    .seen_ms = 300000,
};

static void listen_on(struct bh_edge *edge, const char *text) {
    struct bh_edge_listen listen = {0};
    char bound[BH_ADDR_TEXT_MAX];
    const char *why = NULL;
    size_t which;
    must(bh_addr_parse(bh_slice_cstr(text), &listen.address, &why) == 0, "not an address");
    must(bh_edge_listen(edge, &listen, 1, &which) == 0, "cannot listen there");
    bh_addr_format(bh_edge_address(edge, 0), bound);
    printf("listening %s\n", bound);
    fflush(stdout);
}

int main(int argc, char **argv) {
    must(argc == 3 && strcmp(argv[1], "--listen") == 0,
         "usage: bench_c_echo --listen ADDRESS:PORT");
    signal(SIGPIPE, SIG_IGN);
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, "echo");
    bh_core_metrics_register();
    bh_edge_metrics_register();
    struct bh_loop *loop = bh_loop_new();
    struct bh_mailbox *mailbox = bh_mailbox_new(loop);
    struct bh_broker *broker = bh_memory_broker_new();
    struct bh_tracker *tracker = bh_memory_tracker_new(3000);
    struct bh_node *node = bh_node_new(&node_config, broker, tracker, loop, mailbox);
    struct bh_worker *worker = bh_node_add_worker(node, loop, mailbox);
    struct bh_hooks hooks = {&echo_vt, BH_HOOK_HANDSHAKE | BH_HOOK_MESSAGE};
    worker->hooks = &hooks;
    struct bh_edge *edge = bh_edge_new(&edge_config, worker);
    must(bh_node_start(node) == 0, "cannot start");
    must(broker->vt->worker_start(broker, worker->index, loop) == 0, "cannot start");
    listen_on(edge, argv[2]);
    struct bh_signal *term = bh_signal_new(loop, SIGTERM, on_signal, loop);
    struct bh_signal *interrupt = bh_signal_new(loop, SIGINT, on_signal, loop);
    bh_loop_run(loop);

    bh_edge_abort(edge);
    broker->vt->worker_stop(broker, worker->index);
    bh_node_stop(node);
    bh_signal_free(term);
    bh_signal_free(interrupt);
    bh_mailbox_close(mailbox);
    bh_loop_tick(loop, false);
    bh_mailbox_free(mailbox);
    bh_edge_free(edge);
    bh_node_free(node);
    broker->vt->free(broker);
    tracker->vt->free(tracker);
    bh_loop_free(loop);
    return 0;
}
