/* Records that cost the peer nothing: key updates, empty records, alerts. */
#include "tls_test.h"

#include "bellhop/base/metrics.h"
#include "tls_internal.h"
#include "tls_sealer.h"

static int setup(void **state) {
    bh_clock_fake(1000, 0);
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    return test_setup(state);
}

static int teardown(void **state) {
    bh_clock_real();
    return test_teardown(state);
}

static struct bh_tls_conn *conn_of(const struct test_owner *o) {
    return o->stream.tls;
}

static void expect_flood(struct test_client *c, struct test_owner *o, const char *reason) {
    for (int i = 0; i < 50 && !o->ends; i++)
        test_round(c);
    assert_int_equal(o->ends, 1);
    assert_int_equal(o->error, BH_EPROTO);
    assert_string_equal(bh_tls_failure(&o->stream), reason);
}

/* --- key updates --- */

static void update_keys(struct test_client *c, int type) {
    assert_int_equal(SSL_key_update(c->ssl, type), 1);
    SSL_do_handshake(c->ssl);
}

/* As many as are allowed; ten seconds later as many again. */
static void key_updates(void **state) {
    struct test_client c;
    struct test_owner o;
    test_open_established(1, &c, &o);
    o.echo = true;
    for (int i = 0; i < 64; i++) {
        size_t before = c.got.len;
        update_keys(&c, SSL_KEY_UPDATE_REQUESTED);
        test_client_write(&c, "new keys", 8);
        test_until(&c, c.got.len == before + 8);
        if (i % 16 == 15)
            bh_clock_fake_advance(10000);
    }
    test_close_pair(&c, &o);
}

/* All arrive at once, and no more are read than allowed. */
static void a_flood_of_key_updates(void **state) {
    struct test_client c;
    struct test_owner o;
    test_open_established(1, &c, &o);
    for (int i = 0; i < 1000; i++)
        update_keys(&c, SSL_KEY_UPDATE_REQUESTED);
    expect_flood(&c, &o, "too many key updates");
    assert_int_equal(conn_of(&o)->key_updates, 17);
    test_close_pair(&c, &o);
}

static void floods_of_a_hundred(void **state) {
    enum { MANY = 100 };
    static struct test_client clients[MANY];
    static struct test_owner owners[MANY];
    for (int i = 0; i < MANY; i++)
        test_open_established(1, &clients[i], &owners[i]);
    for (int i = 0; i < MANY * 40; i++)
        update_keys(&clients[i % MANY], SSL_KEY_UPDATE_REQUESTED);
    for (int i = 0; i < MANY; i++) {
        expect_flood(&clients[i], &owners[i], "too many key updates");
        assert_int_equal(conn_of(&owners[i])->key_updates, 17);
        test_close_pair(&clients[i], &owners[i]);
    }
}

static void the_data_before_a_flood_is_delivered(void **state) {
    struct test_client c;
    struct test_owner o;
    test_open_established(1, &c, &o);
    test_client_write(&c, "hello", 5);
    for (int i = 0; i < 17; i++)
        update_keys(&c, SSL_KEY_UPDATE_NOT_REQUESTED);
    test_client_write(&c, "too late", 8);
    expect_flood(&c, &o, "too many key updates");
    assert_int_equal(o.got.len, 5);
    test_close_pair(&c, &o);
}

/* --- records that no library sends --- */

/* In groups: OpenSSL itself takes no more than 32 empty records or 4 alerts in a row. */
static void send_empties(struct test_client *c, unsigned count, enum tls_sealer_type type,
                         unsigned group) {
    static const char cancelled[] = {1, 90}; /* an alert that means nothing */
    for (unsigned i = 1; i <= count; i++) {
        tls_sealer_add(&c->wire, type, cancelled, type == TLS_SEALER_ALERT ? 2 : 0);
        if (i % group == 0)
            tls_sealer_add(&c->wire, TLS_SEALER_DATA, "d", 1);
    }
}

static void records_without_data(enum tls_sealer_type type, unsigned group) {
    struct test_client c;
    struct test_owner o;
    tls_sealer_open(&c, &o);
    for (int i = 0; i < 3; i++) {
        size_t before = o.got.len;
        send_empties(&c, 60, type, group);
        test_until(&c, o.got.len == before + 60 / group);
        bh_clock_fake_advance(10000);
    }
    send_empties(&c, 1000, type, group);
    expect_flood(&c, &o, "too many records without data");
    /* OpenSSL reads a group of empty records at once. */
    assert_in_range(conn_of(&o)->empty_records, 65, 64 + group);
    test_close_pair(&c, &o);
}

static void a_flood_of_empty_records(void **state) {
    records_without_data(TLS_SEALER_DATA, 30);
    records_without_data(TLS_SEALER_DATA, 1);
}

static void a_flood_of_alerts(void **state) {
    records_without_data(TLS_SEALER_ALERT, 4);
}

/* A record that comes in pieces is not empty: its header is counted before its data. */
static void slow_records_are_no_flood(void **state) {
    struct test_client c;
    struct test_owner o;
    tls_sealer_open(&c, &o);
    c.step = 7;
    for (int i = 0; i < 200; i++) {
        tls_sealer_add(&c.wire, TLS_SEALER_DATA, "data", 4);
        test_until(&c, o.got.len == 4 * ((size_t)i + 1));
    }
    assert_int_equal(o.ends, 0);
    assert_int_equal(conn_of(&o)->empty_records, 0);
    test_close_pair(&c, &o);
}

static void floods_are_counted(void **state) {
    static const char name[] = "\nbellhop_io_tls_floods_total 1\n";
    struct test_client c;
    struct test_owner o;
    struct bh_bytes text = {0};
    bh_tls_metrics_register();
    test_open_established(1, &c, &o);
    for (int i = 0; i < 17; i++)
        update_keys(&c, SSL_KEY_UPDATE_NOT_REQUESTED);
    expect_flood(&c, &o, "too many key updates");
    bh_metrics_render(&text);
    assert_non_null(memmem(text.p, text.len, name, sizeof name - 1));
    bh_bytes_free(&text);
    test_close_pair(&c, &o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(key_updates, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_key_updates, setup, teardown),
        cmocka_unit_test_setup_teardown(floods_of_a_hundred, setup, teardown),
        cmocka_unit_test_setup_teardown(the_data_before_a_flood_is_delivered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_empty_records, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_alerts, setup, teardown),
        cmocka_unit_test_setup_teardown(slow_records_are_no_flood, setup, teardown),
        cmocka_unit_test_setup_teardown(floods_are_counted, setup, teardown),
    };
    return cmocka_run_group_tests(tests, test_make_env, test_free_env);
}
