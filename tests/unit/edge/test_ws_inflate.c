/* test_ws_inflate.c - long compressed messages that come in: many turns, others in between, the
 * line, the rates, and every end of a connection while its message is being inflated. Each reading
 * of the clock takes 0.1 ms, so that a share of the tick is three steps. */
#include "edge_client.h"

#include "edge_private.h"

#include <sys/socket.h>
#include <unistd.h>

#define DEFLATE   "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
#define MIB       (1u << 20)
#define ATTACKERS 100
#define STEP_US   100

/* --- messages --- */

/* A whole frame of a client: n times the same byte. */
static void add_bomb(struct bh_bytes *to, uint8_t opcode, size_t n) {
    struct bh_bytes data = {0};
    struct bh_deflater *d = bh_deflater_new(15, 1);
    bh_bytes_reserve(&data, n);
    memset(data.p, 'b', n);
    struct bh_buf *frame = bh_deflater_frame(d, opcode, bh_slice(data.p, n), true);
    size_t head = frame->data[1] < 126 ? 2 : frame->data[1] == 126 ? 4 : 10;
    add_frame_raw(to, frame->data[0], bh_slice(frame->data + head, frame->len - head));
    bh_buf_unref(frame);
    bh_deflater_free(d);
    bh_bytes_free(&data);
}

static void setup(struct test *t, enum bh_ws_deflate_mode mode) {
    test_setup(t);
    t->config.deflate = (struct bh_ws_deflate_config){mode, 15, 1};
    t->config.deflate_threshold = 1000;
    t->config.deflate_max = 2000;
    t->config.message_bytes = 16 * MIB;
    t->config.queue_bytes = 64 * MIB;
    t->echo = false;
    test_start(t);
}

static void open_deflate(struct test *t, struct client *c) {
    upgrade(t, c, DEFLATE, 0);
    expect_open(c, "permessage-deflate");
}

static struct bh_inflaters *places(struct test *t) {
    return &t->edge->ws.inflaters;
}

/* The bytes are with the server's kernel; nothing has been read. */
static void send_only(struct client *c, const struct bh_bytes *bytes) {
    assert_int_equal(send(c->fd, bytes->p, bytes->len, MSG_NOSIGNAL), bytes->len);
}

/* Sends, and lets the server take some steps of the message, but not all. */
static void begin(struct test *t, struct client *c, const struct bh_bytes *bytes) {
    unsigned before = places(t)->held;
    bh_clock_fake_run(STEP_US);
    send_only(c, bytes);
    WAIT_FOR(t, places(t)->held > before);
}

/* --- places that others hold --- */

static struct bh_inflate_place others[BH_INFLATERS_PLACES];

static void hold_all(struct test *t) {
    for (size_t i = 0; i < BH_INFLATERS_PLACES; i++)
        assert_true(bh_inflaters_hold(places(t), &others[i]));
}

static void leave_all(struct test *t) {
    for (size_t i = 0; i < BH_INFLATERS_PLACES; i++)
        bh_inflaters_leave(places(t), &others[i]);
}

/* --- others are served --- */

static void test_others_are_served_meanwhile(void **state) {
    struct test t;
    struct client attacker, honest;
    struct bh_bytes bomb = {0};
    setup(&t, BH_WS_DEFLATE_NO_TAKEOVER);
    open_deflate(&t, &attacker);
    open_deflate(&t, &honest);
    add_bomb(&bomb, BH_WS_BINARY, 16 * MIB);
    add_frame_raw(&bomb, 0x89, BH_SLICE("behind it"));
    begin(&t, &attacker, &bomb);
    bh_inflate_step_in(1); /* while the others are served */
    t.echo = true;
    for (int i = 0; i < 5; i++) {
        send_frame(&honest, 0x81, BH_SLICE("hello"));
        expect_frame(&honest, 1, BH_SLICE("hello"));
    }
    bh_bytes_clear(&bomb);
    add_bomb(&bomb, BH_WS_TEXT, 1000);
    send_bytes(&honest, bh_bytes_slice(&bomb));
    WAIT_FOR(&t, t.messages == 6);
    assert_int_equal(places(&t)->held, 1);
    t.echo = false;
    bh_inflate_step_in(0);
    WAIT_FOR(&t, t.messages == 7);
    assert_int_equal(places(&t)->held, 0);
    expect_frame(&attacker, 10, BH_SLICE("behind it"));
    bh_bytes_free(&bomb);
    hang_up(&attacker);
    hang_up(&honest);
    test_end(&t);
}

