/* published.c - both ends of a published message. A client accepts rising stamps only, so a
 * duplicate is detected. With several publishing connections the order is unknown, and only the
 * number of messages is checked at the end. */
#include "published.h"

#include "client.h"
#include "pace.h"
#include "publisher.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

static void woken(struct source *source, uint32_t events) {
    struct worker *worker =
        (struct worker *)((char *)source - offsetof(struct worker, publisher_source));
    eventfd_t count;
    eventfd_read(worker->shared->publisher, &count);
}

void published_init(struct worker *worker) {
    if (!is_publisher(worker))
        return;
    worker->publisher = publisher_new(worker);
    worker->publisher_source.ready = woken;
    worker_watch(worker, worker->shared->publisher, &worker->publisher_source, EPOLLIN);
}

void published_send(struct worker *worker, unsigned number, uint64_t stamp) {
    if (stamp <= worker->last_stamp)
        stamp = worker->last_stamp + 1;
    worker->last_stamp = stamp;
    atomic_fetch_add(&worker->result->sent, 1);
    if (worker_measures(worker, stamp))
        worker->result->sent_measured++;
    publisher_send(worker->publisher, number, stamp);
}

void published_send_due(struct worker *worker, void (*fn)(struct worker *worker, uint64_t due)) {
    uint64_t due, until = worker->shared->until;
    while ((due = pace_due(worker, 1, worker->sequence)) <= worker->now && due < until) {
        worker->sequence++;
        fn(worker, due);
    }
    worker->wake_at = due < until ? due : until;
}

bool published_receive(struct client *client, const uint8_t *bytes, size_t len) {
    struct worker *worker = client->worker;
    struct result *result = worker->result;
    uint64_t stamp;
    if (!payload_check(&worker->payload, bytes, len, &stamp)) {
        result->bad++;
        return false;
    }
    if (stamp <= client->last_stamp && publisher_keeps_order(worker->options)) {
        result->unexpected++;
        return false;
    }
    client->last_stamp = stamp;
    client->received++;
    atomic_store_explicit(&result->delivered,
                          atomic_load_explicit(&result->delivered, memory_order_relaxed) + 1,
                          memory_order_release);
    if (worker_measures(worker, worker->now))
        result->delivered_measured++;
    if (worker_measures(worker, stamp))
        histogram_add(&result->latency, worker->now - stamp);
    return true;
}

void published_notify(struct worker *worker) {
    if (!is_publisher(worker))
        eventfd_write(worker->shared->publisher, 1);
}
