/* mode_still.c - connections that are only opened: idle ones, whose cost is memory and answering to
 * heartbeats, and a burst, which is over when the last one is open. */
#include "phone.h"

static void message(struct phone *phone, const uint8_t *bytes, size_t len) {
    phone->client->result->unexpected++;
}

static void tick(struct client *client) {
    uint64_t until = client->shared->until;
    client->wake_at = until;
    if (client->now >= until)
        client_arrive(client);
}

const struct mode mode_still = {.message = message, .tick = tick};
