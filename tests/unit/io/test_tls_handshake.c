/* The handshake of a TLS stream: in pieces, truncated, not TLS at all, with bytes read before, in
 * turns. */
#include "tls_test.h"

#include "tls_internal.h"

#include "bellhop/base/metrics.h"

#include <event2/event.h>

/* --- the handshake --- */

static void writing_waits_for_the_handshake(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        test_open_pair(v, &c, &o);
        assert_int_equal(test_put(&o, "x", 1), BH_EAGAIN);
        bh_stream_want_write(&o.stream);
        assert_int_equal(o.stream.watched, EV_READ); /* a socket with room would make it spin */
        test_handshake(&c, &o);
        for (int i = 0; i < 5; i++)
            test_round(&c);
        assert_int_equal(o.writables, 1);
        assert_int_equal(test_put(&o, "x", 1), 1);
        test_close_pair(&c, &o);
    }
}

static void byte_by_byte(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        test_open_pair(v, &c, &o);
        c.step = 1;
        test_handshake(&c, &o);
        assert_int_equal(o.writables, 1);
        test_ping(&c, &o);
        assert_int_equal(o.got.len, 4);
        test_close_pair(&c, &o);
    }
}

/* The last message of the handshake and the first data in one segment. */
static void open_half_shaken(struct test_client *c, struct test_owner *o) {
    test_open_pair(1, c, o);
    c->allowed = 0;
    SSL_do_handshake(c->ssl);
    test_client_send(c);
    c->allowed = c->wire.len;
    while (!SSL_is_init_finished(c->ssl))
        test_round(c);
    assert_int_equal(o->writables, 0);
    test_client_write(c, "GET /", 5);
    c->allowed = SIZE_MAX;
}

static void handshake_and_data_at_once(void **state) {
    struct test_client c;
    struct test_owner o;
    open_half_shaken(&c, &o);
    test_client_send(&c);
    assert_int_equal(c.wire.len, 0);
    test_until(&c, o.got.len); /* in the same tick, unless the handshake took too long */
    assert_int_equal(o.writables, 1);
    assert_int_equal(o.got.len, 5);
    assert_memory_equal(o.got.p, "GET /", 5);
    test_close_pair(&c, &o);
}

static void pause_reading(struct test_owner *o) {
    bh_stream_read(&o->stream, false);
}

static void pausing_when_the_handshake_is_done(void **state) {
    struct test_client c;
    struct test_owner o;
    open_half_shaken(&c, &o);
    o.in_writable = pause_reading;
    for (int i = 0; i < 10; i++)
        test_round(&c);
    assert_int_equal(o.writables, 1);
    assert_int_equal(o.got.len, 0);
    bh_stream_read(&o.stream, true);
    test_until(&c, o.got.len == 5);
    test_close_pair(&c, &o);
}

static void a_peer_that_leaves_in_the_handshake(void **state) {
    for (int v = 0; v < 2; v++)
        for (int how = 0; how < 2; how++)
            for (size_t cut = 0; cut < 1000; cut += cut < 8 ? 1 : 37) {
                struct test_client c;
                struct test_owner o;
                test_open_pair(v, &c, &o);
                c.allowed = cut;
                for (int i = 0; i < 4; i++)
                    test_round(&c);
                unsigned done = o.writables;
                if (how == 0)
                    shutdown(c.fd, SHUT_WR);
                else
                    test_reset(c.fd);
                for (int i = 0; i < 4; i++)
                    bh_loop_tick(loop, false);
                assert_int_equal(o.ends, 1);
                assert_int_equal(o.error, how == 0 ? 0 : BH_EIO);
                assert_int_equal(o.writables, done);
                if (!done)
                    assert_int_equal(test_put(&o, "x", 1), BH_ECLOSED);
                test_owner_close(&o);
                if (how == 0)
                    close(c.fd);
                c.fd = -1;
                test_client_close(&c);
            }
}

/* OpenSSL sends nothing to a peer that does not speak TLS. */
static void feed_and_expect(const void *p, size_t n, bool alert) {
    int fds[2];
    struct test_owner o;
    char answer[64] = "";
    test_tcp_pair(fds);
    test_owner_open(&o, fds[1], test_env.tls, bh_slice(NULL, 0));
    assert_int_equal(send(fds[0], p, n, MSG_NOSIGNAL), n);
    for (int i = 0; i < 5; i++)
        bh_loop_tick(loop, false);
    assert_int_equal(o.ends, 1);
    assert_int_equal(o.error, BH_EPROTO);
    assert_int_equal(o.writables, 0);
    assert_int_equal(test_put(&o, "x", 1), BH_ECLOSED);
    bh_stream_want_write(&o.stream);
    bh_loop_tick(loop, false);
    test_owner_close(&o);
    assert_int_equal(recv(fds[0], answer, sizeof answer, 0), alert ? 7 : 0);
    assert_int_equal(answer[0], alert ? 21 : 0);
    close(fds[0]);
}

