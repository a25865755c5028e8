/* sharded.c - the commands and answers of a subscriber link to a master of a cluster.
 *
 * An error names no channel, and a master that gives away a slot says `sunsubscribe` for each of
 * its channels, just as it answers SUNSUBSCRIBE. So each command is for one channel, and their
 * order is kept; a PING is in it, too. A `sunsubscribe` that is not the answer to the oldest
 * command was not asked for: a channel that is wanted is subscribed again there, and the answer,
 * MOVED, says where it is now.
 *
 * One that was not asked for may be taken for the answer to a SUNSUBSCRIBE of the same channel.
 * That is true, too, and the answer itself, an error, is left over. It is ignored when its slot is
 * not that of the oldest command; when it is, the oldest command would get the same answer. */
#include "broker/subscription.h"

#include "bellhop/base/error.h"
#include "link/errors.h"

/* --- out --- */

void bh_redis_sharded_send(struct bh_redis_subscriptions *s, bool subscribe, struct bh_list *list) {
    static const struct bh_slice verbs[] = {BH_SLICE("SUNSUBSCRIBE"), BH_SLICE("SSUBSCRIBE")};
    struct bh_list *node;
    while ((node = bh_list_shift(list))) {
        struct bh_redis_subscription *e = BH_CONTAINER_OF(node, struct bh_redis_subscription, node);
        struct bh_slice argv[] = {verbs[subscribe], bh_redis_subscription_key(e)};
        if (!bh_redis_link_send(&s->link, 2, argv, NULL))
            continue; /* the window keeps the queue of the link far from full */
        bh_redis_subscription_sent(s, e, subscribe);
        bh_redis_command_fifo_push(&s->sharded.fifo, e, subscribe);
    }
}

void bh_redis_sharded_pinged(struct bh_redis_subscriptions *s) {
    bh_redis_command_fifo_push(&s->sharded.fifo, NULL, false);
}

/* --- the pause --- */

static void pause(struct bh_redis_subscriptions *s, struct bh_redis_subscription *e) {
    bh_list_unlink(&e->node);
    bh_list_append(&s->sharded.paused, &e->node);
    if (!bh_timer_pending(&s->sharded.pause))
        bh_timer_set(&s->sharded.pause, BH_REDIS_SUBSCRIBE_PAUSE_MS);
}

static void resume(struct bh_redis_subscriptions *s) {
    struct bh_list *node;
    while ((node = bh_list_shift(&s->sharded.paused)))
        bh_list_append(&s->queue, node);
    bh_timer_cancel(&s->sharded.pause);
    bh_redis_subscription_wake(s);
}

static void on_pause_end(struct bh_timer *t) {
    resume(BH_CONTAINER_OF(t, struct bh_redis_subscriptions, sharded.pause));
}

/* --- in --- */

/* Not asked for: the slot of the channel has gone. A command that is under way, or was not sent
 * yet, decides for itself. */
static void on_dropped(struct bh_redis_subscriptions *s, struct bh_slice channel) {
    struct bh_redis_subscription *e = bh_redis_subscription_find(s, channel);
    struct bh_topic topic;
    if (!e || !e->sent || e->outstanding)
        return;
    e->sent = false;
    if (!e->wanted) {
        bh_redis_subscription_discard(s, e);
        return;
    }
    bh_redis_subscription_enqueue(s, e);
    if (bh_topic_from_channel(channel, s->prefix, &topic) == 0)
        s->sink.on_lost(s->sink.ud, bh_topic_name(&topic)); /* e may be gone now */
}

static void on_answer(struct bh_redis_subscriptions *s, bool subscribed, struct bh_slice channel) {
    void *head;
    bool subscribe;
    if (bh_redis_command_fifo_head(&s->sharded.fifo, &head, &subscribe) && head &&
        subscribe == subscribed && bh_slice_eq(bh_redis_subscription_key(head), channel)) {
        bh_redis_command_fifo_shift(&s->sharded.fifo);
        bh_redis_subscription_confirmed(s, subscribed, channel);
    } else if (subscribed) {
        bh_redis_link_drop(&s->link, BH_EPROTO,
                           "protocol error from Redis: a confirmation out of order");
    } else {
        on_dropped(s, channel);
    }
}

/* The oldest command was not executed. After `moved` the channel is subscribed nowhere here; after
 * another error it is as before. */
