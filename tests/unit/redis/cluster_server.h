/* cluster_server.h - a real Redis Cluster for a test. Nodes are numbered; each is a struct
 * test_redis. Its slots are spread over the first masters, in order. */
#ifndef BELLHOP_TESTS_CLUSTER_SERVER_H
#define BELLHOP_TESTS_CLUSTER_SERVER_H

#include "redis_server.h"

#define CLUSTER_NODES_MAX 8
#define CLUSTER_SLOTS     16384

struct test_cluster {
    struct test_redis nodes[CLUSTER_NODES_MAX];
    char ids[CLUSTER_NODES_MAX][41];
    unsigned count;
    uint64_t failover_ms; /* of test_cluster_try_failover */
    char urls[256];       /* of all nodes at the start, as bh_redis_config.cluster */
};

/* Starts the masters, and a replica of each if wanted, and waits until all agree. */
void test_cluster_start(struct test_cluster *c, unsigned masters, bool replicas);
void test_cluster_stop(struct test_cluster *c);
/* One more master, without slots, that all others know; its number. */
unsigned test_cluster_add(struct test_cluster *c);
/* A node that has no slots is forgotten by the others, and ends. */
void test_cluster_remove(struct test_cluster *c, unsigned node);
/* The steps of a migration; no keys are moved. The second one also waits until all nodes know. */
void test_cluster_begin_move(struct test_cluster *c, unsigned slot, unsigned from, unsigned to);
void test_cluster_move(struct test_cluster *c, unsigned slot, unsigned from, unsigned to);
/* Until it is true: CLUSTER FAILOVER. */
bool test_cluster_try_failover(struct test_cluster *c, unsigned replica);
/* Whether that node says so. */
bool test_cluster_is_ok(const struct test_cluster *c, unsigned node);
/* It is a replica, and follows its master. */
bool test_cluster_is_in_sync(const struct test_cluster *c, unsigned node);
bool test_cluster_is_master(const struct test_cluster *c, unsigned node);
bool test_cluster_has_slot(const struct test_cluster *c, unsigned node, unsigned slot,
                           unsigned owner);

#endif
