/* TLS as a transport: bytes both ways in both versions, slow readers, every kind of end, moving,
 * anything in any order. */
#include "tls_test.h"

/* --- bytes --- */

static void echoes_all_sizes(void **state) {
    static const size_t sizes[] = {1,     2,     100,   1000,  16383, 16384,  16385,
                                   32768, 40000, 49152, 65535, 65536, 100000, 200 * 1024};
    static unsigned char noise[200 * 1024];
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        test_open_established(v, &c, &o);
        o.echo = true;
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            test_noise(noise, sizes[i]);
            test_client_write(&c, noise, sizes[i]);
            test_until(&c, c.got.len == sizes[i]);
            assert_memory_equal(c.got.p, noise, sizes[i]);
            bh_bytes_clear(&c.got);
        }
        assert_int_equal(o.ends, 0);
        test_close_pair(&c, &o);
    }
}

static void data_in_any_pieces(void **state) {
    static unsigned char noise[70000];
    uint64_t seed = 3;
    test_noise(noise, sizeof noise);
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        test_open_established(v, &c, &o);
        for (size_t at = 0, n; at < sizeof noise; at += n) {
            n = test_least(sizeof noise - at, 1 + test_random_from(&seed) % 20000);
            test_client_write(&c, noise + at, n);
        }
        while (o.got.len < sizeof noise) {
            c.step = 1 + test_random_from(&seed) % 30000;
            test_round(&c);
        }
        assert_int_equal(o.got.len, sizeof noise);
        assert_memory_equal(o.got.p, noise, sizeof noise);
        test_close_pair(&c, &o);
    }
}

static void vectors_become_one_record(void **state) {
    char letters[] = "abcdefgh";
    struct iovec iov[11];
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        test_open_established(v, &c, &o);
        for (int i = 0; i < 11; i++)
            iov[i] = (struct iovec){letters + i % 8, i % 3 ? 1 : 0};
        assert_int_equal(bh_stream_write(&o.stream, iov, 11), 7);
        assert_int_equal(bh_stream_write(&o.stream, iov, 1), 0);
        assert_int_equal(bh_stream_write(&o.stream, iov, 0), 0);
        test_until(&c, c.got.len);
        assert_int_equal(c.got.len, 7);
        assert_memory_equal(c.got.p, "bcefhac", 7);
        test_close_pair(&c, &o);
    }
}

static void a_slow_reader_gets_everything_in_order(void **state) {
    enum { TOTAL = 1 << 20 };
    unsigned char *noise = bh_malloc(TOTAL);
    uint64_t seed = 11;
    test_noise(noise, TOTAL);
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        unsigned asked = 0, partial = 0;
        test_open_established(v, &c, &o);
        setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &(int){8000}, sizeof(int));
        c.paused = true;
        for (size_t sent = 0; c.got.len < TOTAL;) {
            size_t n = test_least(TOTAL - sent, 1 + test_random_from(&seed) % 50000);
            ssize_t taken = n ? test_put(&o, noise + sent, n) : 0;
            assert_true(taken >= 0 || taken == BH_EAGAIN);
            sent += taken > 0 ? (size_t)taken : 0;
            partial += taken > 0 && (size_t)taken < n;
            if (n && (taken < 0 || (size_t)taken < n) && o.writables > asked) {
                bh_stream_want_write(&o.stream);
                asked++;
            }
            c.paused = test_random_from(&seed) % 4 != 0;
            test_round(&c);
        }
        assert_int_equal(c.got.len, TOTAL);
        assert_memory_equal(c.got.p, noise, TOTAL);
        assert_true(partial > 0 && asked > 0);
        assert_true(o.writables <= 1 + asked);
        test_close_pair(&c, &o);
    }
    bh_free(noise);
}

/* An owner whose bytes were all taken may close without losing any. */
static void what_was_taken_outlives_the_close(void **state) {
    static unsigned char noise[300000];
    test_noise(noise, sizeof noise);
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        test_open_established(v, &c, &o);
        setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &(int){8000}, sizeof(int));
        for (size_t sent = 0; sent < sizeof noise;) {
            ssize_t taken = test_put(&o, noise + sent, sizeof noise - sent);
            sent += taken > 0 ? (size_t)taken : 0;
            if (sent < sizeof noise)
                test_round(&c);
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
    test_open_established(1, &c, &o);
    bh_stream_read(&o.stream, false);
    test_client_write(&c, "later", 5);
    for (int i = 0; i < 5; i++)
        test_round(&c);
    assert_int_equal(o.got.len, 0);
    bh_stream_read(&o.stream, true);
    test_until(&c, o.got.len == 5);
    test_close_pair(&c, &o);
}

/* --- ends --- */

static void close_notify_from_the_peer(void **state) {
    for (int v = 0; v < 2; v++)
        for (int with_data = 0; with_data < 2; with_data++) {
            struct test_client c;
            struct test_owner o;
            test_open_established(v, &c, &o);
            if (with_data)
                test_client_write(&c, "last", 4);
            SSL_shutdown(c.ssl);
            test_until(&c, o.ends); /* no FIN follows */
            assert_int_equal(o.error, 0);
            assert_int_equal(o.got.len, with_data ? 4 : 0);
            assert_int_equal(test_put(&o, "answer", 6), 6); /* half open, as with plain sockets */
            test_until(&c, c.got.len == 6);
            assert_int_equal(o.ends, 1);
            test_close_pair(&c, &o);
        }
}

