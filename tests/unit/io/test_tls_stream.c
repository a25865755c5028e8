/* TLS as a transport: bytes both ways in both versions, slow and hostile peers, every kind of end,
 * handshakes in pieces and cut off, moving, the budget. */
#include "tls_test.h"

#include "../../../src/io/loop_internal.h"

#include "bellhop/base/metrics.h"

#include <event2/event.h>

static struct bh_tls *tls;
static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
static SSL_CTX *contexts[2];

static int make_all(void **state) {
    assert_non_null(mkdtemp(test_folder));
    struct test_cert cert = test_cert_new("localhost", NULL, NULL);
    test_cert_save(&cert, "a");
    test_cert_free(&cert);
    char *crt = test_path("a.crt"), *key = test_path("a.key");
    struct bh_tls_config config = {.certificates = &crt,
                                   .certificate_count = 1,
                                   .keys = &key,
                                   .key_count = 1,
                                   .ciphers = "",
                                   .ticket_lifetime_ms = 3600000};
    tls = test_tls(&config, NULL);
    for (int i = 0; i < 2; i++)
        contexts[i] = test_client_context(versions[i]);
    return 0;
}

static int free_all(void **state) {
    bh_tls_unref(tls);
    for (int i = 0; i < 2; i++)
        SSL_CTX_free(contexts[i]);
    test_remove_folder();
    return 0;
}

static int setup(void **state) {
    loop = bh_loop_new();
    return 0;
}

static int teardown(void **state) {
    bh_loop_free(loop);
    return 0;
}

static void open_pair(int version, struct test_client *c, struct test_owner *o) {
    int fds[2];
    test_tcp_pair(fds);
    test_client_open(c, contexts[version], fds[0]);
    test_owner_open(o, fds[1], tls, bh_slice(NULL, 0));
}

static void open_shaken(int version, struct test_client *c, struct test_owner *o) {
    open_pair(version, c, o);
    test_shake(c, o);
    assert_int_equal(o->ends, 0);
    assert_int_equal(o->writables, 1);
}

static void close_pair(struct test_client *c, struct test_owner *o) {
    test_client_close(c);
    test_owner_close(o);
}

static ssize_t put(struct test_owner *o, const void *p, size_t n) {
    struct iovec iov = {(void *)p, n};
    return bh_stream_write(&o->stream, &iov, 1);
}

static void fill_noise(unsigned char *p, size_t n) {
    static uint64_t seed = 5;
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)test_random(&seed);
}

/* --- bytes --- */

static void echoes_all_sizes(void **state) {
    static const size_t sizes[] = {1,     2,     100,   1000,  16383, 16384,  16385,
                                   32768, 40000, 49152, 65535, 65536, 100000, 200 * 1024};
    static unsigned char noise[200 * 1024];
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        open_shaken(v, &c, &o);
        o.echo = true;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            fill_noise(noise, sizes[i]);
            test_say(&c, noise, sizes[i]);
            test_until(&c, c.got.len == sizes[i]);
            assert_memory_equal(c.got.p, noise, sizes[i]);
            bh_bytes_clear(&c.got);
        }
        assert_int_equal(o.ends, 0);
        close_pair(&c, &o);
    }
}

static void data_in_any_pieces(void **state) {
    static unsigned char noise[70000];
    uint64_t seed = 3;
    fill_noise(noise, sizeof noise);
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        open_shaken(v, &c, &o);
        for (size_t at = 0, n; at < sizeof noise; at += n) {
            n = test_least(sizeof noise - at, 1 + test_random(&seed) % 20000);
            test_say(&c, noise + at, n);
        }
        while (o.got.len < sizeof noise) {
            c.step = 1 + test_random(&seed) % 30000;
            test_turn(&c);
        }
        assert_int_equal(o.got.len, sizeof noise);
        assert_memory_equal(o.got.p, noise, sizeof noise);
        close_pair(&c, &o);
    }
}

static void vectors_become_one_record(void **state) {
    char letters[] = "abcdefgh";
    struct iovec iov[11];
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        open_shaken(v, &c, &o);
        for (int i = 0; i < 11; i++)
            iov[i] = (struct iovec){letters + i % 8, i % 3 ? 1 : 0};
        assert_int_equal(bh_stream_write(&o.stream, iov, 11), 7);
        assert_int_equal(bh_stream_write(&o.stream, iov, 1), 0);
        assert_int_equal(bh_stream_write(&o.stream, iov, 0), 0);
        test_until(&c, c.got.len);
        assert_int_equal(c.got.len, 7);
        assert_memory_equal(c.got.p, "bcefhac", 7);
        close_pair(&c, &o);
    }
}

