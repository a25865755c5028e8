/* published.c - the two ends of a published message. A phone takes stamps that rise only, so what
 * comes twice does not count twice; where several connections publish at once the order is not
 * known, and only the number at the end tells. */
#include "published.h"

#include "pace.h"
#include "phone.h"
#include "publisher.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

static void woken(struct source *source, uint32_t events) {
    struct client *client =
        (struct client *)((char *)source - offsetof(struct client, publisher_source));
    eventfd_t count;
    eventfd_read(client->shared->publisher, &count);
}

void published_init(struct client *client) {
    if (!published_here(client))
        return;
    client->publisher = publisher_new(client);
    client->publisher_source.ready = woken;
    client_watch(client, client->shared->publisher, &client->publisher_source, EPOLLIN);
}

void published_send(struct client *client, unsigned number, uint64_t stamp) {
    if (stamp <= client->last_stamp)
        stamp = client->last_stamp + 1;
    client->last_stamp = stamp;
    atomic_fetch_add(&client->result->sent, 1);
    if (client_measures(client, stamp))
        client->result->sent_measured++;
    publisher_send(client->publisher, number, stamp);
}

void published_send_due(struct client *client, void (*fn)(struct client *client, uint64_t due)) {
    uint64_t due, until = client->shared->until;
    while ((due = pace_due(client, 1, client->sequence)) <= client->now && due < until) {
        client->sequence++;
        fn(client, due);
    }
    client->wake_at = due < until ? due : until;
}

bool published_take(struct phone *phone, const uint8_t *bytes, size_t len) {
    struct client *client = phone->client;
    struct result *result = client->result;
    uint64_t stamp;
    if (!payload_check(&client->payload, bytes, len, &stamp)) {
        result->bad++;
        return false;
    }
    if (stamp <= phone->last_stamp && publisher_keeps_order(client->options)) {
        result->unexpected++;
        return false;
    }
    phone->last_stamp = stamp;
    phone->received++;
    atomic_store_explicit(&result->delivered,
                          atomic_load_explicit(&result->delivered, memory_order_relaxed) + 1,
                          memory_order_release);
    if (client_measures(client, client->now))
        result->delivered_measured++;
    if (client_measures(client, stamp))
        histogram_add(&result->latency, client->now - stamp);
    return true;
}

void published_tell(struct client *client) {
    if (!published_here(client))
        eventfd_write(client->shared->publisher, 1);
}
