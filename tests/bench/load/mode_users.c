/* mode_users.c - messages to one user each, in turn. In the closed loop so many are under way in
 * all: what is delivered, in whichever process, is replaced. */
#include "phone.h"
#include "published.h"
#include "publisher.h"
#include "say.h"

static void publish(struct client *client, uint64_t due) {
    unsigned user = (unsigned)(client->result->sent % client->options->users);
    client->shared->sent_to[user % client->options->connections]++;
    published_send(client, 1 + user, due);
}

static void message(struct phone *phone, const uint8_t *bytes, size_t len) {
    published_take(phone, bytes, len);
}

static void fill(struct client *client) {
    uint64_t out = client->result->sent - client_delivered_in_all(client);
    for (; out < client->options->in_flight; out++)
        publish(client, client->now);
    client->wake_at = client->shared->until;
}

static void drain(struct client *client) {
    bool late = client_gives_up(client, client->shared->until);
    client->wake_at = client->now + 5 * NS_PER_MS;
    if (client_delivered_in_all(client) >= client->result->sent || late)
        client_arrive(client);
}

/* A turn of the others: what they have got makes room. */
static void tell(struct client *client) {
    if (client->told == client->result->delivered)
        return;
    client->told = client->result->delivered;
    published_tell(client);
}

static void tick(struct client *client) {
    if (!published_here(client)) {
        if (client->options->rate == 0)
            tell(client);
        return;
    }
    if (client->now >= client->shared->until)
        drain(client);
    else if (client->options->rate > 0)
        published_send_due(client, publish);
    else
        fill(client);
    publisher_flush(client->publisher);
}

static uint64_t expected(const struct phone *phone) {
    return phone->client->shared->sent_to[phone->number - 1];
}

const struct mode mode_users = {
    .init = published_init, .message = message, .tick = tick, .expected = expected};