static void a_slow_reader_gets_everything_in_order(void **state) {
    enum { TOTAL = 1 << 20 };
    unsigned char *noise = bh_malloc(TOTAL);
    uint64_t seed = 11;
    fill_noise(noise, TOTAL);
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        unsigned asked = 0, partial = 0;
        open_shaken(v, &c, &o);
        setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &(int){8000}, sizeof(int));
        c.deaf = true;
        for (size_t sent = 0; c.got.len < TOTAL;) {
            size_t n = test_least(TOTAL - sent, 1 + test_random(&seed) % 50000);
            ssize_t taken = n ? put(&o, noise + sent, n) : 0;
            assert_true(taken >= 0 || taken == BH_EAGAIN);
            sent += taken > 0 ? (size_t)taken : 0;
            partial += taken > 0 && (size_t)taken < n;
            if (n && (taken < 0 || (size_t)taken < n) && o.writables > asked) {
                bh_stream_want_write(&o.stream);
                asked++;
            }
            c.deaf = test_random(&seed) % 4 != 0;
            test_turn(&c);
        }
        assert_int_equal(c.got.len, TOTAL);
        assert_memory_equal(c.got.p, noise, TOTAL);
        assert_true(partial > 0 && asked > 0);
        assert_true(o.writables <= 1 + asked);
        close_pair(&c, &o);
    }
    bh_free(noise);
}

/* The owner that has been told that all is taken may close; nothing of it may get lost. */
static void what_was_taken_outlives_the_close(void **state) {
    static unsigned char noise[300000];
    fill_noise(noise, sizeof noise);
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        open_shaken(v, &c, &o);
        setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &(int){8000}, sizeof(int));
        for (size_t sent = 0; sent < sizeof noise;) {
            ssize_t taken = put(&o, noise + sent, sizeof noise - sent);
            sent += taken > 0 ? (size_t)taken : 0;
            if (sent < sizeof noise)
                test_turn(&c);
        }
        test_owner_close(&o);
        test_until(&c, c.eof);
        assert_int_equal(c.got.len, sizeof noise);
        assert_memory_equal(c.got.p, noise, sizeof noise);
        test_client_close(&c);
    }
}

static void pausing_stops_at_once(void **state) {
    struct test_client c;
    struct test_owner o;
    open_shaken(1, &c, &o);
    bh_stream_read(&o.stream, false);
    test_say(&c, "later", 5);
    for (int i = 0; i < 5; i++)
        test_turn(&c);
    assert_int_equal(o.got.len, 0);
    bh_stream_read(&o.stream, true);
    test_until(&c, o.got.len == 5);
    close_pair(&c, &o);
}

/* --- the handshake --- */

static void writing_waits_for_the_handshake(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        open_pair(v, &c, &o);
        assert_int_equal(put(&o, "x", 1), BH_EAGAIN);
        bh_stream_want_write(&o.stream);
        assert_int_equal(o.stream.watched, EV_READ); /* a socket with room would make it spin */
        test_shake(&c, &o);
        for (int i = 0; i < 5; i++)
            test_turn(&c);
        assert_int_equal(o.writables, 1);
        assert_int_equal(put(&o, "x", 1), 1);
        close_pair(&c, &o);
    }
}

static void byte_by_byte(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        open_pair(v, &c, &o);
        c.step = 1;
        test_shake(&c, &o);
        assert_int_equal(o.writables, 1);
        test_ping(&c, &o);
        assert_int_equal(o.got.len, 4);
        close_pair(&c, &o);
    }
}

/* The last message of the handshake and the first data in one segment. */
static void open_half_shaken(struct test_client *c, struct test_owner *o) {
    open_pair(1, c, o);
    c->allowed = 0;
    SSL_do_handshake(c->ssl);
    test_client_send(c);
    c->allowed = c->wire.len;
    while (!SSL_is_init_finished(c->ssl))
        test_turn(c);
    assert_int_equal(o->writables, 0);
    test_say(c, "GET /", 5);
    c->allowed = SIZE_MAX;
}

