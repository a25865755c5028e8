/* mode_fanout.c - one message to all.
 *
 * In the closed loop the next one is published when the last one is everywhere: each process says
 * when all its phones have it, and the last of them wakes the publisher. In the open loop messages
 * are published when they are due, and several may be under way. */
#include "phone.h"
#include "published.h"
#include "publisher.h"
#include "say.h"

static bool paced(const struct client *client) {
    return client->options->rate > 0;
}

static void publish(struct client *client, uint64_t due) {
    published_send(client, 0, due);
}

static void run(struct client *client) {
    if (!published_here(client) || paced(client))
        return;
    client->rounds = client->shared->rounds;
    publish(client, now_ns());
}

static void message(struct phone *phone, const uint8_t *bytes, size_t len) {
    struct client *client = phone->client;
    if (!published_take(phone, bytes, len) || client->result->delivered % client->count)
        return;
    uint64_t all = client->shared->results[0].sent * client->options->processes;
    if (atomic_fetch_add(&client->shared->complete, 1) + 1 == all)
        published_tell(client);
}

static void finish(struct client *client) {
    client->shared->ended = client->now;
    client_arrive(client);
}

static void next_round(struct client *client) {
    uint64_t all = client->result->sent * client->options->processes, began = client->last_stamp;
    bool late = client_gives_up(client, began);
    if (client->shared->complete < all) {
        if (late)
            finish(client);
        return;
    }
    client->now = now_ns();
    if (client_measures(client, began))
        histogram_add(&client->result->round, client->now - began);
    if (--client->rounds == 0)
        finish(client);
    else
        publish(client, client->now);
}

static void drain(struct client *client) {
    uint64_t all = client->result->sent * client->options->connections;
    bool late = client_gives_up(client, client->shared->until);
    client->wake_at = client->now + 5 * NS_PER_MS;
    if (client_delivered_in_all(client) >= all || late)
        client_arrive(client);
}

static void tick(struct client *client) {
    if (!published_here(client))
        return;
    if (!paced(client))
        next_round(client);
    else if (client->now < client->shared->until)
        published_send_due(client, publish);
    else
        drain(client);
    publisher_flush(client->publisher);
}

static uint64_t expected(const struct phone *phone) {
    return phone->client->shared->results[0].sent;
}

const struct mode mode_fanout = {
    .init = published_init, .run = run, .message = message, .tick = tick, .expected = expected};
