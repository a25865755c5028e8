/* redis_server.h - a real redis-server for a test: its own directory, a free port and a unix
 * socket; it dies with the test. Also what such tests share: ticking a loop up to a deadline. */
#ifndef BELLHOP_TESTS_REDIS_SERVER_H
#define BELLHOP_TESTS_REDIS_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bellhop/io/loop.h"
#include "bellhop/io/timer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef TEST_DEADLINE_MS
#define TEST_DEADLINE_MS 30000
#endif

uint64_t test_now_ms(void);

/* --- a loop that wakes up at least every 5 ms --- */

void test_beat(struct bh_timer *t);

#define TICK_UNTIL(loop, condition)                                                                \
    do {                                                                                           \
        struct bh_timer beat;                                                                      \
        bh_timer_init(&beat, loop, test_beat);                                                     \
        bh_timer_set(&beat, 5);                                                                    \
        uint64_t deadline = test_now_ms() + TEST_DEADLINE_MS;                                      \
        while (!(condition)) {                                                                     \
            if (test_now_ms() > deadline)                                                          \
                fail_msg("not within %d ms: %s", TEST_DEADLINE_MS, #condition);                    \
            bh_loop_tick(loop, true);                                                              \
        }                                                                                          \
        bh_timer_cancel(&beat);                                                                    \
    } while (0)

/* --- the server --- */

struct test_redis {
    char dir[64];
    char socket[96];
    uint16_t port;
    pid_t pid;
    const char *options[8]; /* further ones; NULL ends them */
};

uint16_t test_free_port(void);

/* The server program: BELLHOP_TEST_REDIS_SERVER, or redis-server of PATH. Its major version. */
const char *test_redis_program(void);
int test_redis_major(void);

/* A blocking client; asserts that it connects. */
redisContext *test_redis_client(const struct test_redis *r);

/* Start and stop with a directory of its own; run and kill the process in it. Each waits until the
 * server answers, or has ended. */
void test_redis_start(struct test_redis *r);
void test_redis_stop(struct test_redis *r);
void test_redis_run(struct test_redis *r);
void test_redis_kill(struct test_redis *r);

/* One command on a connection of its own; its integer reply, or 0. Fails on an error reply.
 * The format is hiredis' (%s, and %b with a size_t). */
long long test_redis_do(const struct test_redis *r, const char *format, ...);

#endif
