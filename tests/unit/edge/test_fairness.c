/* test_fairness.c - one client, or a hundred, with more work than fits into a tick, beside an
 * honest one. The hooks advance the fake clock, so what a tick did can be counted. */
#include "edge_client.h"

#include "ws/ws_conn.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MANY     100
#define FLOOD    (48 * 1024) /* bytes that a socket takes without being read */
#define MESSAGE  "a flooding message"
#define REQUEST  "GET /mine HTTP/1.1\r\nHost: x\r\n\r\n"
#define ROUND_US 1200 /* of a tick: what is fresh, what is runnable, and a step beyond each */

static struct client attackers[MANY], honest;
static int honest_fd;    /* the server's */
static unsigned work_us; /* what an attacker's message or request takes */
static int attacks, answers;
static uint64_t ping_ms = 25000;

static bool is_honest(struct bh_slice data) {
    return bh_slice_starts(data, BH_SLICE("honest"));
}

static void on_message(struct test *t, struct bh_subscriber *s, struct bh_slice data) {
    if (is_honest(data)) {
        answers++;
        return;
    }
    attacks++;
    bh_clock_fake_advance_us(work_us);
}

static void on_http(struct test *t) {
    attacks++;
    bh_clock_fake_advance_us(work_us);
}

/* --- clients that do not run the loop --- */

static void put(struct client *c, struct bh_slice bytes) {
    assert_int_equal(send(c->fd, bytes.p, bytes.n, MSG_NOSIGNAL), bytes.n);
}

static void put_message(struct client *c, const char *text) {
    struct bh_bytes frame = {0};
    add_frame_raw(&frame, 0x81, bh_slice_cstr(text));
    put(c, bh_bytes_slice(&frame));
    bh_bytes_free(&frame);
}

