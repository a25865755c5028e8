/* client.c - a client process: its loop, and how it carries out what the conductor orders.
 *
 * OPEN connects the phones, `window` at a time, and arrives when all are open. RUN hands over to
 * the mode, which arrives when its messages are delivered or have been waited for in vain. QUIT
 * counts what each phone has missed and ends the process. In between the loop goes on, so that
 * whatever the server asks (pings) is answered. */
#include "client.h"

#include "phone.h"
#include "say.h"

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

static void control(struct client *client, int how, int fd, struct source *source,
                    uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = source};
    if (epoll_ctl(client->epoll, how, fd, &event))
        die("epoll: %s", strerror(errno));
}

void client_watch(struct client *client, int fd, struct source *source, uint32_t events) {
    control(client, EPOLL_CTL_ADD, fd, source, events);
}

void client_rewatch(struct client *client, int fd, struct source *source, uint32_t events) {
    control(client, EPOLL_CTL_MOD, fd, source, events);
}

void client_turn(struct client *client) {
    struct epoll_event events[EVENTS_AT_ONCE];
    struct timespec wait, *timeout = NULL;
    if (client->wake_at != UINT64_MAX) {
        uint64_t now = now_ns(), ns = client->wake_at > now ? client->wake_at - now : 0;
        wait = (struct timespec){(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
        timeout = &wait;
    }
    int n = epoll_pwait2(client->epoll, events, EVENTS_AT_ONCE, timeout, NULL);
    if (n < 0 && errno != EINTR)
        die("epoll_pwait2: %s", strerror(errno));
    client->wake_at = UINT64_MAX;
    client->now = now_ns();
    for (int i = 0; i < n; i++) {
        struct source *source = events[i].data.ptr;
        source->ready(source, events[i].events);
    }
}

/* --- connections --- */

static void open_more(struct client *client) {
    while (client->begun < client->count && client->begun - client->open < client->window) {
        unsigned i = client->begun++;
        phone_start(&client->phones[i], client, client->first + i);
    }
}

void client_on_open(struct client *client, struct phone *phone) {
    uint64_t now = now_ns();
    histogram_add(&client->result->handshake, now - phone->begun);
    client->result->opened_at = now;
    client->open++;
    if (client->open == client->count)
        client_arrive(client);
}

void client_on_closed(struct client *client, struct phone *phone, const char *why) {
    if (phone->state != PHONE_OPEN)
        die("connection %u, which is not open yet: %s", phone->number, why);
    if (!client->result->closed++)
        fprintf(stderr, "bench_load: connection %u: %s\n", phone->number, why);
}

/* --- orders --- */

void client_arrive(struct client *client) {
    client->running = false;
    eventfd_write(client->shared->arrived, 1);
}

uint64_t client_delivered_in_all(const struct client *client) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < client->options->processes; i++)
        sum += atomic_load_explicit(&client->shared->results[i].delivered, memory_order_acquire);
    return sum;
}

bool client_gives_up(struct client *client, uint64_t last) {
    client->wake_at = last + (uint64_t)(client->options->drain * NS_PER_S);
    return client->now >= client->wake_at;
}

static void count_lost(struct client *client) {
    for (unsigned i = 0; client->mode->expected && i < client->count; i++) {
        const struct phone *phone = &client->phones[i];
        uint64_t expected = client->mode->expected(phone);
        if (expected > phone->received)
            client->result->lost += expected - phone->received;
        else
            client->result->unexpected += phone->received - expected;
    }
}

static void quit(struct client *client) {
    count_lost(client);
    if (client->mode->end)
        client->mode->end(client);
    for (unsigned i = 0; i < client->count; i++)
        phone_drop(&client->phones[i]);
    fflush(NULL);
    _exit(0);
}

static void on_order(struct source *source, uint32_t events) {
    struct client *client =
        (struct client *)((char *)source - offsetof(struct client, orders_source));
    eventfd_t count;
    eventfd_read(client->orders, &count);
    switch (client->result->command) {
    case COMMAND_OPEN:
        open_more(client);
        break;
    case COMMAND_RUN:
        client->running = true;
        if (client->mode->run)
            client->mode->run(client);
        break;
    case COMMAND_QUIT:
        quit(client);
    }
}

/* --- its life --- */

static void init_tls(struct client *client) {
    SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    client->tls = tls;
}

void client_init(struct client *client, const struct options *options, struct shared *shared) {
    *client = (struct client){.options = options, .shared = shared, .wake_at = UINT64_MAX};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_TIMERSLACK, 1ul);
    signal(SIGPIPE, SIG_IGN);
    client->epoll = epoll_create1(EPOLL_CLOEXEC);
    client->buffer_size = BUFFER_BYTES + 2 * options->size;
    client->buffer = must_realloc(NULL, client->buffer_size);
    client->window = options->mode == MODE_BURST ? options->in_flight : 256;
    client->window = (client->window + options->processes - 1) / options->processes;
    payload_init(&client->payload, options->size);
    if (options->tls)
        init_tls(client);
}

/* Connections are split as evenly as it goes; the process behind the last has the probe's. */
static void take_share(struct client *client, unsigned index) {
    unsigned all = client->options->connections, processes = client->options->processes;
    unsigned each = all / processes, more = all % processes;
    client->index = index;
    client->count = index == processes ? 1 : each + (index < more);
    client->first = index == processes ? all + 1 : 1 + index * each + (index < more ? index : more);
    client->phones = must_realloc(NULL, client->count * sizeof *client->phones);
    memset(client->phones, 0, client->count * sizeof *client->phones);
    client->result = &client->shared->results[index];
}

void client_main(const struct options *options, struct shared *shared, unsigned index, int orders) {
    static const struct mode *const modes[MODES] = {&mode_echo, &mode_fanout, &mode_users,
                                                    &mode_still, &mode_still};
    static struct client client;
    client_init(&client, options, shared);
    take_share(&client, index);
    client.mode = index == options->processes ? &mode_probe : modes[options->mode];
    client.orders = orders;
    client.orders_source.ready = on_order;
    client_watch(&client, orders, &client.orders_source, EPOLLIN);
    if (client.mode->init)
        client.mode->init(&client);
    for (;;) {
        client_turn(&client);
        if (client.begun && client.begun < client.count)
            open_more(&client);
        if (client.running)
            client.mode->tick(&client);
    }
}
