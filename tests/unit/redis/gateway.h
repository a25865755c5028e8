/* gateway.h - a broker with one worker on one loop, against a real Redis; what its tests share. */
#ifndef BELLHOP_TESTS_GATEWAY_H
#define BELLHOP_TESTS_GATEWAY_H

#include "redis_server.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/buf.h"
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/envelope.h"
#include "bellhop/io/mailbox.h"

struct gateway {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_broker *broker;
    const struct bh_broker_vt *vt;
    unsigned ups, downs, messages, subscribed;
    bool up;
    struct bh_message *last;
    char last_subscribed[BH_TOPIC_NAME_MAX + 1];
};

struct fixture {
    struct test_redis redis;
    struct bh_redis_config config;
    struct gateway g;
};

extern struct fixture *fx;

/* A Redis and the configuration for it; teardown also closes the gateway. */
int setup_gateway(void **state);
int teardown_gateway(void **state);

void open_gateway(struct gateway *g);
/* Until it is ready. */
void open_ready(struct gateway *g);
void close_gateway(struct gateway *g);
bool is_ready(const struct gateway *g);
/* Until the subscription is confirmed. */
void subscribe(struct gateway *g, const char *topic);

/* --- publishing --- */

struct done {
    unsigned count, errors;
    int error;
    int64_t receivers;
    char why[128];
};

/* handle: 5; ud: a struct done. */
void on_published(void *ud, bh_handle handle, int error, int64_t receivers, const char *why);
struct bh_message *new_message(const char *topic, struct bh_slice payload);
void publish(struct gateway *g, const char *topic, struct bh_slice payload, struct done *d);
/* As Redis counts them. */
long long subscribers(const char *channel);

#endif