static void handshake_and_data_at_once(void **state) {
    struct test_client c;
    struct test_owner o;
    open_half_shaken(&c, &o);
    test_client_send(&c);
    assert_int_equal(c.wire.len, 0);
    bh_loop_tick(loop, true);
    assert_int_equal(o.writables, 1);
    assert_int_equal(o.got.len, 5);
    assert_memory_equal(o.got.p, "GET /", 5);
    close_pair(&c, &o);
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
        test_turn(&c);
    assert_int_equal(o.writables, 1);
    assert_int_equal(o.got.len, 0);
    bh_stream_read(&o.stream, true);
    test_until(&c, o.got.len == 5);
    close_pair(&c, &o);
}

static void a_peer_that_leaves_in_the_handshake(void **state) {
    for (int v = 0; v < 2; v++)
        for (int how = 0; how < 2; how++)
            for (size_t cut = 0; cut < 1000; cut += cut < 8 ? 1 : 37) {
                struct test_client c;
                struct test_owner o;
                open_pair(v, &c, &o);
                c.allowed = cut;
                for (int i = 0; i < 4; i++)
                    test_turn(&c);
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
                    assert_int_equal(put(&o, "x", 1), BH_ECLOSED);
                test_owner_close(&o);
                if (how == 0)
                    close(c.fd);
                c.fd = -1;
                test_client_close(&c);
            }
}

/* OpenSSL tells those who do not even try to speak TLS nothing. */
static void feed_and_expect(const void *p, size_t n, bool alert) {
    int fds[2];
    struct test_owner o;
    char answer[64] = "";
    test_tcp_pair(fds);
    test_owner_open(&o, fds[1], tls, bh_slice(NULL, 0));
    assert_int_equal(send(fds[0], p, n, MSG_NOSIGNAL), n);
    for (int i = 0; i < 5; i++)
        bh_loop_tick(loop, false);
    assert_int_equal(o.ends, 1);
    assert_int_equal(o.error, BH_EPROTO);
    assert_int_equal(o.writables, 0);
    assert_int_equal(put(&o, "x", 1), BH_ECLOSED);
    bh_stream_want_write(&o.stream);
    bh_loop_tick(loop, false);
    test_owner_close(&o);
    assert_int_equal(recv(fds[0], answer, sizeof answer, 0), alert ? 7 : 0);
    assert_int_equal(answer[0], alert ? 21 : 0);
    close(fds[0]);
}