static void begin_all(struct test *t, struct client *c, const struct bh_bytes *bomb) {
    for (int i = 0; i < ATTACKERS; i++)
        open_deflate(t, &c[i]);
    bh_clock_fake_run(STEP_US);
    for (int i = 0; i < ATTACKERS; i++)
        send_only(&c[i], bomb);
    WAIT_FOR(t, places(t)->held == BH_INFLATERS_PLACES && !bh_list_empty(&places(t)->line));
}

static void leave(struct client *c) {
    close(c->fd);
    c->fd = -1;
    bh_bytes_free(&c->got);
}

static void test_a_hundred_bombs(void **state) {
    for (int takeover = 0; takeover < 2; takeover++) {
        struct test t;
        struct client c[ATTACKERS], honest;
        struct bh_bytes bomb = {0};
        int64_t waits = count_of(BH_EDGE_INFLATE_WAITS);
        setup(&t, takeover ? BH_WS_DEFLATE_TAKEOVER : BH_WS_DEFLATE_NO_TAKEOVER);
        open_ws(&t, &honest);
        add_bomb(&bomb, BH_WS_BINARY, 2 * MIB);
        add_frame_raw(&bomb, 0x89, BH_SLICE("behind it"));
        begin_all(&t, c, &bomb);
        bh_inflate_step_in(1);
        t.echo = true;
        for (int i = 0; i < 3; i++) {
            send_frame(&honest, 0x81, BH_SLICE("hello"));
            expect_frame(&honest, 1, BH_SLICE("hello"));
        }
        t.echo = false;
        bh_inflate_step_in(0);
        assert_false(bh_list_empty(&places(&t)->line));
        WAIT_FOR(&t, t.messages == ATTACKERS + 3);
        for (int i = 0; i < ATTACKERS; i++) {
            expect_frame(&c[i], 10, BH_SLICE("behind it"));
            leave(&c[i]);
        }
        assert_int_equal(places(&t)->held, 0);
        assert_in_range(count_of(BH_EDGE_INFLATE_WAITS) - waits, 1, ATTACKERS);
        bh_bytes_free(&bomb);
        hang_up(&honest);
        test_end(&t);
    }
}

/* --- the line --- */

/* While it waits nothing is read, a heartbeat is no reason to close it, and a small compressed
 * message of another one does not wait. */
static void test_waiting_for_a_place(void **state) {
    struct test t;
    struct client c, other;
    struct bh_bytes bytes = {0};
    setup(&t, BH_WS_DEFLATE_NO_TAKEOVER);
    open_deflate(&t, &c);
    open_deflate(&t, &other);
    hold_all(&t);
    add_bomb(&bytes, BH_WS_BINARY, MIB);
    send_bytes(&c, bh_bytes_slice(&bytes));
    WAIT_FOR(&t, !bh_list_empty(&places(&t)->line));
    for (int i = 0; i < 100; i++)
        send_frame(&c, 0x82, BH_SLICE("later"));
    bh_bytes_clear(&bytes);
    add_bomb(&bytes, BH_WS_BINARY, 5000);
    send_bytes(&other, bh_bytes_slice(&bytes));
    WAIT_FOR(&t, t.messages == 1);
    for (int i = 0; i < 10; i++) {
        advance(&t, 10000);
        send_frame(&other, 0x82, BH_SLICE("alive"));
        receive(&other);
    }
    WAIT_FOR(&t, t.messages == 11);
    assert_int_equal(t.closed, 0);
    leave_all(&t);
    WAIT_FOR(&t, t.messages == 112);
    assert_int_equal(places(&t)->held, 0);
    bh_bytes_free(&bytes);
    hang_up(&c);
    hang_up(&other);
    test_end(&t);
}

/* --- rates --- */

