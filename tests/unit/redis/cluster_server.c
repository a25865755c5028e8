/* cluster_server.c - a real Redis Cluster for a test. */
#include "cluster_server.h"

static bool is_free(uint16_t port) {
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is = bind(fd, (struct sockaddr *)&at, sizeof at) == 0;
    close(fd);
    return is;
}

/* The port of the cluster bus is 10000 above. */
static uint16_t free_port(void) {
    uint16_t port;
    do
        port = test_free_port();
    while (port > 55000 || !is_free((uint16_t)(port + 10000)));
    return port;
}

#define NODE_TIMEOUT_MS 1000
#define TEXT(n)         #n
#define NUMBER(n)       TEXT(n)

static void start_node(struct test_redis *r) {
    static const char *const options[] = {"--cluster-enabled",      "yes",
                                          "--cluster-config-file",  "nodes.conf",
                                          "--cluster-node-timeout", NUMBER(NODE_TIMEOUT_MS)};
    memset(r, 0, sizeof *r);
    memcpy(r->options, options, sizeof options);
    char dir[] = "/tmp/bellhop-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    snprintf(r->dir, sizeof r->dir, "%s", dir);
    snprintf(r->socket, sizeof r->socket, "%s/redis.sock", dir);
    r->port = free_port();
    test_redis_run(r);
    /* Else a master that gives away its last slot becomes a replica. */
    test_redis_do(r, "CONFIG SET cluster-allow-replica-migration no");
    test_redis_do(r, "CONFIG SET repl-diskless-sync-delay 0");
}

static void stop_node(struct test_redis *r) {
    char path[96];
    test_redis_kill(r);
    snprintf(path, sizeof path, "%s/nodes.conf", r->dir);
    unlink(path);
    test_redis_stop(r);
}

/* The text of a reply, into `out`. */
static void ask(const struct test_redis *r, const char *command, char *out, size_t size) {
    redisContext *c = test_redis_client(r);
    redisReply *reply = redisCommand(c, command);
    assert_non_null(reply);
    snprintf(out, size, "%s", reply->str ? reply->str : "");
    freeReplyObject(reply);
    redisFree(c);
}

#define WAIT_UNTIL(condition)                                                                      \
    for (uint64_t deadline = test_now_ms() + TEST_DEADLINE_MS; !(condition);) {                    \
        if (test_now_ms() > deadline)                                                              \
            fail_msg("not within %d ms: %s", TEST_DEADLINE_MS, #condition);                        \
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);                          \
    }

bool test_cluster_is_ok(const struct test_cluster *c, unsigned node) {
    char info[2048];
    ask(&c->nodes[node], "CLUSTER INFO", info, sizeof info);
    return strstr(info, "cluster_state:ok") != NULL;
}

/* A number of CLUSTER INFO; the field with its colon. */
static unsigned info_of(const struct test_cluster *c, unsigned node, const char *field) {
    char info[2048];
    ask(&c->nodes[node], "CLUSTER INFO", info, sizeof info);
    const char *at = strstr(info, field);
    return at ? (unsigned)atoi(at + strlen(field)) : 0;
}

static unsigned known_nodes(const struct test_cluster *c, unsigned node) {
    return info_of(c, node, "cluster_known_nodes:");
}

bool test_cluster_is_master(const struct test_cluster *c, unsigned node) {
    char info[8192];
    ask(&c->nodes[node], "INFO replication", info, sizeof info);
    return strstr(info, "role:master") != NULL;
}

bool test_cluster_is_in_sync(const struct test_cluster *c, unsigned node) {
    char info[8192];
    ask(&c->nodes[node], "INFO replication", info, sizeof info);
    return strstr(info, "master_link_status:up") != NULL;
}

bool test_cluster_has_slot(const struct test_cluster *c, unsigned node, unsigned slot,
                           unsigned owner) {
    redisContext *client = test_redis_client(&c->nodes[node]);
    redisReply *r = redisCommand(client, "CLUSTER SLOTS");
    bool has = false;
    assert_non_null(r);
    for (size_t i = 0; i < r->elements; i++) {
        redisReply **e = r->element[i]->element;
        if (e[0]->integer <= slot && e[1]->integer >= slot)
            has = e[2]->element[1]->integer == c->nodes[owner].port;
    }
    freeReplyObject(r);
    redisFree(client);
    return has;
}

static void wait_until_all_know(const struct test_cluster *c, unsigned count) {
    for (unsigned i = 0; i < c->count; i++)
        if (c->nodes[i].pid)
            WAIT_UNTIL(known_nodes(c, i) == count && test_cluster_is_ok(c, i));
}