static void on_failed(struct bh_redis_subscriptions *s, bool moved) {
    void *head;
    bool subscribe;
    bh_redis_command_fifo_head(&s->sharded.fifo, &head, &subscribe);
    bh_redis_command_fifo_shift(&s->sharded.fifo);
    struct bh_redis_subscription *e = head;
    if (!bh_redis_subscription_answered(s, e))
        return;
    e->sent = !moved && !subscribe && !e->wanted;
    if (!e->wanted && !e->sent)
        bh_redis_subscription_discard(s, e);
    else
        pause(s, e);
}

static void on_error(struct bh_redis_subscriptions *s, struct bh_slice answer) {
    const struct bh_redis_error *err = bh_redis_classify_error(answer);
    void *head = NULL;
    bool subscribe, any = bh_redis_command_fifo_head(&s->sharded.fifo, &head, &subscribe);
    bool moved = bh_slice_starts(answer, BH_SLICE("MOVED "));
    if (moved && head && s->on_moved(s, bh_redis_subscription_key(head), answer))
        on_failed(s, true);
    else if (moved || (err->transient && !err->reconnect && !any))
        return; /* of a command that was taken for answered */
    else if (any && !head && !err->reconnect)
        bh_redis_command_fifo_shift(&s->sharded.fifo); /* it answers PING, if not as it should */
    else if (err->transient && !err->reconnect)
        on_failed(s, false);
    else
        bh_redis_subscription_rejected(s, answer);
}

static void on_pong(struct bh_redis_subscriptions *s) {
    void *head;
    bool bit;
    if (bh_redis_command_fifo_head(&s->sharded.fifo, &head, &bit) && !head)
        bh_redis_command_fifo_shift(&s->sharded.fifo);
}

/* A channel that was left may still bring messages, which the new one brings, too. */
static bool is_expected(const struct bh_redis_subscriptions *s, struct bh_slice channel) {
    if (s->unconfirmed == 0 && bh_list_empty(&s->queue) && bh_list_empty(&s->sharded.paused))
        return true;
    const struct bh_redis_subscription *e = bh_redis_subscription_find(s, channel);
    return e && (e->wanted || e->leaving);
}

static bool is_bytes(const struct bh_reply *r) {
    return r->type == BH_REPLY_STRING || r->type == BH_REPLY_STATUS;
}

/* Also in the form of an ordinary connection, which it is again without any channel. */
static bool is_pong(const struct bh_reply *r) {
    return r->type == BH_REPLY_ARRAY
               ? r->count == 2 && is_bytes(&r->elements[0]) &&
                     bh_slice_eq(r->elements[0].str, BH_SLICE("pong"))
               : r->type == BH_REPLY_STATUS && bh_slice_eq(r->str, BH_SLICE("PONG"));
}

void bh_redis_sharded_push(struct bh_redis_subscriptions *s, const struct bh_reply *reply) {
    const struct bh_reply *e = reply->elements;
    bool push =
        reply->type == BH_REPLY_ARRAY && reply->count == 3 && is_bytes(&e[0]) && is_bytes(&e[1]);
    if (push && bh_slice_eq(e[0].str, BH_SLICE("smessage")) && is_bytes(&e[2])) {
        if (is_expected(s, e[1].str))
            bh_redis_subscription_message(s, e[1].str, e[2].str);
    } else if (push && bh_slice_eq(e[0].str, BH_SLICE("ssubscribe"))) {
        on_answer(s, true, e[1].str);
    } else if (push && bh_slice_eq(e[0].str, BH_SLICE("sunsubscribe"))) {
        on_answer(s, false, e[1].str);
    } else if (reply->type == BH_REPLY_ERROR) {
        on_error(s, reply->str);
    } else if (is_pong(reply)) {
        on_pong(s);
    } else {
        bh_redis_link_drop(&s->link, BH_EPROTO, "protocol error from Redis: not a push message");
    }
}

/* --- life --- */

void bh_redis_sharded_init(struct bh_redis_subscriptions *s) {
    bh_list_init(&s->sharded.paused);
}

void bh_redis_sharded_start(struct bh_redis_subscriptions *s, struct bh_loop *loop) {
    bh_timer_init(&s->sharded.pause, loop, on_pause_end);
}

void bh_redis_sharded_reset(struct bh_redis_subscriptions *s) {
    if (s->sharded.pause.loop)
        resume(s);
    bh_redis_command_fifo_clear(&s->sharded.fifo);
}
