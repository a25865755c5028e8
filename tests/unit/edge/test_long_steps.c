/* test_long_steps.c - messages and bodies of more than 256 KiB, which scripts get one at a time.
 * The hooks advance the fake clock. */
#include "edge_client.h"

#include "edge_private.h"

#include <sys/socket.h>
#include <unistd.h>

#define DEFLATE "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
#define SIZE    300000
#define WORK_US 15000 /* 200 times 10 ms and 10 times 4 ms */
#define WAIT_MS 2040

enum kind { PLAIN, NO_TAKEOVER, TAKEOVER, BODY, KINDS };

static int done; /* long messages and requests */
static unsigned work_us;
static struct client delayed; /* by each of them */

static void work(void) {
    struct bh_bytes ping = {0};
    done++;
    bh_clock_fake_advance_us(work_us);
    add_frame_raw(&ping, 0x89, BH_SLICE("delayed"));
    assert_int_equal(send(delayed.fd, ping.p, ping.len, MSG_NOSIGNAL), ping.len);
    bh_bytes_free(&ping);
}

static void on_message(struct test *t, struct bh_subscriber *s, struct bh_slice data) {
    if (data.n == SIZE)
        work();
}

static void on_http(struct test *t) {
    work();
}

static void begin(struct test *t, enum kind kind) {
    static const enum bh_ws_deflate_mode modes[KINDS] = {
        [NO_TAKEOVER] = BH_WS_DEFLATE_NO_TAKEOVER, [TAKEOVER] = BH_WS_DEFLATE_TAKEOVER};
    test_setup(t);
    t->config.deflate = (struct bh_ws_deflate_config){modes[kind], 15, 1};
    t->config.message_bytes = t->config.http_body_bytes = 2 * SIZE;
    t->config.ping_interval_ms = t->config.pong_timeout_ms = 300000;
    t->config.http_request_ms = 300000;
    t->config.message_timeout_ms = 300000;
    t->hooks.present |= BH_HOOK_HTTP;
    t->http = YES;
    t->response = (struct bh_response){.status = 200, .body = BH_SLICE("done")};
    t->echo = false;
    t->on_message = on_message;
    t->on_http = on_http;
    test_start(t);
    open_ws(t, &delayed);
    done = 0;
    work_us = WORK_US;
}

static void open_client(struct test *t, struct client *c, enum kind kind) {
    if (kind == BODY) {
        dial(t, c);
        return;
    }
    upgrade(t, c, kind == PLAIN ? "" : DEFLATE, 0);
    expect_open(c, kind == PLAIN ? NULL : "permessage-deflate");
}

static void add_compressed(struct bh_bytes *to, struct bh_slice data) {
    struct bh_deflater *d = bh_deflater_new(15, 1);
    struct bh_buf *frame = bh_deflater_frame(d, BH_WS_BINARY, data, true);
    size_t head = frame->data[1] < 126 ? 2 : frame->data[1] == 126 ? 4 : 10;
    add_frame_raw(to, frame->data[0], bh_slice(frame->data + head, frame->len - head));
    bh_buf_unref(frame);
    bh_deflater_free(d);
}

/* What is long, and something behind it that is answered. */
static void send_long(struct client *c, enum kind kind) {
    static char zeros[SIZE];
    struct bh_bytes all = {0};
    struct bh_slice data = bh_slice(zeros, SIZE);
    if (kind == BODY) {
        bh_bytes_adds(&all, "POST /mine HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n");
        bh_bytes_add(&all, data);
    } else if (kind == PLAIN) {
        add_frame_raw(&all, 0x82, data);
        add_frame_raw(&all, 0x89, BH_SLICE("behind"));
    } else {
        add_compressed(&all, data);
        add_frame_raw(&all, 0x89, BH_SLICE("behind"));
    }
    send_bytes(c, bh_bytes_slice(&all));
    bh_bytes_free(&all);
    run_idle(c->test);
}

