/* mode_idle.c - connections that are only opened: idle ones, which cost memory and heartbeats, and
 * a burst, which is over when the last one is open. */
#include "client.h"

static void message(struct client *client, const uint8_t *bytes, size_t len) {
    client->worker->result->unexpected++;
}

static void tick(struct worker *worker) {
    uint64_t until = worker->shared->until;
    worker->wake_at = until;
    if (worker->now >= until)
        worker_done(worker);
}

const struct mode mode_idle = {.message = message, .tick = tick};
