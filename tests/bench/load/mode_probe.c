/* mode_probe.c - how long the server lets one wait, whatever else it is doing: a connection of its
 * own in a process of its own sends a Ping each 5 ms on a fixed schedule, and its answer is late by
 * the time since it was due. What is not answered at the end is as late as it is then. So that the
 * load's own processes do not hold it up it asks for the real-time scheduler (which it may not
 * get), and notes how late it was itself. */
#include "frame.h"
#include "phone.h"
#include "say.h"

#include <sched.h>
#include <string.h>

#define EACH (5 * NS_PER_MS)

static void init(struct client *client) {
    struct sched_param first = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_FIFO, &first);
}

static void note(struct client *client, uint64_t due, uint64_t now) {
    if (client->shared->probe_counts)
        histogram_add(&client->shared->probe, now - due);
}

static void on_pong(struct phone *phone, const uint8_t *bytes, size_t len) {
    uint64_t due;
    if (len != sizeof due)
        return;
    memcpy(&due, bytes, sizeof due);
    if (due == stamps_pop(&phone->stamps))
        note(phone->client, due, phone->client->now);
}

static void run(struct client *client) {
    client->phones[0].on_pong = on_pong;
    client->last_stamp = now_ns();
}

static void tick(struct client *client) {
    struct phone *phone = &client->phones[0];
    if (phone->state != PHONE_OPEN)
        die("the probe is closed");
    while (client->last_stamp <= client->now) {
        uint64_t due = client->last_stamp, late = client->now - due;
        stamps_push(&phone->stamps, due);
        phone_send_frame(phone, FRAME_PING, &due, sizeof due);
        client->last_stamp += EACH;
        if (client->shared->probe_counts && late > client->shared->probe_late)
            client->shared->probe_late = late;
    }
    client->wake_at = client->last_stamp;
}

static void end(struct client *client) {
    struct stamps *out = &client->phones[0].stamps;
    uint64_t now = now_ns();
    while (out->count)
        note(client, stamps_pop(out), now);
}

const struct mode mode_probe = {.init = init, .run = run, .tick = tick, .end = end};