/* Without waiting for acknowledgements, which take 40 ms each. */
static void dial_at_once(struct test *t, struct client *c) {
    dial(t, c);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static void open_at_once(struct test *t, struct client *c) {
    dial_at_once(t, c);
    put(c, BH_SLICE(UPGRADE("/ws") "\r\n"));
    expect_101(c);
}

static void discard(struct client *c) {
    static char buffer[65536];
    while (recv(c->fd, buffer, sizeof buffer, 0) > 0)
        continue;
}

static struct bh_bytes repeat(struct bh_slice unit, size_t n) {
    struct bh_bytes all = {0};
    while (all.len + unit.n <= n)
        bh_bytes_add(&all, unit);
    return all;
}

static struct bh_bytes flood_of_messages(void) {
    struct bh_bytes frame = {0};
    add_frame_raw(&frame, 0x81, BH_SLICE(MESSAGE));
    struct bh_bytes all = repeat(bh_bytes_slice(&frame), FLOOD);
    bh_bytes_free(&frame);
    return all;
}

/* --- the scene --- */

static void ask(struct test *t) {
    int before = answers;
    put_message(&honest, "honest");
    WAIT_FOR(t, answers == before + 1);
}

/* Small steps, so that nothing is known against it. */
static void behave(struct test *t, struct client *c, bool websocket) {
    for (int i = 0; i < 5; i++) {
        int before = attacks;
        if (websocket)
            put_message(c, MESSAGE);
        else
            put(c, BH_SLICE(REQUEST));
        WAIT_FOR(t, attacks == before + 1);
    }
    discard(c);
}

static void begin(struct test *t, unsigned count, bool websocket) {
    unsigned later_us = work_us;
    test_setup(t);
    t->config.ping_interval_ms = ping_ms;
    t->config.pong_timeout_ms = ping_ms;
    test_start(t);
    work_us = 0;
    t->on_message = on_message;
    t->on_http = on_http;
    t->http = YES;
    t->hooks.present |= BH_HOOK_HTTP;
    t->response = (struct bh_response){.status = 200, .body = BH_SLICE("done")};
    attacks = answers = 0;
    for (unsigned i = 0; i < count; i++) {
        if (websocket)
            open_at_once(t, &attackers[i]);
        else
            dial_at_once(t, &attackers[i]);
        behave(t, &attackers[i], websocket);
    }
    attacks = 0;
    work_us = later_us;
    open_at_once(t, &honest);
    honest_fd = BH_CONTAINER_OF(t->last, struct bh_ws_conn, subscriber)->stream.fd;
    for (int i = 0; i < 5; i++)
        ask(t); /* so that it is known to be light */
}

static void end(struct test *t, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        hang_up(&attackers[i]);
    hang_up(&honest);
    advance(t, 1000); /* debts */
    WAIT_FOR(t, count_of(BH_EDGE_SOCKETS) == 0);
    test_end(t);
}

/* Ticks until the honest client has its answer. */
static int ticks_till_answer(struct test *t, uint64_t *longest_us) {
    int before = answers, ticks = 0, arrived = 0;
    put_message(&honest, "honest");
    while (ioctl(honest_fd, FIONREAD, &arrived) == 0 && arrived == 0)
        poll(NULL, 0, 1);
    for (; answers == before && ticks < 1000; ticks++) {
        uint64_t began_us = bh_clock_us();
        bh_loop_tick(t->loop, false);
        uint64_t took_us = bh_clock_us() - began_us;
        *longest_us = took_us > *longest_us ? took_us : *longest_us;
    }
    return ticks;
}

/* All attackers send at once; each round the honest client asks once. At first nothing is known
 * about the attackers, so that a tick may take what all callbacks may take. */
static void flood(struct test *t, unsigned count, struct bh_slice bytes) {
    uint64_t longest_us = 0;
    for (unsigned i = 0; i < count; i++)
        put(&attackers[i], bytes);
    assert_in_range(ticks_till_answer(t, &longest_us), 1, 3);
    assert_in_range(longest_us, 0, 4000 + ROUND_US);
    for (int round = 0; round < 5; round++)
        ticks_till_answer(t, &longest_us);
    longest_us = 0;
    for (int round = 0; round < 50; round++) {
        for (unsigned i = 0; i < count; i++)
            discard(&attackers[i]);
        assert_in_range(ticks_till_answer(t, &longest_us), 1, 2);
    }
    assert_in_range(longest_us, 1, ROUND_US);
}

static void test_messages(unsigned count) {
    struct test t;
    struct bh_bytes bytes = flood_of_messages();
    work_us = 5;
    begin(&t, count, true);
    flood(&t, count, bh_bytes_slice(&bytes));
    int all = (int)count * (int)(bytes.len / (sizeof MESSAGE - 1 + 6));
    WAIT_FOR(&t, attacks == all);
    run_idle(&t);
    assert_int_equal(attacks, all);
    bh_bytes_free(&bytes);
    end(&t, count);
}

static void test_messages_of_one(void **state) {
    test_messages(1);
}

static void test_messages_of_a_hundred(void **state) {
    test_messages(MANY);
}

static void test_requests(unsigned count, unsigned us) {
    struct test t;
    struct bh_bytes bytes = repeat(BH_SLICE(REQUEST), FLOOD);
    work_us = us;
    begin(&t, count, false);
    flood(&t, count, bh_bytes_slice(&bytes));
    int all = (int)(count * (bytes.len / (sizeof REQUEST - 1)));
    for (int i = 0; i < 10000 && attacks < all; i++) {
        for (unsigned k = 0; k < count; k++)
            discard(&attackers[k]);
        run(&t);
    }
    assert_int_equal(attacks, all);
    bh_bytes_free(&bytes);
    end(&t, count);
}

static void test_requests_of_one(void **state) {
    test_requests(1, 5);
    test_requests(1, 300);
}

static void test_requests_of_a_hundred(void **state) {
    test_requests(MANY, 50);
}

/* A hundred attackers that send so many messages each time. They were good before, so it takes some
 * rounds until they have to wait. */
static void test_small_floods(unsigned messages, unsigned us) {
    struct test t;
    struct bh_bytes all = flood_of_messages();
    struct bh_slice some = bh_slice(all.p, messages * (sizeof MESSAGE - 1 + 6));
    uint64_t longest_us = 0;
    work_us = us;
    begin(&t, MANY, true);
    for (int round = 0; round < 30; round++) {
        if (round == 15)
            longest_us = 0;
        for (unsigned i = 0; i < MANY; i++)
            put(&attackers[i], some);
        assert_in_range(ticks_till_answer(&t, &longest_us), 1, round < 10 ? 10 : 2);
    }
    assert_in_range(longest_us, 1, ROUND_US);
    bh_bytes_free(&all);
    end(&t, MANY);
}

static void test_what_fits_into_a_share(void **state) {
    test_small_floods(40, 5);
}

static void test_what_cannot_be_cut(void **state) {
    test_small_floods(1, 300);
}

/* Without any time passing the number of requests is the limit: those of an event, and of a turn.
 */
static void test_requests_are_counted(void **state) {
    struct test t;
    struct bh_bytes bytes = repeat(BH_SLICE(REQUEST), FLOOD);
    work_us = 0;
    begin(&t, 1, false);
    put(&attackers[0], bh_bytes_slice(&bytes));
    int all = (int)(bytes.len / (sizeof REQUEST - 1));
    for (int i = 0; i < 1000 && attacks < all; i++) {
        int before = attacks;
        bh_loop_tick(t.loop, true); /* blocks for ever if the rest is forgotten */
        assert_in_range(attacks - before, 1, 64);
        discard(&attackers[0]);
    }
    assert_int_equal(attacks, all);
    bh_bytes_free(&bytes);
    end(&t, 1);
}

static long put_offs(void) {
    static const char name[] = "\nbellhop_io_put_off_total ";
    struct bh_bytes text = {0};
    bh_metrics_render(&text);
    bh_bytes_addc(&text, '\0');
    const char *at = strstr(text.p, name);
    assert_non_null(at);
    long value = strtol(at + sizeof name - 1, NULL, 10);
    bh_bytes_free(&text);
    return value;
}

/* Its requests wait for it to read, and not in turns that bring nothing. */
static void test_a_client_that_does_not_read(void **state) {
    static char page[20000];
    struct test t;
    struct bh_bytes bytes = repeat(BH_SLICE(REQUEST), FLOOD);
    int all = (int)(bytes.len / (sizeof REQUEST - 1)), before = -1;
    work_us = 50;
    begin(&t, 1, false);
    t.response.body = bh_slice(page, sizeof page);
    put(&attackers[0], bh_bytes_slice(&bytes));
    while (attacks != before) {
        before = attacks;
        run_idle(&t);
    }
    assert_in_range(attacks, 1, all - 1);
    long put_offs_before = put_offs();
    run_idle(&t);
    assert_int_equal(put_offs(), put_offs_before);
    for (int i = 0; i < 10000 && attacks < all; i++) {
        discard(&attackers[0]);
        run(&t);
    }
    assert_int_equal(attacks, all);
    bh_bytes_free(&bytes);
    end(&t, 1);
}

/* --- what is held --- */

static int next_number;
static struct bh_subscriber *sender;

static void expect_next(struct test *t, struct bh_subscriber *s, struct bh_slice data) {
    char expected[16];
    sender = s;
    snprintf(expected, sizeof expected, "%d", next_number++);
    assert_true(bh_slice_eq(data, bh_slice_cstr(expected)));
    bh_clock_fake_advance_us(100);
    if (next_number == 50)
        s->vt->read(s, false);
    if (next_number == 200)
        s->vt->close(s, 4000, BH_SLICE("enough"));
}

static void put_numbers(struct client *c, int count) {
    struct bh_bytes all = {0};
    for (int i = 0; i < count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        add_frame_raw(&all, 0x81, bh_slice_cstr(text));
    }
    add_frame_raw(&all, 0x88, BH_SLICE("\x0f\xa0"));
    put(c, bh_bytes_slice(&all));
    bh_bytes_free(&all);
}

/* The hooks pause and go on; the server closes, and finds the client's close frame behind messages
 * that are too late. */
static void test_the_rest_is_held_in_order(void **state) {
    struct test t;
    begin(&t, 1, true);
    t.on_message = expect_next;
    next_number = 0;
    put_numbers(&attackers[0], 400);
    WAIT_FOR(&t, next_number >= 50);
    run_idle(&t);
    assert_in_range(next_number, 50, 53); /* those of the share that was being used */
    sender->vt->read(sender, true);
    WAIT_FOR(&t, next_number == 200);
    expect_close(&attackers[0], 4000, "enough");
    expect_end(&attackers[0]);
    assert_int_equal(next_number, 200);
    end(&t, 1);
}

/* --- debts --- */

static void test_a_costly_step_is_waited_off(void **state) {
    struct test t;
    int64_t limited = count_of(BH_EDGE_LIMIT_MESSAGE_RATE) + count_of(BH_EDGE_LIMIT_BYTE_RATE);
    begin(&t, 2, true);
    work_us = 5000;
    for (int i = 0; i < 2; i++)
        put_message(&attackers[i], MESSAGE); /* it may have been the kernel */
    WAIT_FOR(&t, attacks == 2);
    for (int i = 0; i < 2; i++)
        put_message(&attackers[i], MESSAGE);
    WAIT_FOR(&t, attacks == 4);
    for (int i = 0; i < 2; i++)
        put_message(&attackers[i], MESSAGE);
    advance(&t, 30);
    assert_int_equal(attacks, 4);
    ask(&t);
    advance(&t, 10); /* 10 times 4 ms, from the end of the step */
    assert_int_equal(attacks, 5);
    advance(&t, 20); /* the other one waits behind */
    assert_int_equal(attacks, 5);
    advance(&t, 20);
    assert_int_equal(attacks, 6);
    assert_int_equal(count_of(BH_EDGE_LIMIT_MESSAGE_RATE) + count_of(BH_EDGE_LIMIT_BYTE_RATE),
                     limited);
    end(&t, 2);
}

static void test_the_wait_is_bounded(void **state) {
    struct test t;
    begin(&t, 1, true);
    work_us = 500000;
    for (int i = 0; i < 2; i++) {
        put_message(&attackers[0], MESSAGE);
        WAIT_FOR(&t, attacks == i + 1);
    }
    put_message(&attackers[0], MESSAGE);
    advance(&t, 990);
    assert_int_equal(attacks, 2);
    advance(&t, 20);
    assert_int_equal(attacks, 3);
    end(&t, 1);
}

static void test_waiting_is_no_silence(void **state) {
    struct test t;
    ping_ms = 300;
    begin(&t, 1, true);
    ping_ms = 25000;
    work_us = 500000;
    for (int i = 0; i < 6; i++) {
        put_message(&attackers[0], MESSAGE);
        for (int ms = 0; ms < 1500 && attacks == i; ms += 50) {
            advance(&t, 50);
            ask(&t);
        }
        assert_int_equal(attacks, i + 1);
        assert_int_equal(t.closed, 0);
    }
    end(&t, 1);
}

/* Closing ends everything that waits for a turn or waits off a debt. */
static void test_the_end_while_waiting(void **state) {
    struct test t;
    struct bh_bytes bytes = flood_of_messages();
    begin(&t, 4, true);
    work_us = 5000;
    for (int i = 0; i < 4; i++)
        put(&attackers[i], bh_bytes_slice(&bytes));
    for (int i = 0; i < 20; i++)
        bh_loop_tick(t.loop, false);
    bh_bytes_free(&bytes);
    test_end(&t);
    for (int i = 0; i < 4; i++)
        close(attackers[i].fd);
    close(honest.fd);
    bh_bytes_free(&honest.got);
    for (int i = 0; i < 4; i++)
        bh_bytes_free(&attackers[i].got);
}

static int register_all(void **state) {
    bh_loop_metrics_register();
    return register_metrics(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_of_one),
        cmocka_unit_test(test_messages_of_a_hundred),
        cmocka_unit_test(test_requests_of_one),
        cmocka_unit_test(test_requests_of_a_hundred),
        cmocka_unit_test(test_what_fits_into_a_share),
        cmocka_unit_test(test_what_cannot_be_cut),
        cmocka_unit_test(test_requests_are_counted),
        cmocka_unit_test(test_a_client_that_does_not_read),
        cmocka_unit_test(test_the_rest_is_held_in_order),
        cmocka_unit_test(test_a_costly_step_is_waited_off),
        cmocka_unit_test(test_the_wait_is_bounded),
        cmocka_unit_test(test_waiting_is_no_silence),
        cmocka_unit_test(test_the_end_while_waiting),
    };
    return cmocka_run_group_tests(tests, register_all, NULL);
}