static void other_protocols(void **state) {
    feed_and_expect("GET / HTTP/1.1\r\n\r\n", 18, false);
    feed_and_expect("SSH-2.0-whoever\r\n", 17, false);
    feed_and_expect("\x16\x03\x01\x48\x01garbage", 12, true);
    feed_and_expect("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10, true);
}

static void noise_is_refused(void **state) {
    unsigned char noise[2000];
    for (int round = 0; round < 300; round++) {
        int fds[2];
        struct test_owner o;
        fill_noise(noise, sizeof noise);
        if (round % 2)
            memcpy(noise, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
        test_tcp_pair(fds);
        test_owner_open(&o, fds[1], tls, bh_slice(NULL, 0));
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
        open_shaken(v, &c, &o);
        test_say(&c, "good", 4);
        test_until(&c, o.got.len == 4);
        test_say(&c, "good", 4);
        c.allowed = c.sent;
        test_client_send(&c);
        c.wire.p[c.wire.len - 1] ^= 1;
        c.allowed = SIZE_MAX;
        test_until(&c, o.ends);
        assert_int_equal(o.error, BH_EPROTO);
        assert_int_equal(o.got.len, 4);
        assert_int_equal(put(&o, "x", 1), BH_ECLOSED);
        close_pair(&c, &o);
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
            test_client_open(&c, contexts[v], fds[0]);
            SSL_do_handshake(c.ssl);
            c.allowed = 0;
            test_client_send(&c);
            c.allowed = SIZE_MAX;
            size_t n = part == 0 ? c.wire.len : part == 1 ? c.wire.len / 2 : 1;
            test_owner_open(&o, fds[1], tls, bh_slice(c.wire.p, n));
            bh_bytes_consume(&c.wire, n);
            test_shake(&c, &o);
            assert_int_equal(o.ends, 0);
            test_ping(&c, &o);
            close_pair(&c, &o);
        }
}

static void early_bytes_wait_for_reading(void **state) {
    int fds[2];
    struct test_client c;
    struct test_owner o;
    test_tcp_pair(fds);
    test_client_open(&c, contexts[1], fds[0]);
    SSL_do_handshake(c.ssl);
    c.allowed = 0;
    test_client_send(&c);
    c.allowed = SIZE_MAX;
    test_owner_open(&o, fds[1], tls, bh_bytes_slice(&c.wire));
    bh_bytes_clear(&c.wire);
    bh_stream_read(&o.stream, false);
    for (int i = 0; i < 3; i++)
        test_turn(&c);
    assert_false(SSL_is_init_finished(c.ssl));
    bh_stream_read(&o.stream, true);
    bh_stream_want_write(&o.stream);
    test_shake(&c, &o);
    test_ping(&c, &o);
    close_pair(&c, &o);
}

/* --- ends --- */

static void close_notify_from_the_peer(void **state) {
    for (int v = 0; v < 2; v++)
        for (int with_data = 0; with_data < 2; with_data++) {
            struct test_client c;
            struct test_owner o;
            open_shaken(v, &c, &o);
            if (with_data)
                test_say(&c, "last", 4);
            SSL_shutdown(c.ssl);
            test_until(&c, o.ends); /* no FIN follows */
            assert_int_equal(o.error, 0);
            assert_int_equal(o.got.len, with_data ? 4 : 0);
            assert_int_equal(put(&o, "answer", 6), 6); /* half open, as with plain sockets */
            test_until(&c, c.got.len == 6);
            assert_int_equal(o.ends, 1);
            close_pair(&c, &o);
        }
}

static void eof_without_close_notify(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        open_shaken(v, &c, &o);
        test_say(&c, "last", 4);
        test_client_send(&c);
        shutdown(c.fd, SHUT_WR);
        test_until(&c, o.ends);
        assert_int_equal(o.error, 0);
        assert_int_equal(o.got.len, 4);
        close_pair(&c, &o);
    }
}

static void shutting_down(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        open_shaken(v, &c, &o);
        assert_int_equal(put(&o, "bye", 3), 3);
        bh_stream_shutdown(&o.stream);
        bh_stream_shutdown(&o.stream);
        test_until(&c, c.eof);
        assert_int_equal(c.got.len, 3);
        assert_true(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN);
        assert_int_equal(put(&o, "x", 1), BH_ECLOSED);
        test_say(&c, "you too", 7); /* our direction only */
        test_until(&c, o.got.len == 7);
        close_pair(&c, &o);
    }
}

static void fin_waits_for_what_is_pending(void **state) {
    static unsigned char noise[4 << 20];
    struct test_client c;
    struct test_owner o;
    fill_noise(noise, sizeof noise);
    open_shaken(1, &c, &o);
    setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &(int){8000}, sizeof(int));
    c.deaf = true;
    ssize_t taken = put(&o, noise, sizeof noise);
    assert_true(taken > 0 && taken < (ssize_t)sizeof noise);
    assert_int_equal(o.stream.unsent, 1);
    bh_stream_shutdown(&o.stream);
    c.deaf = false;
    test_until(&c, c.eof);
    assert_int_equal(c.got.len, taken + 1); /* the byte that was held back came along */
    assert_memory_equal(c.got.p, noise, c.got.len);
    assert_true(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN);
    close_pair(&c, &o);
}

static void closing_says_so_and_resetting_does_not(void **state) {
    for (int v = 0; v < 2; v++)
        for (int reset = 0; reset < 2; reset++) {
            struct test_client c;
            struct test_owner o;
            open_shaken(v, &c, &o);
            test_ping(&c, &o);
            if (reset)
                bh_stream_reset(&o.stream);
            test_owner_close(&o);
            for (int i = 0; i < 3; i++)
                test_turn(&c);
            assert_int_equal(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN,
                             reset ? 0 : SSL_RECEIVED_SHUTDOWN);
            test_client_close(&c);
        }
}

static void close_self(struct test_owner *o) {
    bh_stream_close(&o->stream);
}