static void test_inflated_bytes_count(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes bytes = {0};
    test_setup(&t);
    t.config.deflate = (struct bh_ws_deflate_config){BH_WS_DEFLATE_NO_TAKEOVER, 15, 1};
    t.config.bytes_per_second = 10000;
    t.echo = false;
    test_start(&t);
    open_deflate(&t, &c);
    int64_t before = count_of(BH_EDGE_LIMIT_BYTE_RATE);
    for (int i = 0; i < 5; i++)
        add_bomb(&bytes, BH_WS_BINARY, 8000);
    send_bytes(&c, bh_bytes_slice(&bytes));
    run_idle(&t);
    assert_int_equal(t.messages, 2); /* a second's worth, and the first one above it */
    assert_true(count_of(BH_EDGE_LIMIT_BYTE_RATE) > before);
    for (int second = 0; second < 8 && t.messages < 5; second++)
        advance(&t, 1000);
    WAIT_FOR(&t, t.messages == 5);
    bh_bytes_free(&bytes);
    hang_up(&c);
    test_end(&t);
}

/* A message that makes the client wait is inflated first: it would keep its place meanwhile. */
static void test_no_place_is_held_by_one_that_waits(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes bytes = {0};
    setup(&t, BH_WS_DEFLATE_NO_TAKEOVER);
    t.config.bytes_per_second = 100000;
    open_deflate(&t, &c);
    add_bomb(&bytes, BH_WS_BINARY, 4 * MIB);
    add_frame_raw(&bytes, 0x82, BH_SLICE("later"));
    int64_t before = count_of(BH_EDGE_LIMIT_BYTE_RATE);
    begin(&t, &c, &bytes);
    WAIT_FOR(&t, t.messages == 1);
    assert_int_equal(places(&t)->held, 0);
    bh_clock_fake_run(0);
    run_idle(&t);
    assert_int_equal(t.messages, 1);
    assert_int_equal(count_of(BH_EDGE_LIMIT_BYTE_RATE), before + 1);
    for (int second = 0; second < 12; second++)
        advance(&t, 1000);
    WAIT_FOR(&t, t.messages == 2);
    bh_bytes_free(&bytes);
    hang_up(&c);
    test_end(&t);
}

static void test_pings_count_as_bytes(void **state) {
    struct test t;
    struct client c;
    struct bh_bytes burst = {0};
    test_setup(&t);
    t.config.bytes_per_second = 1000;
    test_start(&t);
    open_ws(&t, &c);
    int64_t before = count_of(BH_EDGE_LIMIT_BYTE_RATE);
    for (int i = 0; i < 100; i++)
        add_frame_raw(&burst, 0x89, bh_slice(NULL, 0));
    send_bytes(&c, bh_bytes_slice(&burst));
    for (int i = 0; i < 63; i++) /* 1,008 bytes */
        expect_frame(&c, 10, bh_slice(NULL, 0));
    expect_nothing(&c);
    assert_int_equal(count_of(BH_EDGE_LIMIT_BYTE_RATE), before + 1);
    for (int second = 0; second < 4; second++)
        advance(&t, 1000);
    for (int i = 63; i < 100; i++)
        expect_frame(&c, 10, bh_slice(NULL, 0));
    bh_bytes_free(&burst);
    hang_up(&c);
    test_end(&t);
}

/* --- ends --- */

/* The peer's close frame is behind the message. */
static void test_closed_while_inflating(void **state) {
    for (int waits = 0; waits < 2; waits++) {
        struct test t;
        struct client c;
        struct bh_bytes bytes = {0};
        setup(&t, BH_WS_DEFLATE_NO_TAKEOVER);
        open_deflate(&t, &c);
        add_bomb(&bytes, BH_WS_BINARY, 16 * MIB);
        add_frame_raw(&bytes, 0x82, BH_SLICE("not any more"));
        add_bomb(&bytes, BH_WS_BINARY, 16 * MIB);
        add_frame_raw(&bytes, 0x88, BH_SLICE("\x03\xe8"));
        if (waits) {
            hold_all(&t);
            send_bytes(&c, bh_bytes_slice(&bytes));
            WAIT_FOR(&t, !bh_list_empty(&places(&t)->line));
        } else {
            begin(&t, &c, &bytes);
        }
        t.last->vt->close(t.last, 4000, BH_SLICE("enough"));
        if (waits)
            leave_all(&t);
        assert_int_equal(places(&t)->held, 0);
        assert_true(bh_list_empty(&places(&t)->line));
        expect_close(&c, 4000, "enough");
        expect_end(&c);
        assert_true(c.ended);
        assert_int_equal(t.messages, 0);
        bh_bytes_free(&bytes);
        hang_up(&c);
        test_end(&t);
    }
}

