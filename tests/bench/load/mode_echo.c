/* mode_echo.c - each connection sends payloads and expects the same ones back, in order.
 *
 * In the closed loop a connection keeps --in-flight of them outstanding: after a read with k
 * replies, k messages are sent in one write, from an array of masked frames that only get new
 * stamps. In the open loop the connections take turns on a fixed schedule. */
#include "client.h"
#include "frame.h"
#include "pace.h"
#include "protocol.h"

#include <stdlib.h>
#include <string.h>

struct frames {
    uint8_t *bytes;
    size_t each, payload_at; /* a frame's length, and where its payload begins in it */
};

static void init(struct worker *worker) {
    struct frames *frames = must_realloc(NULL, sizeof *frames);
    const struct payload *p = &worker->payload;
    unsigned row = worker->options->in_flight;
    bool websocket = protocols[worker->options->protocol].websocket;
    uint8_t head[FRAME_HEAD_MAX];
    frames->payload_at = websocket ? frame_head(head, FRAME_TEXT, p->size) : 0;
    frames->each = frames->payload_at + p->size;
    frames->bytes = must_realloc(NULL, frames->each * row);
    for (unsigned i = 0; i < row; i++) {
        uint8_t *at = frames->bytes + i * frames->each;
        memcpy(at, head, frames->payload_at);
        memcpy(at + frames->payload_at, p->bytes, p->size);
        if (websocket)
            frame_copy_masked(at + frames->payload_at, p->bytes, p->size, 0);
    }
    worker->frames = frames;
}

static void add(_Atomic uint64_t *counter, uint64_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_release);
}

static void send_stamped(struct client *client, unsigned n, uint64_t stamp) {
    struct worker *worker = client->worker;
    struct frames *frames = worker->frames;
    char digits[PAYLOAD_STAMP_LEN];
    uint8_t masked[PAYLOAD_STAMP_LEN];
    payload_digits(digits, stamp);
    memcpy(masked, digits, sizeof masked);
    if (frames->payload_at)
        frame_copy_masked(masked, digits, sizeof digits, PAYLOAD_MARKER_LEN);
    for (unsigned i = 0; i < n; i++) {
        memcpy(frames->bytes + i * frames->each + frames->payload_at + PAYLOAD_MARKER_LEN, masked,
               sizeof masked);
        stamps_push(&client->stamps, stamp);
    }
    client->sent += n;
    add(&worker->result->sent, n);
    if (worker_measures(worker, stamp))
        worker->result->sent_measured += n;
    client_send(client, frames->bytes, n * frames->each);
}

static void run(struct worker *worker) {
    for (unsigned i = 0; worker->options->rate == 0 && i < worker->count; i++)
        if (worker->clients[i].state == CLIENT_OPEN)
            send_stamped(&worker->clients[i], worker->options->in_flight, now_ns());
}

static void message(struct client *client, const uint8_t *bytes, size_t len) {
    struct worker *worker = client->worker;
    struct result *result = worker->result;
    uint64_t expected = stamps_pop(&client->stamps), stamp;
    client->batch++;
    if (!payload_check(&worker->payload, bytes, len, &stamp)) {
        result->bad++;
        return;
    }
    client->received++;
    if (stamp != expected)
        result->unexpected++;
    add(&result->delivered, 1);
    if (worker_measures(worker, worker->now))
        result->delivered_measured++;
    if (worker_measures(worker, stamp))
        histogram_add(&result->latency, worker->now - stamp);
}

static void batch(struct client *client) {
    unsigned n = client->batch;
    client->batch = 0;
    if (client->worker->options->rate > 0 || client->worker->now >= client->worker->shared->until)
        return;
    /* A server that sends duplicates does not cause more messages. */
    unsigned room = client->worker->options->in_flight - client->stamps.count;
    if (n > room)
        n = room;
    if (n)
        send_stamped(client, n, client->worker->now);
}

static void send_due(struct worker *worker) {
    uint64_t due;
    while ((due = pace_due(worker, worker->options->processes, worker->sequence)) <= worker->now &&
           due < worker->shared->until) {
        struct client *client = &worker->clients[worker->sequence++ % worker->count];
        if (client->state == CLIENT_OPEN)
            send_stamped(client, 1, due);
    }
    worker->wake_at = due;
}

static void tick(struct worker *worker) {
    uint64_t until = worker->shared->until;
    const struct result *r = worker->result;
    if (worker->options->rate > 0 && worker->now < until)
        send_due(worker);
    if (worker->now < until) {
        worker->wake_at = worker->wake_at < until ? worker->wake_at : until;
        return;
    }
    if (worker_timed_out(worker, until) || r->sent <= r->delivered + r->bad)
        worker_done(worker);
}

static uint64_t expected(const struct client *client) {
    return client->sent;
}

const struct mode mode_echo = {.init = init,
                               .run = run,
                               .message = message,
                               .batch = batch,
                               .tick = tick,
                               .expected = expected};