static unsigned running(const struct test_cluster *c) {
    unsigned count = 0;
    for (unsigned i = 0; i < c->count; i++)
        count += c->nodes[i].pid > 0;
    return count;
}

static unsigned add_node(struct test_cluster *c) {
    unsigned n = c->count++;
    assert_true(n < CLUSTER_NODES_MAX);
    start_node(&c->nodes[n]);
    ask(&c->nodes[n], "CLUSTER MYID", c->ids[n], sizeof c->ids[n]);
    return n;
}

static void meet(struct test_cluster *c, unsigned node) {
    test_redis_do(&c->nodes[0], "CLUSTER MEET 127.0.0.1 %d", c->nodes[node].port);
}

/* The others vote for a replica of the same master once in two node timeouts. */
bool test_cluster_try_failover(struct test_cluster *c, unsigned replica) {
    bool is_master = test_cluster_is_master(c, replica);
    if (!is_master && test_now_ms() - c->failover_ms > 2 * NODE_TIMEOUT_MS) {
        /* An error: an earlier one has made it a master since. */
        char answer[128];
        ask(&c->nodes[replica], "CLUSTER FAILOVER", answer, sizeof answer);
        c->failover_ms = test_now_ms();
    } else if (is_master) {
        c->failover_ms = 0;
    }
    return is_master;
}

static void replicate(struct test_cluster *c, unsigned masters) {
    for (unsigned i = 0; i < masters; i++) {
        unsigned replica = masters + i;
        test_redis_do(&c->nodes[replica], "CLUSTER REPLICATE %s", c->ids[i]);
        WAIT_UNTIL(test_cluster_is_in_sync(c, replica));
    }
}

void test_cluster_start(struct test_cluster *c, unsigned masters, bool replicas) {
    memset(c, 0, sizeof *c);
    unsigned count = masters * (1 + replicas);
    for (unsigned i = 0; i < count; i++) {
        size_t n = strlen(c->urls);
        add_node(c);
        snprintf(c->urls + n, sizeof c->urls - n, "%s127.0.0.1:%u", n ? "," : "", c->nodes[i].port);
        test_redis_do(&c->nodes[i], "CLUSTER SET-CONFIG-EPOCH %d", i + 1);
        if (i < masters)
            test_redis_do(&c->nodes[i], "CLUSTER ADDSLOTSRANGE %d %d", CLUSTER_SLOTS * i / masters,
                          CLUSTER_SLOTS * (i + 1) / masters - 1);
        if (i)
            meet(c, i);
    }
    wait_until_all_know(c, count);
    if (replicas)
        replicate(c, masters);
}

void test_cluster_stop(struct test_cluster *c) {
    for (unsigned i = 0; i < c->count; i++)
        stop_node(&c->nodes[i]);
    c->count = 0;
}

unsigned test_cluster_add(struct test_cluster *c) {
    unsigned n = add_node(c);
    meet(c, n);
    wait_until_all_know(c, running(c));
    return n;
}

void test_cluster_remove(struct test_cluster *c, unsigned node) {
    test_redis_kill(&c->nodes[node]);
    for (unsigned i = 0; i < c->count; i++)
        if (c->nodes[i].pid)
            test_redis_do(&c->nodes[i], "CLUSTER FORGET %s", c->ids[node]);
}

void test_cluster_begin_move(struct test_cluster *c, unsigned slot, unsigned from, unsigned to) {
    test_redis_do(&c->nodes[to], "CLUSTER SETSLOT %d IMPORTING %s", slot, c->ids[from]);
    test_redis_do(&c->nodes[from], "CLUSTER SETSLOT %d MIGRATING %s", slot, c->ids[to]);
}

/* A node that has not heard the new owner yet could use its epoch for another slot: then masters
 * contradict each other until somebody mends it. */
static bool all_know(const struct test_cluster *c, unsigned slot, unsigned owner) {
    unsigned epoch = info_of(c, owner, "cluster_my_epoch:");
    for (unsigned i = 0; i < c->count; i++)
        if (c->nodes[i].pid && (info_of(c, i, "cluster_current_epoch:") < epoch ||
                                !test_cluster_has_slot(c, i, slot, owner)))
            return false;
    return true;
}

void test_cluster_move(struct test_cluster *c, unsigned slot, unsigned from, unsigned to) {
    test_cluster_begin_move(c, slot, from, to);
    test_redis_do(&c->nodes[to], "CLUSTER SETSLOT %d NODE %s", slot, c->ids[to]);
    test_redis_do(&c->nodes[from], "CLUSTER SETSLOT %d NODE %s", slot, c->ids[to]);
    WAIT_UNTIL(all_know(c, slot, to));
}