static void closing_inside_the_callbacks(void **state) {
    for (int v = 0; v < 2; v++)
        for (int where = 0; where < 2; where++) {
            struct test_client c;
            struct test_owner o;
            open_pair(v, &c, &o);
            *(where ? &o.in_data : &o.in_writable) = close_self;
            test_shake(&c, &o);
            if (where) {
                test_say(&c, "x", 1);
                test_until(&c, o.got.len == 1);
            }
            assert_false(bh_stream_is_open(&o.stream));
            assert_int_equal(put(&o, "x", 1), BH_ECLOSED);
            assert_null(bh_tls_peer(&o.stream));
            close_pair(&c, &o);
        }
}

static void a_reset_peer(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        open_shaken(v, &c, &o);
        test_reset(c.fd);
        c.fd = -1;
        for (int i = 0; i < 4; i++)
            bh_loop_tick(loop, false);
        assert_int_equal(o.ends, 1);
        assert_int_equal(o.error, BH_EIO);
        assert_int_equal(put(&o, "x", 1), BH_ECLOSED);
        close_pair(&c, &o);
    }
}

/* --- moving --- */

static void moving(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o, heir = {.writables = 1};
        open_shaken(v, &c, &o);
        test_ping(&c, &o);
        test_say(&c, "while moving", 12);
        test_client_send(&c);
        bh_stream_move(&heir.stream, &o.stream, &test_callbacks);
        assert_false(bh_stream_is_open(&o.stream));
        assert_null(bh_tls_peer(&o.stream));
        test_owner_close(&o);
        for (int i = 0; i < 3; i++)
            test_turn(&c);
        assert_int_equal(heir.got.len, 0);
        bh_stream_read(&heir.stream, true);
        test_until(&c, heir.got.len == 12);
        assert_int_equal(put(&heir, "from the heir", 13), 13);
        test_until(&c, c.got.len == 13);
        close_pair(&c, &heir);
    }
}

static void moving_with_bytes_on_the_way(void **state) {
    static unsigned char noise[4 << 20];
    struct test_client c;
    struct test_owner o, heir = {.writables = 1};
    fill_noise(noise, sizeof noise);
    open_shaken(1, &c, &o);
    setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &(int){8000}, sizeof(int));
    c.deaf = true;
    ssize_t taken = put(&o, noise, sizeof noise);
    assert_int_equal(o.stream.unsent, 1);
    bh_stream_move(&heir.stream, &o.stream, &test_callbacks);
    test_owner_close(&o);
    c.deaf = false;
    size_t rest = 100000;
    bh_bytes_add(&heir.out, bh_slice(noise + taken, rest));
    test_owner_flush(&heir);
    test_until(&c, c.got.len == (size_t)taken + rest);
    assert_memory_equal(c.got.p, noise, c.got.len);
    close_pair(&c, &heir);
}

/* --- abuse --- */

