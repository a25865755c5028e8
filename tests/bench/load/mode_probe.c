/* mode_probe.c - the latency of the server for one connection, whatever the load does: a connection
 * in a process of its own sends a Ping every 5 ms on a fixed schedule, and its latency is the time
 * from when the Ping was due until the Pong. Pings that are unanswered at the end count with their
 * age. The process asks for the real-time scheduler (and may not get it), so that the workers of
 * the load do not delay it, and records its own largest delay. */
#include "client.h"
#include "frame.h"
#include "output.h"

#include <sched.h>
#include <string.h>

#define INTERVAL (5 * NS_PER_MS)

static void init(struct worker *worker) {
    struct sched_param first = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_FIFO, &first);
}

static void record(struct worker *worker, uint64_t due, uint64_t now) {
    if (worker->shared->probe_counts)
        histogram_add(&worker->shared->probe, now - due);
}

static void on_pong(struct client *client, const uint8_t *bytes, size_t len) {
    uint64_t due;
    if (len != sizeof due)
        return;
    memcpy(&due, bytes, sizeof due);
    if (due == stamps_pop(&client->stamps))
        record(client->worker, due, client->worker->now);
}

static void run(struct worker *worker) {
    worker->clients[0].on_pong = on_pong;
    worker->last_stamp = now_ns();
}

static void tick(struct worker *worker) {
    struct client *client = &worker->clients[0];
    if (client->state != CLIENT_OPEN)
        die("the connection of the probe was closed");
    while (worker->last_stamp <= worker->now) {
        uint64_t due = worker->last_stamp, late = worker->now - due;
        stamps_push(&client->stamps, due);
        client_send_frame(client, FRAME_PING, &due, sizeof due);
        worker->last_stamp += INTERVAL;
        if (worker->shared->probe_counts && late > worker->shared->probe_late)
            worker->shared->probe_late = late;
    }
    worker->wake_at = worker->last_stamp;
}

static void end(struct worker *worker) {
    struct stamps *out = &worker->clients[0].stamps;
    uint64_t now = now_ns();
    while (out->count)
        record(worker, stamps_pop(out), now);
}

const struct mode mode_probe = {.init = init, .run = run, .tick = tick, .end = end};
