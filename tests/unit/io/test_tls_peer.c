/* The TLS peer: client certificates that are requested or not, present or not, valid or not, and
 * what is reported about them. */
#include "tls_test.h"

static struct test_cert server_ca, client_ca, other_ca, client, hostile, stranger;
static char *certificate, *key;
static char client_ca_file[64], other_ca_file[64];

static int make_all(void **state) {
    static const struct test_san sans[] = {
        {GEN_DNS, "device.example", 0},
        {GEN_EMAIL, "a@b.example", 0},
        {GEN_URI, "spiffe://example/device", 0},
        {GEN_IPADD, "\xc0\x00\x02\x01", 4},
        {GEN_IPADD, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16},
        {0}};
    static struct test_san many[105] = {{GEN_DNS, "good.example\0.evil", 18},
                                        {GEN_DNS, "two\nlines", 0},
                                        {GEN_URI,
                                         "sm\xc3\xb8rrebr\xc3\xb8"
                                         "d",
                                         0},
                                        {GEN_IPADD, "\x01\x02\x03", 3}};
    static char long_name[1100];
    memset(long_name, 'x', sizeof long_name - 1);
    many[4] = (struct test_san){GEN_DNS, long_name, 0};
    for (int i = 5; i < 104; i++)
        many[i] = (struct test_san){GEN_DNS, "fine.example", 0};
    assert_non_null(mkdtemp(test_folder));
    server_ca = test_cert_new("localhost", NULL, NULL);
    test_cert_save(&server_ca, "server");
    client_ca = test_cert_new("Client CA", NULL, NULL);
    test_cert_save(&client_ca, "client_ca");
    other_ca = test_cert_new("Other CA", NULL, NULL);
    test_cert_save(&other_ca, "other_ca");
    client = test_cert_new("J\xc3\xbcrgen, \"x\"\n", sans, &client_ca);
    hostile = test_cert_new("hostile", many, &client_ca);
    stranger = test_cert_new("stranger", NULL, &other_ca);
    certificate = bh_strdup(test_path("server.crt"));
    key = bh_strdup(test_path("server.key"));
    snprintf(client_ca_file, sizeof client_ca_file, "%s", test_path("client_ca.crt"));
    snprintf(other_ca_file, sizeof other_ca_file, "%s", test_path("other_ca.crt"));
    return 0;
}

static int free_all(void **state) {
    struct test_cert *all[] = {&server_ca, &client_ca, &other_ca, &client, &hostile, &stranger};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        test_cert_free(all[i]);
    bh_free(certificate);
    bh_free(key);
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

static struct bh_tls *server(enum bh_tls_client mode, const char *ca, const struct bh_tls *before) {
    struct bh_tls_config config = {.certificates = &certificate,
                                   .certificate_count = 1,
                                   .keys = &key,
                                   .key_count = 1,
                                   .client = mode,
                                   .client_ca = mode == BH_TLS_CLIENT_NONE ? "" : ca,
                                   .ticket_lifetime_ms = 60000};
    return test_tls(&config, before);
}

/* A whole conversation. NULL: the server refused. *session: resumed if set, replaced by the new. */
static struct bh_tls_peer *talk(struct bh_tls *tls, int version, const struct test_cert *mine,
                                SSL_SESSION **session, bool *reused) {
    int fds[2];
    struct test_client c;
    struct test_owner o;
    SSL_CTX *ctx = test_client_context(version);
    test_tcp_pair(fds);
    test_client_open(&c, ctx, fds[0]);
    if (mine) {
        SSL_use_certificate(c.ssl, mine->x);
        SSL_use_PrivateKey(c.ssl, mine->key);
    }
    if (session && *session)
        SSL_set_session(c.ssl, *session);
    test_owner_open(&o, fds[1], tls, bh_slice(NULL, 0));
    assert_null(bh_tls_peer(&o.stream));
    test_until(&c, o.ends || o.writables);
    struct bh_tls_peer *peer = bh_tls_peer(&o.stream);
    if (o.ends) {
        assert_int_equal(o.error, BH_EPROTO);
        assert_int_equal(o.writables, 0);
        assert_null(peer);
    } else if (session) {
        test_ping(&c, &o);
        *reused = SSL_session_reused(c.ssl);
        SSL_SESSION_free(*session);
        *session = SSL_get1_session(c.ssl);
    }
    test_client_close(&c);
    test_owner_close(&o);
    SSL_CTX_free(ctx);
    return peer;
}

static bool is_let_in(enum bh_tls_client mode, int version, const struct test_cert *mine,
                      bool *verified) {
    struct bh_tls *tls = server(mode, client_ca_file, NULL);
    struct bh_tls_peer *peer = talk(tls, version, mine, NULL, NULL);
    bh_tls_unref(tls);
    *verified = peer && peer->verified;
    if (peer)
        assert_int_equal(peer->subject.n > 0, peer->verified);
    bh_free(peer);
    return peer != NULL;
}

static void who_is_let_in(void **state) {
    static const struct {
        enum bh_tls_client mode;
        const struct test_cert *mine;
        bool in, verified;
    } cases[] = {
        {BH_TLS_CLIENT_NONE, NULL, true, false},
        {BH_TLS_CLIENT_NONE, &client, true, false},
        {BH_TLS_CLIENT_OPTIONAL, NULL, true, false},
        {BH_TLS_CLIENT_OPTIONAL, &client, true, true},
        {BH_TLS_CLIENT_OPTIONAL, &stranger, false, false},
        {BH_TLS_CLIENT_REQUIRED, NULL, false, false},
        {BH_TLS_CLIENT_REQUIRED, &client, true, true},
        {BH_TLS_CLIENT_REQUIRED, &stranger, false, false},
    };
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            bool verified;
            assert_int_equal(is_let_in(cases[i].mode, version, cases[i].mine, &verified),
                             cases[i].in);
            assert_int_equal(verified, cases[i].verified);
        }
}

