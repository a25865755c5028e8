/* cluster.h - several instances' trackers on one loop, against a real Redis; what their tests
 * share. Each instance has a table of connections in place of a node. */
#ifndef BELLHOP_TESTS_CLUSTER_H
#define BELLHOP_TESTS_CLUSTER_H

#include "redis_server.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/node.h"
#include "broker/broker.h"
#include "link/metrics.h"
#include "tracker/parts.h"

#define INSTANCES  4
#define EVENTS_MAX 65536
#define LONG_LEASE 600000
/* For tests that wait for its end, while a live instance must be in time to renew its own. */
#ifdef __SANITIZE_THREAD__
#define SHORT_LEASE 3000
#else
#define SHORT_LEASE 1000
#endif
#define DEBOUNCE 300
#define TOLD_MAX 500

struct connection {
    bool here;
    uint64_t number;
    int64_t opened_at;
    char user[24], tenant[24];
};

struct instance {
    char id[16];
    struct bh_broker *broker;
    struct bh_tracker *tracker;
    struct bh_worker worker;
    struct connection *connections;
    size_t count;
    unsigned restores;
    bool holds_restore; /* the test calls restore() when it is asked for one */
};

struct raised_event {
    char user[24];
    bool online;
    int64_t at;
};

struct cluster {
    struct test_redis redis;
    struct bh_loop *loop;
    struct bh_redis_config config;
    struct bh_redis_tracker_config tracking;
    bool parts; /* trackers of 16 parts, on the one Redis */
    struct instance instances[INSTANCES];
    struct raised_event *events;
    void (*on_event)(void); /* NULL, or called for each */
    size_t event_count;
    uint64_t last_number;
};

extern struct cluster *cl;

/* Of a tracker without parts. */
struct bh_redis_tracker *inside(struct instance *in);
struct bh_redis_registration *registration(struct instance *in);

/* --- the node's part --- */

/* A connection, by its index; the tracker does not know it yet. */
size_t add_connection(struct instance *in, const char *user, const char *tenant);
/* Reports it to the tracker; all from that index on. */
void tell(struct instance *in, size_t which);
void tell_from(struct instance *in, size_t from);
/* Reports all for a restore, and ends it. */
void restore(struct instance *in);
/* A connection opens, closes. */
size_t come(struct instance *in, const char *user, const char *tenant);
void go(struct instance *in, size_t which);
/* How often that event was raised, by any instance. */
unsigned events(const char *user, bool online);

/* --- life --- */

/* A Redis and the configuration for it; teardown also closes the instances. */
int setup_instances(void **state);
int teardown_instances(void **state);

struct instance *open_instance(unsigned i, const char *id);
/* Until it is LIVE. */
struct instance *open_live(unsigned i, const char *id);
void close_instance(struct instance *in);
bool is_live(struct instance *in);
/* LIVE, and all reported changes are written. */
bool is_idle(struct instance *in);
/* As if the process had died: without a name it cannot end its lease. */
void crash(struct instance *in);
/* The tracker's link is lost, and finds Redis again after mend. */
void cut(struct instance *in);
void mend(struct instance *in);

/* --- lookups --- */

struct answer {
    bool done, uncertain; /* uncertain: the first name */
    int error;
    size_t names, count; /* count: of the first name */
    size_t counts[8];
    int64_t as_of;
    struct {
        char instance[16], tenant[24];
        uint64_t number;
        int64_t opened_at;
    } first[8];
};

/* handle: 77; ud: a struct answer. */
void on_found(void *ud, bh_handle handle, int error, const struct bh_presence *found, size_t count,
              int64_t as_of);
struct answer ask_many(struct instance *in, enum bh_lookup what, const struct bh_slice *names,
                       size_t count);
struct answer ask(struct instance *in, enum bh_lookup what, const char *name);
size_t online(struct instance *in, const char *user);
size_t in_tenant(struct instance *in, const char *tenant);
/* How many keys the pattern matches. */
size_t keys(const char *pattern);
/* Ticks until all events that were due have been raised: a user who comes and goes now is the last
 * one to be announced. */
void settle(struct instance *in);

#endif
