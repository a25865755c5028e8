/* edge_test.h - one instance with one worker, on a loop that the test drives. The clock is fake; so
 * are the broker, the tracker and the hooks, which do what the fields of struct test say. */
#ifndef BELLHOP_TESTS_UNIT_EDGE_TEST_H
#define BELLHOP_TESTS_UNIT_EDGE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <poll.h>

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/edge/edge.h"
#include "local_tracker.h"

#include "limits/edge_metrics.h"

#define TEST_WALL_MS INT64_C(1750000000000)

enum test_answer { YES, NO, LATER };

struct test {
    struct bh_loop *loop;
    struct bh_mailbox *mailbox;
    struct bh_node *node;
    struct bh_worker *worker;
    struct bh_edge *edge;
    struct bh_edge_config config;
    bool drained;
    bool proxy; /* the listener takes the PROXY protocol */
    bool admin; /* a second listener, for administration */

    struct bh_broker broker;
    const struct bh_broker_sink *sink;
    bool shared;        /* topics are live only when the test says so */
    int publish_error;  /* the result of the broker */
    bool publish_later; /* the test completes the publish */
    int publishes;
    bh_broker_published_cb published;
    void *published_ud;
    bh_handle published_handle;
    struct local_tracker tracker;

    struct bh_hooks hooks;
    enum test_answer handshake, api, http;
    struct bh_slice page;        /* another path that the hooks have */
    struct bh_response response; /* of the endpoint at /mine, which takes GET and POST */
    bh_response_cb respond;
    char asked[256]; /* method, path and body of the last request to it; parameters of handshakes */
    int refuse_status;
    const char *refuse_body;
    struct bh_identity identity; /* of accepted clients */
    const char *protocol;
    enum bh_compression compression;
    struct bh_header result_header;
    enum bh_slow slow; /* what on_slow answers, if it is present */
    int asked_slow;
    char peer_ip[64]; /* of the last handshake */
    bh_handshake_cb handshake_done;
    bh_allowed_cb allowed;
    void *hook_ud;
    bh_handle hook_handle;
    int cancelled, opened, closed, messages;
    bool echo;
    /* instead: */
    void (*on_message)(struct test *t, struct bh_subscriber *s, struct bh_slice data);
    void (*on_http)(struct test *t); /* before the answer */
    unsigned close_code;
    char close_reason[128];
    struct bh_subscriber *last; /* the one that opened last */
};

/* The loopback may be slow, so the condition is waited for. */
#define WAIT_FOR(t, condition)                                                                     \
    do {                                                                                           \
        for (int wait_ = 0; wait_ < 5000 && !(condition); wait_++) {                               \
            run(t);                                                                                \
            if (!(condition))                                                                      \
                poll(NULL, 0, 1);                                                                  \
        }                                                                                          \
        assert_true(condition);                                                                    \
    } while (0)

void test_setup(struct test *t);
void test_start(struct test *t);
void test_begin(struct test *t);
/* Some ticks of the loop; _idle long enough for anything to arrive that must not. */
void run(struct test *t);
void run_idle(struct test *t);
void advance(struct test *t, uint64_t ms);
void test_end(struct test *t);
/* Completes a handshake that was LATER. */
void complete_handshake(struct test *t, bh_handshake_cb done, void *ud, bh_handle handle, bool yes);
int register_metrics(void **state); /* a group setup */

#endif
