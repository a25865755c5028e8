/* mode_users.c - each published message reaches one user; users are published to in turn. The
 * closed loop keeps --in-flight messages outstanding in total: a delivery in any process is
 * replaced by a new message. */
#include "client.h"
#include "output.h"
#include "published.h"
#include "publisher.h"

static void publish(struct worker *worker, uint64_t due) {
    unsigned user = (unsigned)(worker->result->sent % worker->options->users);
    worker->shared->sent_to[user % worker->options->connections]++;
    published_send(worker, 1 + user, due);
}

static void message(struct client *client, const uint8_t *bytes, size_t len) {
    published_receive(client, bytes, len);
}

static void fill(struct worker *worker) {
    uint64_t out = worker->result->sent - worker_delivered_by_all(worker);
    for (; out < worker->options->in_flight; out++)
        publish(worker, worker->now);
    worker->wake_at = worker->shared->until;
}

static void drain(struct worker *worker) {
    bool late = worker_timed_out(worker, worker->shared->until);
    worker->wake_at = worker->now + 5 * NS_PER_MS;
    if (worker_delivered_by_all(worker) >= worker->result->sent || late)
        worker_done(worker);
}

/* In the other processes: wakes the publisher after deliveries. */
static void notify_publisher(struct worker *worker) {
    if (worker->notified == worker->result->delivered)
        return;
    worker->notified = worker->result->delivered;
    published_notify(worker);
}

static void tick(struct worker *worker) {
    if (!is_publisher(worker)) {
        if (worker->options->rate == 0)
            notify_publisher(worker);
        return;
    }
    if (worker->now >= worker->shared->until)
        drain(worker);
    else if (worker->options->rate > 0)
        published_send_due(worker, publish);
    else
        fill(worker);
    publisher_flush(worker->publisher);
}

static uint64_t expected(const struct client *client) {
    return client->worker->shared->sent_to[client->number - 1];
}

const struct mode mode_users = {
    .init = published_init, .message = message, .tick = tick, .expected = expected};
