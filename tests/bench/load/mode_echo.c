/* mode_echo.c - each connection sends payloads and expects the very same ones back, in their order.
 *
 * In the closed loop a connection keeps so many on their way: when k replies have been read, k
 * messages go out in one write. They are copied from a row of frames that lie ready, masked, and
 * only get their stamps. In the open loop the connections take turns at the times that are due. */
#include "dialect.h"
#include "frame.h"
#include "pace.h"
#include "phone.h"

#include <stdlib.h>
#include <string.h>

struct frames {
    uint8_t *bytes;
    size_t each, payload_at; /* of a frame: its length, and where its payload begins */
};

static void init(struct client *client) {
    struct frames *frames = must_realloc(NULL, sizeof *frames);
    const struct payload *p = &client->payload;
    unsigned row = client->options->in_flight;
    bool websocket = dialects[client->options->dialect].websocket;
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
    client->frames = frames;
}

static void add(_Atomic uint64_t *counter, uint64_t n) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_release);
}

static void send_stamped(struct phone *phone, unsigned n, uint64_t stamp) {
    struct client *client = phone->client;
    struct frames *frames = client->frames;
    char digits[PAYLOAD_STAMP_LEN];
    uint8_t masked[PAYLOAD_STAMP_LEN];
    payload_digits(digits, stamp);
    memcpy(masked, digits, sizeof masked);
    if (frames->payload_at)
        frame_copy_masked(masked, digits, sizeof digits, PAYLOAD_MARKER_LEN);
    for (unsigned i = 0; i < n; i++) {
        memcpy(frames->bytes + i * frames->each + frames->payload_at + PAYLOAD_MARKER_LEN, masked,
               sizeof masked);
        stamps_push(&phone->stamps, stamp);
    }
    phone->sent += n;
    add(&client->result->sent, n);
    if (client_measures(client, stamp))
        client->result->sent_measured += n;
    phone_send(phone, frames->bytes, n * frames->each);
}

static void run(struct client *client) {
    for (unsigned i = 0; client->options->rate == 0 && i < client->count; i++)
        if (client->phones[i].state == PHONE_OPEN)
            send_stamped(&client->phones[i], client->options->in_flight, now_ns());
}

static void message(struct phone *phone, const uint8_t *bytes, size_t len) {
    struct client *client = phone->client;
    struct result *result = client->result;
    uint64_t expected = stamps_pop(&phone->stamps), stamp;
    phone->batch++;
    if (!payload_check(&client->payload, bytes, len, &stamp)) {
        result->bad++;
        return;
    }
    phone->received++;
    if (stamp != expected)
        result->unexpected++;
    add(&result->delivered, 1);
    if (client_measures(client, client->now))
        result->delivered_measured++;
    if (client_measures(client, stamp))
        histogram_add(&result->latency, client->now - stamp);
}

static void batch(struct phone *phone) {
    unsigned n = phone->batch;
    phone->batch = 0;
    if (phone->client->options->rate > 0 || phone->client->now >= phone->client->shared->until)
        return;
    /* A server that answers more than it was asked does not make for more messages. */
    unsigned room = phone->client->options->in_flight - phone->stamps.count;
    if (n > room)
        n = room;
    if (n)
        send_stamped(phone, n, phone->client->now);
}

static void send_due(struct client *client) {
    uint64_t due;
    while ((due = pace_due(client, client->options->processes, client->sequence)) <= client->now &&
           due < client->shared->until) {
        struct phone *phone = &client->phones[client->sequence++ % client->count];
        if (phone->state == PHONE_OPEN)
            send_stamped(phone, 1, due);
    }
    client->wake_at = due;
}

static void tick(struct client *client) {
    uint64_t until = client->shared->until;
    const struct result *r = client->result;
    if (client->options->rate > 0 && client->now < until)
        send_due(client);
    if (client->now < until) {
        client->wake_at = client->wake_at < until ? client->wake_at : until;
        return;
    }
    if (client_gives_up(client, until) || r->sent <= r->delivered + r->bad)
        client_arrive(client);
}

static uint64_t expected(const struct phone *phone) {
    return phone->sent;
}

const struct mode mode_echo = {.init = init,
                               .run = run,
                               .message = message,
                               .batch = batch,
                               .tick = tick,
                               .expected = expected};