static void test_clients_that_leave(void **state) {
    struct test t;
    struct client c[ATTACKERS];
    struct bh_bytes bomb = {0};
    setup(&t, BH_WS_DEFLATE_TAKEOVER);
    add_bomb(&bomb, BH_WS_BINARY, MIB);
    begin_all(&t, c, &bomb);
    for (int i = 0; i < ATTACKERS; i++)
        leave(&c[i]);
    WAIT_FOR(&t, t.closed == ATTACKERS);
    run(&t);
    assert_int_equal(places(&t)->held, 0);
    assert_true(bh_list_empty(&places(&t)->line));
    bh_bytes_free(&bomb);
    test_end(&t);
}

static void test_an_error_in_the_middle(void **state) {
    struct test t;
    struct client c[ATTACKERS];
    struct bh_bytes bomb = {0};
    setup(&t, BH_WS_DEFLATE_NO_TAKEOVER);
    t.config.message_bytes = MIB; /* the limit of the readers is that of the start */
    t.edge->ws.limits.message_bytes = MIB;
    add_bomb(&bomb, BH_WS_BINARY, 2 * MIB);
    begin_all(&t, c, &bomb);
    for (int i = 0; i < ATTACKERS; i++) {
        expect_close(&c[i], 1009, NULL);
        leave(&c[i]);
    }
    assert_int_equal(places(&t)->held, 0);
    assert_int_equal(t.messages, 0);
    bh_bytes_free(&bomb);
    test_end(&t);
}

static void drained(void *ud) {
    *(bool *)ud = true;
}

static void test_a_drain(void **state) {
    struct test t;
    struct client c[ATTACKERS];
    struct bh_bytes bomb = {0};
    setup(&t, BH_WS_DEFLATE_NO_TAKEOVER);
    add_bomb(&bomb, BH_WS_BINARY, 4 * MIB);
    begin_all(&t, c, &bomb);
    bh_edge_drain(t.edge, &(struct bh_edge_drain){.on_drained = drained, .ud = &t.drained});
    for (int i = 0; i < ATTACKERS; i++) {
        expect_close(&c[i], 1001, NULL);
        leave(&c[i]);
    }
    assert_int_equal(places(&t)->held, 0);
    assert_true(bh_list_empty(&places(&t)->line));
    WAIT_FOR(&t, t.drained);
    bh_bytes_free(&bomb);
    test_end(&t);
}

/* test_end drops what is left. */
static void test_the_end_of_the_server(void **state) {
    struct test t;
    struct client c[ATTACKERS];
    struct bh_bytes bomb = {0};
    setup(&t, BH_WS_DEFLATE_TAKEOVER);
    add_bomb(&bomb, BH_WS_BINARY, 4 * MIB);
    begin_all(&t, c, &bomb);
    test_end(&t);
    for (int i = 0; i < ATTACKERS; i++)
        leave(&c[i]);
    bh_bytes_free(&bomb);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_others_are_served_meanwhile),
        cmocka_unit_test(test_a_hundred_bombs),
        cmocka_unit_test(test_waiting_for_a_place),
        cmocka_unit_test(test_inflated_bytes_count),
        cmocka_unit_test(test_no_place_is_held_by_one_that_waits),
        cmocka_unit_test(test_pings_count_as_bytes),
        cmocka_unit_test(test_closed_while_inflating),
        cmocka_unit_test(test_clients_that_leave),
        cmocka_unit_test(test_an_error_in_the_middle),
        cmocka_unit_test(test_a_drain),
        cmocka_unit_test(test_the_end_of_the_server),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