static void expect_done(struct client *c, enum kind kind) {
    struct bh_bytes body = {0};
    if (kind == BODY)
        assert_int_equal(take_response(c, &body), 200);
    else
        expect_frame(c, 10, BH_SLICE("behind"));
    bh_bytes_free(&body);
}

static void expect_refused(struct client *c, enum kind kind) {
    if (kind != BODY) {
        expect_close(c, 1013, "too many long messages, try again later");
        return;
    }
    struct bh_bytes body = {0};
    assert_int_equal(take_response(c, &body), 503);
    assert_has(body.p, "\"overloaded\"");
    bh_bytes_free(&body);
}

static void end(struct test *t, struct client *c, int count) {
    for (int i = 0; i < count; i++)
        if (c[i].fd >= 0)
            hang_up(&c[i]);
    hang_up(&delayed);
    test_end(t);
}

static void test_one_at_a_time(void **state) {
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct test t;
        struct client c[3], other;
        begin(&t, kind);
        open_ws(&t, &other);
        for (int i = 0; i < 3; i++) {
            open_client(&t, &c[i], kind);
            send_long(&c[i], kind);
        }
        expect_done(&c[0], kind);
        assert_int_equal(t.edge->ws.inflaters.held, 0);
        for (int i = 1; i < 3; i++) {
            advance(&t, WAIT_MS - 50);
            assert_int_equal(done, i);
            send_frame(&other, 0x89, BH_SLICE("not behind it"));
            expect_frame(&other, 10, BH_SLICE("not behind it"));
            advance(&t, 60);
            expect_done(&c[i], kind);
            assert_int_equal(done, i + 1);
        }
        hang_up(&other);
        end(&t, c, 3);
    }
}

static void test_who_waits_too_long_is_refused(void **state) {
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct test t;
        struct client c[3];
        int64_t refused = count_of(BH_EDGE_LIMIT_LONG);
        begin(&t, kind);
        work_us = 300000; /* a minute */
        for (int i = 0; i < 2; i++) {
            open_client(&t, &c[i], kind);
            send_long(&c[i], kind);
        }
        work_us = 0;
        advance(&t, 20000);
        open_client(&t, &c[2], kind);
        send_long(&c[2], kind);
        assert_int_equal(count_of(BH_EDGE_LIMIT_LONG), refused);
        advance(&t, 10100);
        expect_refused(&c[1], kind);
        assert_int_equal(count_of(BH_EDGE_LIMIT_LONG), refused + 1);
        assert_int_equal(done, 1);
        advance(&t, 20000);
        expect_refused(&c[2], kind);
        advance(&t, 10000);
        hang_up(&c[2]);
        open_client(&t, &c[2], kind);
        send_long(&c[2], kind);
        expect_done(&c[2], kind);
        assert_int_equal(done, 2);
        end(&t, c, 3);
    }
}

static void test_the_next_follows_who_has_gone(void **state) {
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct test t;
        struct client c[4];
        begin(&t, kind);
        for (int i = 0; i < 4; i++) {
            open_client(&t, &c[i], kind);
            if (i == 1 && kind != BODY)
                t.last->vt->close(t.last, 4000, BH_SLICE("enough")); /* sends, and is not heard */
            if (i == 2)
                shutdown(c[i].fd, SHUT_RD);
            send_long(&c[i], kind);
        }
        for (int i = 0; i < 3; i++)
            advance(&t, WAIT_MS + 20);
        expect_done(&c[3], kind);
        end(&t, c, 4);
    }
}

static void test_the_end_while_waiting(void **state) {
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct test t;
        struct client c[3];
        begin(&t, kind);
        for (int i = 0; i < 3; i++) {
            open_client(&t, &c[i], kind);
            send_long(&c[i], kind);
        }
        assert_int_equal(done, 1);
        test_end(&t);
        for (int i = 0; i < 3; i++) {
            close(c[i].fd);
            bh_bytes_free(&c[i].got);
        }
        close(delayed.fd);
        bh_bytes_free(&delayed.got);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_who_waits_too_long_is_refused),
        cmocka_unit_test(test_the_next_follows_who_has_gone),
        cmocka_unit_test(test_the_end_while_waiting),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
