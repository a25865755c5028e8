/* http_test.h - what tests of the HTTP client share: an HTTP server on the loop of the test, which
 * sends exactly the bytes that the test gives it, and the port with the result of each call. */
#ifndef BELLHOP_TESTS_UNIT_HTTP_TEST_H
#define BELLHOP_TESTS_UNIT_HTTP_TEST_H

#include "unit_test.h"

#include "bellhop/backend/http.h"
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/metrics.h"
#include "bellhop/io/listener.h"
#include "bellhop/io/timer.h"
#include "bellhop/io/tls.h"

#include <signal.h>
#include <unistd.h>

#define TEST_SECONDS 20

/* --- the server --- */

struct test_server {
    struct bh_loop *loop;
    struct bh_listener *listener;
    struct bh_tls *tls; /* NULL: plain */
    struct bh_list peers;
    unsigned accepted, open, requests;
    unsigned waiting, most_waiting; /* requests without an answer */
    struct bh_bytes last;           /* request, whole */
    const char *answer;             /* NULL: none, until test_answer_all */
    struct bh_slice (*write)(struct test_server *s, struct bh_slice request); /* instead */
    bool closes;
};

unsigned test_server_port(const struct test_server *s);

/* Answers each request that waits. */
void test_answer_all(struct test_server *s, const char *answer);
void test_server_drop_all(struct test_server *s);

/* --- the port --- */

#define TEST_CALLS 700

struct test_result {
    unsigned calls;
    int error;
    char why[512];
    int status;
    struct bh_bytes headers; /* "name=value\n" each */
    struct bh_bytes body;
};

struct test_env {
    struct bh_loop *loop;
    struct test_server server;
    struct bh_http_config config;
    struct bh_fetch *fetch;
    struct test_result results[TEST_CALLS];
    bh_handle handles[TEST_CALLS];
    unsigned begun, ended;
    void (*in_done)(struct test_env *w, struct test_result *r);
};

/* tls: of the server, or NULL. */
void test_env_open(struct test_env *w, struct bh_tls *tls);
/* Creates the client with the configuration as it is then. */
void test_env_start(struct test_env *w);
void test_env_close(struct test_env *w);

/* The number of its result. */
unsigned test_send_request(struct test_env *w, const struct bh_fetch_request *r);

void test_nothing(struct bh_timer *t);

/* Ticks until the condition holds; fails after TEST_SECONDS. */
#define test_until(w, condition)                                                                   \
    do {                                                                                           \
        struct bh_timer timer_;                                                                    \
        uint64_t end_ = bh_clock_ms() + TEST_SECONDS * 1000;                                       \
        bh_timer_init(&timer_, (w)->loop, test_nothing);                                           \
        while (!(condition) && bh_clock_ms() < end_) {                                             \
            bh_timer_set(&timer_, 20);                                                             \
            bh_loop_tick((w)->loop, true);                                                         \
        }                                                                                          \
        bh_timer_cancel(&timer_);                                                                  \
        assert_true(condition);                                                                    \
    } while (0)

struct test_result *test_fetch(struct test_env *w, const struct bh_fetch_request *r);

/* Valid until four further calls. */
struct bh_slice test_url(const struct test_env *w, const char *scheme, const char *host,
                         const char *path);
struct bh_slice test_plain(const struct test_env *w, const char *path);

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (!strstr(text, part))                                                                   \
            fail_msg("no \"%s\" in \"%s\"", part, text);                                           \
    } while (0)

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

#endif
