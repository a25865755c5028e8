/* Records that cost the peer nothing: key updates, empty records, alerts. */
#include "tls_test.h"

#include "bellhop/base/metrics.h"
#include "tls_internal.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

enum content { ALERT = 21, DATA = 23 };

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

/* The client's side of TLS 1.3 after the handshake. */
static struct {
    unsigned char secret[32], key[16], iv[12];
    uint64_t sequence;
} sealer;

static void on_keylog(const SSL *ssl, const char *line) {
    static const char label[] = "CLIENT_TRAFFIC_SECRET_0 ";
    const char *hex = strrchr(line, ' ') + 1;
    size_t n;
    if (strncmp(line, label, sizeof label - 1) == 0)
        assert_int_equal(OPENSSL_hexstr2buf_ex(sealer.secret, sizeof sealer.secret, &n, hex, '\0'),
                         1);
}

static void expand(const char *label, unsigned char *out, size_t n) {
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_MODE, (char *)"EXPAND_ONLY", 0),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, sealer.secret, sizeof sealer.secret),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (char *)"tls13 ", 6),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (void *)label, strlen(label)),
        OSSL_PARAM_END,
    };
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    assert_int_equal(EVP_KDF_derive(ctx, out, n, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(kdf);
}

static void open_sealed(struct test_client *c, struct test_owner *o) {
    test_open_pair(1, c, o);
    assert_int_equal(SSL_set_ciphersuites(c->ssl, "TLS_AES_128_GCM_SHA256"), 1);
    SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(c->ssl), on_keylog);
    test_handshake(c, o);
    SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(c->ssl), NULL);
    sealer.sequence = 0;
    expand("key", sealer.key, sizeof sealer.key);
    expand("iv", sealer.iv, sizeof sealer.iv);
}

static void add_record(struct bh_bytes *out, enum content type, const char *p, size_t n) {
    unsigned char record[64] = {DATA, 3, 3, 0, (unsigned char)(n + 1 + 16)}, plain[40], nonce[12];
    int size;
    memcpy(plain, p, n);
    plain[n] = (unsigned char)type;
    memcpy(nonce, sealer.iv, sizeof nonce);
    for (int i = 0; i < 8; i++)
        nonce[11 - i] ^= (unsigned char)(sealer.sequence >> (8 * i));
    sealer.sequence++;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(ctx, EVP_aes_128_gcm(), NULL, sealer.key, nonce);
    EVP_EncryptUpdate(ctx, NULL, &size, record, 5);
    EVP_EncryptUpdate(ctx, record + 5, &size, plain, (int)n + 1);
    EVP_EncryptFinal_ex(ctx, record + 5 + n + 1, &size);
    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, record + 5 + n + 1);
    EVP_CIPHER_CTX_free(ctx);
    bh_bytes_add(out, bh_slice(record, 5 + n + 1 + 16));
}

/* In groups: OpenSSL itself takes no more than 32 empty records or 4 alerts in a row. */
static void send_empties(struct test_client *c, unsigned count, enum content type, unsigned group) {
    static const char cancelled[] = {1, 90}; /* an alert that means nothing */
    for (unsigned i = 1; i <= count; i++) {
        add_record(&c->wire, type, cancelled, type == ALERT ? 2 : 0);
        if (i % group == 0)
            add_record(&c->wire, DATA, "d", 1);
    }
}

static void records_without_data(enum content type, unsigned group) {
    struct test_client c;
    struct test_owner o;
    open_sealed(&c, &o);
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
    records_without_data(DATA, 30);
    records_without_data(DATA, 1);
}

static void a_flood_of_alerts(void **state) {
    records_without_data(ALERT, 4);
}

/* A record that comes in pieces is not empty: its header is counted before its data. */
static void slow_records_are_no_flood(void **state) {
    struct test_client c;
    struct test_owner o;
    open_sealed(&c, &o);
    c.step = 7;
    for (int i = 0; i < 200; i++) {
        add_record(&c.wire, DATA, "data", 4);
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