static void key_updates(void **state) {
    struct test_client c;
    struct test_owner o;
    open_shaken(1, &c, &o);
    o.echo = true;
    for (int i = 0; i < 20; i++) {
        size_t before = c.got.len;
        assert_int_equal(SSL_key_update(c.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        SSL_do_handshake(c.ssl);
        test_say(&c, "new keys", 8);
        test_until(&c, c.got.len == before + 8);
    }
    close_pair(&c, &o);
}

static void a_flood_of_key_updates(void **state) {
    struct test_client c;
    struct test_owner o;
    open_shaken(1, &c, &o);
    c.deaf = true;
    for (int i = 0; i < 20000 && !o.ends; i++) {
        SSL_key_update(c.ssl, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(c.ssl);
        if (i % 100 == 0)
            test_turn(&c);
    }
    assert_int_equal(o.ends, 1);
    assert_true(o.error == BH_EIO || o.error == BH_EPROTO);
    close_pair(&c, &o);
}

static void no_renegotiation(void **state) {
    struct test_client c;
    struct test_owner o;
    open_shaken(0, &c, &o);
    SSL_renegotiate(c.ssl);
    SSL_do_handshake(c.ssl);
    for (int i = 0; i < 5; i++)
        test_turn(&c);
    assert_false(SSL_is_init_finished(c.ssl));
    assert_int_equal(o.writables, 1);
    close_pair(&c, &o);
}

/* --- the budget --- */

static void handshakes_have_a_budget(void **state) {
    enum { MANY = 6 };
    struct test_client c, old;
    struct test_client clients[MANY];
    struct test_owner o, owners[MANY];
    open_shaken(1, &old, &o);
    loop->tls_budget_us = 1; /* spent by the first */
    for (int i = 0; i < MANY; i++) {
        open_pair(1, &clients[i], &owners[i]);
        SSL_do_handshake(clients[i].ssl);
        test_client_send(&clients[i]);
    }
    test_say(&old, "still here", 10);
    test_client_send(&old);
    for (unsigned answered = 0, tick = 1; tick <= MANY; tick++, answered = 0) {
        bh_loop_tick(loop, false);
        for (int i = 0; i < MANY; i++)
            answered += recv(clients[i].fd, &c, 1, MSG_PEEK) == 1;
        assert_int_equal(answered, tick); /* one each, and each comes to its turn */
        assert_int_equal(o.got.len, 10);  /* those who are connected do not wait */
    }
    for (int i = 0; i < MANY; i++) {
        test_shake(&clients[i], &owners[i]);
        assert_int_equal(owners[i].ends, 0);
        close_pair(&clients[i], &owners[i]);
    }
    close_pair(&old, &o);
}

static void early_bytes_have_a_budget_too(void **state) {
    int fds[2];
    struct test_client c;
    struct test_owner o;
    test_tcp_pair(fds);
    test_client_open(&c, contexts[1], fds[0]);
    SSL_do_handshake(c.ssl);
    c.allowed = 0;
    test_client_send(&c);
    c.allowed = SIZE_MAX;
    loop->tls_budget_us = 0;
    test_owner_open(&o, fds[1], tls, bh_bytes_slice(&c.wire));
    bh_bytes_clear(&c.wire);
    for (int i = 0; i < 3; i++)
        bh_loop_tick(loop, true); /* returns: the stream asks for the next tick each time */
    assert_int_equal(recv(c.fd, &fds, 1, MSG_PEEK), -1);
    loop->tls_budget_us = 5000;
    test_shake(&c, &o);
    close_pair(&c, &o);
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
    open_shaken(1, &c, &o);
    close_pair(&c, &o);
    assert_int_equal(metric("bellhop_io_tls_handshakes_total"), done + 1);
    feed_and_expect("GET / HTTP/1.1\r\n\r\n", 18, false);
    assert_int_equal(metric("bellhop_io_tls_handshakes_failed_total"), failed + 1);
    open_pair(1, &c, &o); /* says nothing at all: a health check */
    close_pair(&c, &o);
    assert_int_equal(metric("bellhop_io_tls_handshakes_failed_total"), failed + 1);
    assert_int_equal(metric("bellhop_io_tls_handshakes_total"), done + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(echoes_all_sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(data_in_any_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(vectors_become_one_record, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_reader_gets_everything_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_taken_outlives_the_close, setup, teardown),
        cmocka_unit_test_setup_teardown(pausing_stops_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(writing_waits_for_the_handshake, setup, teardown),
        cmocka_unit_test_setup_teardown(byte_by_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(handshake_and_data_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(pausing_when_the_handshake_is_done, setup, teardown),
        cmocka_unit_test_setup_teardown(a_peer_that_leaves_in_the_handshake, setup, teardown),
        cmocka_unit_test_setup_teardown(other_protocols, setup, teardown),
        cmocka_unit_test_setup_teardown(noise_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(bent_records_end_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(early_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(early_bytes_wait_for_reading, setup, teardown),
        cmocka_unit_test_setup_teardown(close_notify_from_the_peer, setup, teardown),
        cmocka_unit_test_setup_teardown(eof_without_close_notify, setup, teardown),
        cmocka_unit_test_setup_teardown(shutting_down, setup, teardown),
        cmocka_unit_test_setup_teardown(fin_waits_for_what_is_pending, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_says_so_and_resetting_does_not, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_inside_the_callbacks, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reset_peer, setup, teardown),
        cmocka_unit_test_setup_teardown(moving, setup, teardown),
        cmocka_unit_test_setup_teardown(moving_with_bytes_on_the_way, setup, teardown),
        cmocka_unit_test_setup_teardown(key_updates, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_key_updates, setup, teardown),
        cmocka_unit_test_setup_teardown(no_renegotiation, setup, teardown),
        cmocka_unit_test_setup_teardown(handshakes_have_a_budget, setup, teardown),
        cmocka_unit_test_setup_teardown(early_bytes_have_a_budget_too, setup, teardown),
        cmocka_unit_test_setup_teardown(counts, setup, teardown),
    };
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    return cmocka_run_group_tests(tests, make_all, free_all);
}