static void assert_text(struct bh_slice s, const char *text) {
    if (!bh_slice_eq(s, bh_slice_cstr(text)))
        fail_msg("\"%.*s\" is not \"%s\"", BH_SLICE_ARG(s), text);
}

static void what_is_told(void **state) {
    static const char *const sans[] = {"DNS:device.example", "email:a@b.example",
                                       "URI:spiffe://example/device", "IP:192.0.2.1",
                                       "IP:2001:db8::1"};
    struct bh_tls *tls = server(BH_TLS_CLIENT_REQUIRED, client_ca_file, NULL);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        struct bh_tls_peer *peer = talk(tls, version, &client, NULL, NULL);
        assert_non_null(peer);
        assert_text(peer->version, version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
        assert_true(peer->cipher.n > 10);
        assert_text(peer->sni, "");
        assert_true(peer->verified);
        assert_text(peer->subject, "CN=J\\C3\\BCrgen\\, \\\"x\\\"\\0A,O=Tests");
        assert_int_equal(peer->san_count, 5);
        for (int i = 0; i < 5; i++)
            assert_text(peer->sans[i], sans[i]);
        bh_free(peer);
    }
    bh_tls_unref(tls);
}

static void hostile_names_are_left_out(void **state) {
    struct bh_tls *tls = server(BH_TLS_CLIENT_REQUIRED, client_ca_file, NULL);
    struct bh_tls_peer *peer = talk(tls, TLS1_3_VERSION, &hostile, NULL, NULL);
    assert_non_null(peer);
    assert_int_equal(peer->san_count, 64);
    for (size_t i = 0; i < peer->san_count; i++)
        assert_text(peer->sans[i], "DNS:fine.example");
    bh_free(peer);
    bh_tls_unref(tls);
}

static void nothing_to_tell(void **state) {
    int fds[2];
    struct test_owner o = {0};
    test_unix_pair(fds);
    bh_stream_init(&o.stream, loop, fds[1], &test_callbacks);
    assert_null(bh_tls_peer(&o.stream));
    bh_stream_close(&o.stream);
    assert_null(bh_tls_peer(&o.stream));
    close(fds[0]);
}

static void a_resumed_session_is_still_verified(void **state) {
    struct bh_tls *tls = server(BH_TLS_CLIENT_REQUIRED, client_ca_file, NULL);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_SESSION *session = NULL;
        bool reused;
        bh_free(talk(tls, version, &client, &session, &reused));
        assert_false(reused);
        for (int i = 0; i < 2; i++) {
            struct bh_tls_peer *peer = talk(tls, version, NULL, &session, &reused);
            assert_true(reused);
            assert_non_null(peer);
            assert_true(peer->verified);
            assert_int_equal(peer->san_count, 5);
            assert_text(peer->sans[0], "DNS:device.example");
            bh_free(peer);
        }
        SSL_SESSION_free(session);
    }
    bh_tls_unref(tls);
}

/* A ticket must not carry the trust in an old client_ca past a change of it. */
static void another_client_ca_ends_old_sessions(void **state) {
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_SESSION *session = NULL;
        bool reused;
        struct bh_tls *tls = server(BH_TLS_CLIENT_OPTIONAL, client_ca_file, NULL);
        bh_free(talk(tls, version, &client, &session, &reused));
        struct bh_tls *next = server(BH_TLS_CLIENT_OPTIONAL, other_ca_file, tls);
        bh_tls_unref(tls);
        struct bh_tls_peer *peer = talk(next, version, NULL, &session, &reused);
        assert_false(reused);
        assert_non_null(peer);
        assert_false(peer->verified);
        assert_int_equal(peer->subject.n, 0);
        bh_free(peer);
        bh_tls_unref(next);
        SSL_SESSION_free(session);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(who_is_let_in, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_names_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_to_tell, setup, teardown),
        cmocka_unit_test_setup_teardown(a_resumed_session_is_still_verified, setup, teardown),
        cmocka_unit_test_setup_teardown(another_client_ca_ends_old_sessions, setup, teardown),
    };
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    return cmocka_run_group_tests(tests, make_all, free_all);
}