static void eof_without_close_notify(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        test_open_established(v, &c, &o);
        test_client_write(&c, "last", 4);
        test_client_send(&c);
        shutdown(c.fd, SHUT_WR);
        test_until(&c, o.ends);
        assert_int_equal(o.error, 0);
        assert_int_equal(o.got.len, 4);
        test_close_pair(&c, &o);
    }
}

static void shutting_down(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        test_open_established(v, &c, &o);
        assert_int_equal(test_put(&o, "bye", 3), 3);
        bh_stream_shutdown(&o.stream);
        bh_stream_shutdown(&o.stream);
        test_until(&c, c.eof);
        assert_int_equal(c.got.len, 3);
        assert_true(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN);
        assert_int_equal(test_put(&o, "x", 1), BH_ECLOSED);
        test_client_write(&c, "you too", 7); /* our direction only */
        test_until(&c, o.got.len == 7);
        test_close_pair(&c, &o);
    }
}

static void fin_waits_for_what_is_pending(void **state) {
    static unsigned char noise[4 << 20];
    struct test_client c;
    struct test_owner o;
    test_noise(noise, sizeof noise);
    test_open_established(1, &c, &o);
    setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &(int){8000}, sizeof(int));
    c.paused = true;
    ssize_t taken = test_put(&o, noise, sizeof noise);
    assert_true(taken > 0 && taken < (ssize_t)sizeof noise);
    assert_int_equal(o.stream.unsent, 1);
    bh_stream_shutdown(&o.stream);
    c.paused = false;
    test_until(&c, c.eof);
    assert_int_equal(c.got.len, taken + 1); /* the byte that was held back came along */
    assert_memory_equal(c.got.p, noise, c.got.len);
    assert_true(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN);
    test_close_pair(&c, &o);
}

static void closing_says_so_and_resetting_does_not(void **state) {
    for (int v = 0; v < 2; v++)
        for (int reset = 0; reset < 2; reset++) {
            struct test_client c;
            struct test_owner o;
            test_open_established(v, &c, &o);
            test_ping(&c, &o);
            if (reset)
                bh_stream_reset(&o.stream);
            test_owner_close(&o);
            for (int i = 0; i < 3; i++)
                test_round(&c);
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
            test_open_pair(v, &c, &o);
            *(where ? &o.in_data : &o.in_writable) = close_self;
            test_handshake(&c, &o);
            if (where) {
                test_client_write(&c, "x", 1);
                test_until(&c, o.got.len == 1);
            }
            assert_false(bh_stream_is_open(&o.stream));
            assert_int_equal(test_put(&o, "x", 1), BH_ECLOSED);
            assert_null(bh_tls_peer(&o.stream));
            test_close_pair(&c, &o);
        }
}

static void a_reset_peer(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o;
        test_open_established(v, &c, &o);
        test_reset(c.fd);
        c.fd = -1;
        for (int i = 0; i < 4; i++)
            bh_loop_tick(loop, false);
        assert_int_equal(o.ends, 1);
        assert_int_equal(o.error, BH_EIO);
        assert_int_equal(test_put(&o, "x", 1), BH_ECLOSED);
        test_close_pair(&c, &o);
    }
}

/* --- moving --- */

static void moving(void **state) {
    for (int v = 0; v < 2; v++) {
        struct test_client c;
        struct test_owner o, heir = {.writables = 1};
        test_open_established(v, &c, &o);
        test_ping(&c, &o);
        test_client_write(&c, "while moving", 12);
        test_client_send(&c);
        bh_stream_move(&heir.stream, &o.stream, &test_callbacks);
        assert_false(bh_stream_is_open(&o.stream));
        assert_null(bh_tls_peer(&o.stream));
        test_owner_close(&o);
        for (int i = 0; i < 3; i++)
            test_round(&c);
        assert_int_equal(heir.got.len, 0);
        bh_stream_read(&heir.stream, true);
        test_until(&c, heir.got.len == 12);
        assert_int_equal(test_put(&heir, "from the heir", 13), 13);
        test_until(&c, c.got.len == 13);
        test_close_pair(&c, &heir);
    }
}

static void moving_with_bytes_on_the_way(void **state) {
    static unsigned char noise[4 << 20];
    struct test_client c;
    struct test_owner o, heir = {.writables = 1};
    test_noise(noise, sizeof noise);
    test_open_established(1, &c, &o);
    setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &(int){8000}, sizeof(int));
    c.paused = true;
    ssize_t taken = test_put(&o, noise, sizeof noise);
    assert_int_equal(o.stream.unsent, 1);
    bh_stream_move(&heir.stream, &o.stream, &test_callbacks);
    test_owner_close(&o);
    c.paused = false;
    size_t rest = 100000;
    bh_bytes_add(&heir.out, bh_slice(noise + taken, rest));
    test_owner_flush(&heir);
    test_until(&c, c.got.len == (size_t)taken + rest);
    assert_memory_equal(c.got.p, noise, c.got.len);
    test_close_pair(&c, &heir);
}

