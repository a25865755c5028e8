/* worker.c - a worker process: its loop, and the commands of the conductor.
 *
 * OPEN connects the clients, `window` at a time, and is done when all are open. RUN starts the
 * mode, which is done when its messages are delivered or --drain has passed. QUIT counts the
 * messages that each client missed and ends the process. The loop also runs between commands, so
 * that pings of the server are answered. */
#include "worker.h"

#include "client.h"
#include "output.h"

#include <errno.h>
#include <math.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#define BUFFER_BYTES   65536
#define EVENTS_AT_ONCE 512

/* --- the loop --- */

static void control(struct worker *worker, int how, int fd, struct source *source,
                    uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (epoll_ctl(worker->epoll, how, fd, &event))
        die("epoll: %s", strerror(errno));
}

void worker_watch(struct worker *worker, int fd, struct source *source, uint32_t events) {
    control(worker, EPOLL_CTL_ADD, fd, source, events);
}

void worker_rewatch(struct worker *worker, int fd, struct source *source, uint32_t events) {
    control(worker, EPOLL_CTL_MOD, fd, source, events);
}

void worker_poll(struct worker *worker) {
    struct epoll_event events[EVENTS_AT_ONCE];
    struct timespec wait, *timeout = NULL;
    if (worker->wake_at != UINT64_MAX) {
        uint64_t now = now_ns(), ns = worker->wake_at > now ? worker->wake_at - now : 0;
        wait = (struct timespec){(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
        timeout = &wait;
    }
    int n = epoll_pwait2(worker->epoll, events, EVENTS_AT_ONCE, timeout, NULL);
    if (n < 0 && errno != EINTR)
        die("epoll_pwait2: %s", strerror(errno));
    worker->wake_at = UINT64_MAX;
    worker->now = now_ns();
    for (int i = 0; i < n; i++) {
        struct source *source = events[i].data.ptr;
        source->ready(source, events[i].events);
    }
}

/* --- connections --- */

static void open_more(struct worker *worker) {
    while (worker->begun < worker->count && worker->begun - worker->open < worker->window) {
        unsigned i = worker->begun++;
        client_start(&worker->clients[i], worker, worker->first + i);
    }
}

void worker_on_open(struct worker *worker, struct client *client) {
    uint64_t now = now_ns();
    histogram_add(&worker->result->handshake, now - client->begun);
    worker->result->opened_at = now;
    worker->open++;
    if (worker->open == worker->count && !worker->mode->counts_opened)
        worker_done(worker);
}

void worker_on_closed(struct worker *worker, struct client *client, const char *why) {
    if (client->state != CLIENT_OPEN)
        die("connection %u closed before it was open: %s", client->number, why);
    if (!worker->result->closed++)
        fprintf(stderr, "bench_load: connection %u: %s\n", client->number, why);
}

/* --- commands --- */

void worker_done(struct worker *worker) {
    worker->running = false;
    eventfd_write(worker->shared->done, 1);
}

uint64_t worker_delivered_by_all(const struct worker *worker) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < worker->options->processes; i++)
        sum += atomic_load_explicit(&worker->shared->results[i].delivered, memory_order_acquire);
    return sum;
}

bool worker_timed_out(struct worker *worker, uint64_t last) {
    worker->wake_at = last + (uint64_t)(worker->options->drain * NS_PER_S);
    return worker->now >= worker->wake_at;
}

static void count_lost(struct worker *worker) {
    for (unsigned i = 0; worker->mode->expected && i < worker->count; i++) {
        const struct client *client = &worker->clients[i];
        uint64_t expected = worker->mode->expected(client);
        if (expected > client->received)
            worker->result->lost += expected - client->received;
        else
            worker->result->unexpected += client->received - expected;
    }
}

static void quit(struct worker *worker) {
    count_lost(worker);
    if (worker->mode->end)
        worker->mode->end(worker);
    for (unsigned i = 0; i < worker->count; i++)
        client_drop(&worker->clients[i]);
    fflush(NULL);
    _exit(0);
}

static void on_command(struct source *source, uint32_t events) {
    struct worker *worker =
        (struct worker *)((char *)source - offsetof(struct worker, commands_source));
    eventfd_t count;
    eventfd_read(worker->commands, &count);
    switch (worker->result->command) {
    case COMMAND_OPEN:
        open_more(worker);
        break;
    case COMMAND_RUN:
        worker->running = true;
        if (worker->mode->run)
            worker->mode->run(worker);
        break;
    case COMMAND_QUIT:
        quit(worker);
    }
}

/* --- start --- */

static void init_tls(struct worker *worker) {
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    worker->tls = tls;
}

void worker_init(struct worker *worker, const struct options *options, struct shared *shared) {
    *worker = (struct worker){.options = options, .shared = shared, .wake_at = UINT64_MAX};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1ul);
    signal(SIGPIPE, SIG_IGN);
    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    worker->buffer_size = BUFFER_BYTES + 2 * options->size;
    worker->buffer = must_realloc(NULL, worker->buffer_size);
    worker->window = options->mode >= MODE_BURST ? options->in_flight : 256;
    worker->window = (worker->window + options->processes - 1) / options->processes;
    payload_init(&worker->payload, options->size);
    if (options->tls)
        init_tls(worker);
}

/* Connections are split evenly; the process after the last one runs the probe. */
static void assign_connections(struct worker *worker, unsigned index) {
    unsigned all = worker->options->connections, processes = worker->options->processes;
    unsigned each = all / processes, more = all % processes;
    worker->index = index;
    worker->count = index == processes ? 1 : each + (index < more);
    worker->first = index == processes ? all + 1 : 1 + index * each + (index < more ? index : more);
    worker->clients = must_realloc(NULL, worker->count * sizeof *worker->clients);
    memset(worker->clients, 0, worker->count * sizeof *worker->clients);
    worker->result = &worker->shared->results[index];
}

void worker_main(const struct options *options, struct shared *shared, unsigned index,
                 int commands) {
    static const struct mode *const modes[MODES] = {&mode_echo, &mode_fanout, &mode_users,
                                                    &mode_idle, &mode_idle,   &mode_recover};
    static struct worker worker;
    worker_init(&worker, options, shared);
    assign_connections(&worker, index);
    worker.mode = index == options->processes ? &mode_probe : modes[options->mode];
    worker.commands = commands;
    worker.commands_source.ready = on_command;
    worker_watch(&worker, commands, &worker.commands_source, EPOLLIN);
    if (worker.mode->init)
        worker.mode->init(&worker);
    for (;;) {
        worker_poll(&worker);
        if (worker.begun && worker.begun < worker.count)
            open_more(&worker);
        if (worker.running)
            worker.mode->tick(&worker);
    }
}
