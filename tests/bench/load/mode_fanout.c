/* mode_fanout.c - each published message reaches all connections.
 *
 * In the closed loop a message is published when the last one is delivered everywhere: each process
 * counts a round when all its clients have the message, and the last process wakes the publisher.
 * In the open loop messages are published on a fixed schedule, and several may be in flight. */
#include "client.h"
#include "output.h"
#include "published.h"
#include "publisher.h"

static bool is_open_loop(const struct worker *worker) {
    return worker->options->rate > 0;
}

static void publish(struct worker *worker, uint64_t due) {
    published_send(worker, 0, due);
}

static void run(struct worker *worker) {
    if (!is_publisher(worker) || is_open_loop(worker))
        return;
    worker->rounds = worker->shared->rounds;
    publish(worker, now_ns());
}

static void message(struct client *client, const uint8_t *bytes, size_t len) {
    struct worker *worker = client->worker;
    if (!published_receive(client, bytes, len) || worker->result->delivered % worker->count)
        return;
    uint64_t all = worker->shared->results[0].sent * worker->options->processes;
    if (atomic_fetch_add(&worker->shared->complete, 1) + 1 == all)
        published_notify(worker);
}

static void finish(struct worker *worker) {
    worker->shared->ended = worker->now;
    worker_done(worker);
}

static void next_round(struct worker *worker) {
    uint64_t all = worker->result->sent * worker->options->processes, began = worker->last_stamp;
    bool late = worker_timed_out(worker, began);
    if (worker->shared->complete < all) {
        if (late)
            finish(worker);
        return;
    }
    worker->now = now_ns();
    if (worker_measures(worker, began))
        histogram_add(&worker->result->round, worker->now - began);
    if (--worker->rounds == 0)
        finish(worker);
    else
        publish(worker, worker->now);
}

static void drain(struct worker *worker) {
    uint64_t all = worker->result->sent * worker->options->connections;
    bool late = worker_timed_out(worker, worker->shared->until);
    worker->wake_at = worker->now + 5 * NS_PER_MS;
    if (worker_delivered_by_all(worker) >= all || late)
        worker_done(worker);
}

static void tick(struct worker *worker) {
    if (!is_publisher(worker))
        return;
    if (!is_open_loop(worker))
        next_round(worker);
    else if (worker->now < worker->shared->until)
        published_send_due(worker, publish);
    else
        drain(worker);
    publisher_flush(worker->publisher);
}

static uint64_t expected(const struct client *client) {
    return client->worker->shared->results[0].sent;
}

const struct mode mode_fanout = {
    .init = published_init, .run = run, .message = message, .tick = tick, .expected = expected};