/* --- anything in any order --- */

/* Both sides send the numbers 0, 1, 2, ... as bytes modulo 251 and check what they get. */
struct chat {
    struct test_client c;
    struct test_owner owners[2]; /* the stream moves from one to the other */
    struct test_owner *o;
    size_t said, heard, answered, understood;
};

static uint64_t seed = 77;

static void count_up(unsigned char *p, size_t from, size_t n) {
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)((from + i) % 251);
}

static void check(struct bh_bytes *got, size_t *from) {
    for (size_t i = 0; i < got->len; i++)
        assert_int_equal((unsigned char)got->p[i], (*from + i) % 251);
    *from += got->len;
    bh_bytes_clear(got);
}

static void say_some(struct chat *chat) {
    unsigned char bytes[3000];
    size_t n = 1 + test_random_from(&seed) % sizeof bytes;
    count_up(bytes, chat->said, n);
    test_client_write(&chat->c, bytes, n);
    chat->said += n;
}

static void answer_some(struct chat *chat) {
    static unsigned char bytes[60000];
    size_t n = 1 + test_random_from(&seed) % (test_random_from(&seed) % 2 ? 8 : sizeof bytes),
           half = n / 2;
    count_up(bytes, chat->answered, n);
    struct iovec iov[2] = {{bytes, half}, {bytes + half, n - half}};
    ssize_t taken = bh_stream_write(&chat->o->stream, iov, 2);
    assert_true(taken >= 0 || taken == BH_EAGAIN);
    chat->answered += taken > 0 ? (size_t)taken : 0;
}

static void move_on(struct chat *chat) {
    struct test_owner *next = &chat->owners[chat->o == &chat->owners[0]];
    check(&chat->o->got, &chat->heard);
    *next = (struct test_owner){.writables = 1};
    bh_stream_move(&next->stream, &chat->o->stream, &test_callbacks);
    test_owner_close(chat->o);
    chat->o = next;
}

static void do_anything(struct chat *chat) {
    switch (test_random_from(&seed) % 11) {
    case 0:
        bh_stream_read(&chat->o->stream, false);
        break;
    case 1:
        bh_stream_read(&chat->o->stream, true);
        break;
    case 2:
        bh_stream_want_write(&chat->o->stream);
        break;
    case 3:
        if (test_random_from(&seed) % 10 == 0)
            move_on(chat);
        break;
    case 4:
        chat->c.paused = test_random_from(&seed) % 2;
        chat->c.step = test_random_from(&seed) % 20000;
        break;
    case 5:
        if (SSL_version(chat->c.ssl) == TLS1_3_VERSION)
            SSL_key_update(chat->c.ssl, SSL_KEY_UPDATE_REQUESTED);
        break;
    case 6:
        bh_stream_put_off(&chat->o->stream);
        break;
    case 7:
    case 8:
        answer_some(chat);
        break;
    default:
        say_some(chat);
    }
}

static void anything_in_any_order(void **state) {
    for (int v = 0; v < 2; v++) {
        struct chat chat = {0};
        chat.o = chat.owners;
        bh_clock_fake(1000, 0);
        test_open_established(v, &chat.c, chat.o);
        setsockopt(chat.o->stream.fd, SOL_SOCKET, SO_SNDBUF, &(int){8000}, sizeof(int));
        for (int round = 0; round < 20000; round++) {
            do_anything(&chat);
            bh_clock_fake_advance(2000); /* too few key updates for a flood */
            if (round % 3 == 0)
                test_round(&chat.c);
            check(&chat.o->got, &chat.heard);
            check(&chat.c.got, &chat.understood);
        }
        chat.c.paused = false;
        chat.c.step = 0;
        bh_stream_read(&chat.o->stream, true);
        while (chat.heard < chat.said || chat.understood < chat.answered) {
            test_round(&chat.c);
            check(&chat.o->got, &chat.heard);
            check(&chat.c.got, &chat.understood);
        }
        assert_int_equal(chat.heard, chat.said);
        assert_true(chat.understood - chat.answered <= 1); /* the byte that is held back */
        assert_int_equal(chat.o->ends, 0);
        test_close_pair(&chat.c, chat.o);
        bh_clock_real();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(echoes_all_sizes, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(data_in_any_pieces, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(vectors_become_one_record, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(a_slow_reader_gets_everything_in_order, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(what_was_taken_outlives_the_close, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(pausing_stops_at_once, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(close_notify_from_the_peer, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(eof_without_close_notify, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(shutting_down, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(fin_waits_for_what_is_pending, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(closing_says_so_and_resetting_does_not, test_setup,
                                        test_teardown),
        cmocka_unit_test_setup_teardown(closing_inside_the_callbacks, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(a_reset_peer, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(moving, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(moving_with_bytes_on_the_way, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(anything_in_any_order, test_setup, test_teardown),
    };
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    return cmocka_run_group_tests(tests, test_make_env, test_free_env);
}