static void other_protocols(void **state) {
    feed_and_expect("GET / HTTP/1.1\r\n\r\n", 18, false);
    feed_and_expect("SSH-2.0-OpenSSH\r\n", 17, false);
    feed_and_expect("\x16\x03\x01\x48\x01garbage", 12, true);
    feed_and_expect("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10, true);
}

static void noise_is_refused(void **state) {
    unsigned char noise[2000];
    for (int round = 0; round < 300; round++) {
        int fds[2];
        struct test_owner o;
        test_noise(noise, sizeof noise);
        if (round % 2)
            memcpy(noise, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
        test_tcp_pair(fds);
        test_owner_open(&o, fds[1], test_env.tls, bh_slice(NULL, 0));
        assert_int_equal(send(fds[0], noise, sizeof noise, MSG_NOSIGNAL), sizeof noise);
        for (int i = 0; i < 4; i++)
            bh_loop_tick(loop, false);
        assert_int_equal(o.ends, 1);
        assert_int_equal(o.error, BH_EPROTO);
        test_owner_close(&o);
        close(fds[0]);
    }
}

static void bent_records_end_the_connection(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        test_open_established(v, &c, &o);
        test_client_write(&c, "good", 4);
        test_until(&c, o.got.len == 4);
        test_client_write(&c, "good", 4);
        c.allowed = c.sent;
        test_client_send(&c);
        c.wire.p[c.wire.len - 1] ^= 1;
        c.allowed = SIZE_MAX;
        test_until(&c, o.ends);
        assert_int_equal(o.error, BH_EPROTO);
        assert_int_equal(o.got.len, 4);
        assert_int_equal(test_put(&o, "x", 1), BH_ECLOSED);
        test_close_pair(&c, &o);
    }
}

/* --- early bytes --- */

static void early_bytes(void **state) {
    for (int v = 0; v < 2; v++)
        for (int part = 0; part < 3; part++) {
            int fds[2];
            struct test_client c;
            struct test_owner o;
            test_tcp_pair(fds);
            test_client_open(&c, test_env.contexts[v], fds[0]);
            SSL_do_handshake(c.ssl);
            c.allowed = 0;
            test_client_send(&c);
            c.allowed = SIZE_MAX;
            size_t n = part == 0 ? c.wire.len : part == 1 ? c.wire.len / 2 : 1;
            test_owner_open(&o, fds[1], test_env.tls, bh_slice(c.wire.p, n));
            bh_bytes_consume(&c.wire, n);
            test_handshake(&c, &o);
            assert_int_equal(o.ends, 0);
            test_ping(&c, &o);
            test_close_pair(&c, &o);
        }
}

static void early_bytes_wait_for_reading(void **state) {
    int fds[2];
    struct test_client c;
    struct test_owner o;
    test_tcp_pair(fds);
    test_client_open(&c, test_env.contexts[1], fds[0]);
    SSL_do_handshake(c.ssl);
    c.allowed = 0;
    test_client_send(&c);
    c.allowed = SIZE_MAX;
    test_owner_open(&o, fds[1], test_env.tls, bh_bytes_slice(&c.wire));
    bh_bytes_clear(&c.wire);
    bh_stream_read(&o.stream, false);
    for (int i = 0; i < 3; i++)
        test_round(&c);
    assert_false(SSL_is_init_finished(c.ssl));
    bh_stream_read(&o.stream, true);
    bh_stream_want_write(&o.stream);
    test_handshake(&c, &o);
    test_ping(&c, &o);
    test_close_pair(&c, &o);
}

/* --- abuse --- */

static void no_renegotiation(void **state) {
    struct test_client c;
    struct test_owner o;
    test_open_established(0, &c, &o);
    SSL_renegotiate(c.ssl);
    SSL_do_handshake(c.ssl);
    for (int i = 0; i < 5; i++)
        test_round(&c);
    assert_false(SSL_is_init_finished(c.ssl));
    assert_int_equal(o.writables, 1);
    test_close_pair(&c, &o);
}

/* --- turns --- */

/* On the fake clock each handshake takes the server a millisecond. */
static void on_progress(const SSL *ssl, int where, int result) {
    if (where & SSL_CB_HANDSHAKE_START)
        bh_clock_fake_advance(1);
}

static int setup_slow(void **state) {
    bh_clock_fake(1000, 0);
    SSL_CTX_set_info_callback(test_env.tls->contexts[0], on_progress);
    return test_setup(state);
}

static int teardown_slow(void **state) {
    SSL_CTX_set_info_callback(test_env.tls->contexts[0], NULL);
    bh_clock_real();
    return test_teardown(state);
}

static bool is_answered(const struct test_client *c) {
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK) == 1;
}

