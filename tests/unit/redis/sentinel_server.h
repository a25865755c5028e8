/* sentinel_server.h - real Sentinels over real servers: a master, a replica of it, and as many
 * Sentinels as the test wants; they die with it. */
#ifndef BELLHOP_TESTS_SENTINEL_SERVER_H
#define BELLHOP_TESTS_SENTINEL_SERVER_H

#include "redis_server.h"

struct test_sentinel {
    char dir[64];
    uint16_t port;
    pid_t pid;
};

/* Whether the answer to the command, or its n-th element, is that text. */
bool test_answers(uint16_t port, const char *command, size_t n, const char *wanted);

#define TEST_WAIT_UNTIL(condition)                                                                 \
    do {                                                                                           \
        uint64_t wait_deadline = test_now_ms() + TEST_DEADLINE_MS;                                 \
        while (!(condition)) {                                                                     \
            if (test_now_ms() > wait_deadline)                                                     \
                fail_msg("not within %d ms: %s", TEST_DEADLINE_MS, #condition);                    \
            nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);                      \
        }                                                                                          \
    } while (0)

/* Waits until the replica has synchronized. */
void test_make_replica(const struct test_redis *replica, const struct test_redis *master);

/* The replica must exist: Sentinel looks for replicas at the start, and then every ten seconds. */
void test_sentinel_start(struct test_sentinel *s, uint16_t master);
void test_sentinel_kill(struct test_sentinel *s);
void test_sentinel_stop(struct test_sentinel *s);

#endif
