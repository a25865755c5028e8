/* command_link.h - the link of one worker for publishes and commands: one, or two while the first
 * one does not answer. Private to the broker.
 *
 * A link that swallows bytes looks like a Redis that is slow, for as long as the command timeout.
 * When a probe has had no answer either, bh_redis_command_link_doubt opens a second link. If that
 * comes up while the first one is still silent, new commands go there. The first one is kept until
 * its commands are answered or have timed out, so nothing is lost that a slow Redis would still
 * have done.
 *
 * Thread: the worker's, except as noted. */
#ifndef BELLHOP_BACKEND_REDIS_COMMAND_LINK_H
#define BELLHOP_BACKEND_REDIS_COMMAND_LINK_H

#include "link/link.h"

struct bh_redis_failover;
struct bh_redis_command_link;

enum bh_redis_command_link_state {
    BH_REDIS_COMMANDS_ONE,
    BH_REDIS_COMMANDS_BOTH,  /* a second link is open, or connecting */
    BH_REDIS_COMMANDS_AFTER, /* the first one is kept for its commands */
};

struct bh_redis_command_link {
    struct bh_redis_command_link_one {
        struct bh_redis_link link;
        struct bh_redis_command_link *owner;
    } links[2];
    _Atomic(struct bh_redis_link *) active;
    const struct bh_redis_config *config;
    struct bh_redis_failover *failover;
    struct bh_loop *loop;
    char name[20]; /* of the link; the second one has "-2" behind it */
    enum bh_redis_command_link_state state;
    uint64_t heard_ms;     /* of the active link, when the second one was opened */
    struct bh_timer timer; /* BOTH: the takeover; AFTER: its end */
    /* Set by the owner before _start; on_check comes at an interval while the active link is up. */
    void (*on_up)(struct bh_redis_command_link *c);
    void (*on_down)(struct bh_redis_command_link *c);
    void (*on_check)(struct bh_redis_command_link *c);
};

/* Before any thread uses it. */
void bh_redis_command_link_init(struct bh_redis_command_link *c,
                                const struct bh_redis_config *config,
                                struct bh_redis_failover *failover, const char *name);
void bh_redis_command_link_start(struct bh_redis_command_link *c, struct bh_loop *loop);
/* on_down is not called. Harmless when it has not started. */
void bh_redis_command_link_stop(struct bh_redis_command_link *c);
/* The active link has not been heard since a probe had no answer. May be called again at any time.
 */
void bh_redis_command_link_doubt(struct bh_redis_command_link *c);

/* The link for new commands. Any thread may read its down_reason and heard_ms. */
static inline struct bh_redis_link *
bh_redis_command_link_active(const struct bh_redis_command_link *c) {
    return atomic_load_explicit(&c->active, memory_order_relaxed);
}

#endif