static void begin_handshake(struct test_client *c, struct test_owner *o) {
    test_open_pair(1, c, o);
    SSL_do_handshake(c->ssl);
    test_client_send(c);
}

static void handshakes_take_turns(void **state) {
    enum { MANY = 6 };
    struct test_client old, clients[MANY];
    struct test_owner o, owners[MANY];
    test_open_established(1, &old, &o);
    for (int i = 0; i < 5; i++)
        test_ping(&old, &o); /* small steps: its events are served at once */
    size_t before = o.got.len;
    for (int i = 0; i < MANY; i++)
        begin_handshake(&clients[i], &owners[i]);
    test_client_write(&old, "still here", 10);
    test_client_send(&old);
    for (unsigned answered = 0, tick = 1; tick < MANY; tick++, answered = 0) {
        bh_loop_tick(loop, false);
        for (int i = 0; i < MANY; i++)
            answered += is_answered(&clients[i]);
        assert_int_equal(answered, tick + 1); /* one fresh, then one put off in each tick */
        assert_true(is_answered(&clients[tick]));
        assert_int_equal(o.got.len, before + 10); /* open connections do not wait */
    }
    for (int i = 0; i < MANY; i++) {
        test_handshake(&clients[i], &owners[i]);
        assert_int_equal(owners[i].ends, 0);
        test_close_pair(&clients[i], &owners[i]);
    }
    test_close_pair(&old, &o);
}

static void early_bytes_take_turns_too(void **state) {
    int fds[2];
    struct test_client c, others[2];
    struct test_owner o, owners[2];
    for (int i = 0; i < 2; i++)
        begin_handshake(&others[i], &owners[i]);
    test_tcp_pair(fds);
    test_client_open(&c, test_env.contexts[1], fds[0]);
    SSL_do_handshake(c.ssl);
    c.allowed = 0;
    test_client_send(&c);
    c.allowed = SIZE_MAX;
    test_owner_open(&o, fds[1], test_env.tls, bh_bytes_slice(&c.wire));
    bh_bytes_clear(&c.wire);
    bh_loop_tick(loop, true); /* returns: the stream asks for this tick */
    assert_true(is_answered(&others[1]));
    assert_false(is_answered(&c));
    bh_loop_tick(loop, true);
    assert_true(is_answered(&c));
    test_handshake(&c, &o);
    test_close_pair(&c, &o);
    for (int i = 0; i < 2; i++)
        test_close_pair(&others[i], &owners[i]);
}

static long metric(const char *name) {
    struct bh_bytes text = {0};
    char line[80];
    bh_metrics_render(&text);
    bh_bytes_addc(&text, '\0');
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text.p, line);
    assert_non_null(at);
    long value = strtol(at + strlen(line), NULL, 10);
    bh_bytes_free(&text);
    return value;
}

static void counts(void **state) {
    struct test_client c;
    struct test_owner o;
    bh_tls_metrics_register();
    long done = metric("bellhop_io_tls_handshakes_total");
    long failed = metric("bellhop_io_tls_handshakes_failed_total");
    test_open_established(1, &c, &o);
    test_close_pair(&c, &o);
    assert_int_equal(metric("bellhop_io_tls_handshakes_total"), done + 1);
    feed_and_expect("GET / HTTP/1.1\r\n\r\n", 18, false);
    assert_int_equal(metric("bellhop_io_tls_handshakes_failed_total"), failed + 1);
    test_open_pair(1, &c, &o); /* sends nothing: a health check */
    test_close_pair(&c, &o);
    assert_int_equal(metric("bellhop_io_tls_handshakes_failed_total"), failed + 1);
    assert_int_equal(metric("bellhop_io_tls_handshakes_total"), done + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writing_waits_for_the_handshake, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(byte_by_byte, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(handshake_and_data_at_once, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(pausing_when_the_handshake_is_done, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_leaves_in_the_handshake, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(other_protocols, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(noise_is_refused, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(bent_records_end_the_connection, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(early_bytes, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(early_bytes_wait_for_reading, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(no_renegotiation, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(handshakes_take_turns, setup_slow, teardown_slow),
        cmocka_unit_test_setup_teardown(early_bytes_take_turns_too, setup_slow, teardown_slow),
        cmocka_unit_test_setup_teardown(counts, test_setup, test_teardown),
    };
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    return cmocka_run_group_tests(tests, test_make_env, test_free_env);
}
