/* The TLS of a server: certificate, version and protocol, and invalid files. */
#include "tls_test.h"

#include <sys/mman.h>

static struct test_cert ca, other, plain;

static int make_all(void **state) {
    static const struct test_san one[] = {{GEN_DNS, "one.example", 0}, {0}};
    static const struct test_san two[] = {
        {GEN_DNS, "two.example", 0}, {GEN_DNS, "*.two.example", 0}, {0}};
    static const struct test_san three[] = {{GEN_DNS, "three.example", 0}, {0}};
    static const struct {
        const char *name;
        const struct test_san *sans;
    } all[] = {{"one", one}, {"two", two}, {"three", three}};
    assert_non_null(mkdtemp(test_folder));
    ca = test_cert_new("The CA", NULL, NULL);
    test_cert_save(&ca, "ca");
    for (int i = 0; i < 3; i++) {
        struct test_cert cert = test_cert_new(all[i].name, all[i].sans, &ca);
        test_cert_save(&cert, all[i].name);
        test_cert_free(&cert);
    }
    other = test_cert_new("other", NULL, NULL);
    test_cert_save(&other, "other");
    plain = test_cert_new("plain", NULL, NULL);
    return 0;
}

static int free_all(void **state) {
    test_cert_free(&ca);
    test_cert_free(&other);
    test_cert_free(&plain);
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

/* Three certificates; the paths stay valid. */
static struct bh_tls_config three_certificates(void) {
    static char *certificates[3], *keys[3];
    static const char *const names[] = {"one", "two", "three"};
    static char paths[6][64];
    for (int i = 0; i < 3; i++) {
        snprintf(certificates[i] = paths[i], 64, "%s/%s.crt", test_folder, names[i]);
        snprintf(keys[i] = paths[i + 3], 64, "%s/%s.key", test_folder, names[i]);
    }
    return (struct bh_tls_config){
        .certificates = certificates, .certificate_count = 3, .keys = keys, .key_count = 3};
}

struct outcome {
    char cn[32];
    char alpn[16];
    char cipher[64];
    int version;
    int ends; /* of the server's stream */
    char sni[64];
};

static struct outcome talk(struct bh_tls *tls, SSL_CTX *ctx, const char *sni,
                           struct bh_slice protocols) {
    int fds[2];
    struct test_client c;
    struct test_owner o;
    struct outcome out = {0};
    const unsigned char *alpn;
    unsigned alpn_len;
    test_tcp_pair(fds);
    test_client_open(&c, ctx, fds[0]);
    if (sni)
        assert_int_equal(SSL_set_tlsext_host_name(c.ssl, sni), 1);
    if (protocols.n)
        SSL_set_alpn_protos(c.ssl, (const unsigned char *)protocols.p, (unsigned)protocols.n);
    test_owner_open(&o, fds[1], tls, bh_slice(NULL, 0));
    test_handshake(&c, &o);
    out.ends = (int)o.ends;
    if (!o.ends) {
        X509 *x = SSL_get1_peer_certificate(c.ssl);
        X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, out.cn, sizeof out.cn);
        X509_free(x);
        SSL_get0_alpn_selected(c.ssl, &alpn, &alpn_len);
        snprintf(out.alpn, sizeof out.alpn, "%.*s", (int)alpn_len, (const char *)alpn);
        out.version = SSL_version(c.ssl);
        snprintf(out.cipher, sizeof out.cipher, "%s", SSL_get_cipher_name(c.ssl));
        struct bh_tls_peer *peer = bh_tls_peer(&o.stream);
        snprintf(out.sni, sizeof out.sni, "%.*s", BH_SLICE_ARG(peer->sni));
        bh_free(peer);
    }
    test_client_close(&c);
    test_owner_close(&o);
    return out;
}

static void the_name_chooses_the_certificate(void **state) {
    static const struct {
        const char *sni, *cn;
    } cases[] = {
        {"one.example", "one"},     {"two.example", "two"},
        {"x.two.example", "two"},   {"X.TWO.example", "two"},
        {"three.example", "three"}, {"x.y.two.example", "one"},
        {"unknown.example", "one"}, {NULL, "one"},
        {"ample", "one"},
    };
    struct bh_tls_config config = three_certificates();
    struct bh_tls *tls = test_tls(&config, NULL);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *ctx = test_client_context(version);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct outcome out = talk(tls, ctx, cases[i].sni, bh_slice(NULL, 0));
            assert_string_equal(out.cn, cases[i].cn);
            assert_string_equal(out.sni, cases[i].sni ? cases[i].sni : "");
            assert_int_equal(out.version, version);
        }
        SSL_CTX_free(ctx);
    }
    bh_tls_unref(tls);
}

/* A ClientHello whose server name has a NUL in it, or has the greatest length. */
static void hostile_names(void **state) {
    struct bh_tls_config config = three_certificates();
    struct bh_tls *tls = test_tls(&config, NULL);
    SSL_CTX *ctx = test_client_context(TLS1_3_VERSION);
    char long_name[256];
    memset(long_name, 'a', 255);
    long_name[255] = '\0';
    assert_string_equal(talk(tls, ctx, long_name, bh_slice(NULL, 0)).cn, "one");

    int fds[2];
    struct test_client c;
    struct test_owner o;
    test_tcp_pair(fds);
    test_client_open(&c, ctx, fds[0]);
    SSL_set_tlsext_host_name(c.ssl, "two.example!evil");
    test_owner_open(&o, fds[1], tls, bh_slice(NULL, 0));
    SSL_do_handshake(c.ssl);
    c.allowed = 0;
    test_client_send(&c);
    char *at = memmem(c.wire.p, c.wire.len, "!evil", 5);
    assert_non_null(at);
    *at = '\0';
    c.allowed = SIZE_MAX;
    for (int i = 0; i < 5; i++) {
        test_client_send(&c);
        bh_loop_tick(loop, false);
    }
    assert_int_equal(o.ends, 1);
    assert_int_equal(o.error, BH_EPROTO);
    test_client_close(&c);
    test_owner_close(&o);
    SSL_CTX_free(ctx);
    bh_tls_unref(tls);
}

static void the_application_protocol(void **state) {
    struct bh_tls_config config = three_certificates();
    struct bh_tls *tls = test_tls(&config, NULL);
    SSL_CTX *ctx = test_client_context(TLS1_3_VERSION);
    struct outcome out = talk(tls, ctx, NULL, BH_SLICE("\x02h2\x08http/1.1"));
    assert_string_equal(out.alpn, "http/1.1");
    out = talk(tls, ctx, NULL, BH_SLICE("\x08http/1.1\x02h2"));
    assert_string_equal(out.alpn, "http/1.1");
    out = talk(tls, ctx, "two.example", BH_SLICE("\x02h2\x08http/1.0"));
    assert_int_equal(out.ends, 0);
    assert_string_equal(out.alpn, "");
    SSL_CTX_free(ctx);
    bh_tls_unref(tls);
}

static void versions_and_ciphers(void **state) {
    struct bh_tls_config config = three_certificates();
    struct bh_tls *tls = test_tls(&config, NULL);
    SSL_CTX *old = test_client_context(TLS1_2_VERSION), *new = test_client_context(TLS1_3_VERSION);
    SSL_CTX *ancient = test_client_context(TLS1_1_VERSION);
    SSL_CTX_set_cipher_list(ancient, "DEFAULT:@SECLEVEL=0");
    assert_int_equal(talk(tls, ancient, NULL, bh_slice(NULL, 0)).ends, 1);
    assert_int_equal(talk(tls, old, NULL, bh_slice(NULL, 0)).ends, 0);
    SSL_CTX_set_cipher_list(old, "ECDHE-ECDSA-AES128-SHA256"); /* CBC */
    assert_int_equal(talk(tls, old, NULL, bh_slice(NULL, 0)).ends, 1);
    bh_tls_unref(tls);

    config.ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384";
    tls = test_tls(&config, NULL);
    SSL_CTX_set_cipher_list(old, "ALL");
    assert_string_equal(talk(tls, old, "two.example", bh_slice(NULL, 0)).cipher,
                        "ECDHE-ECDSA-AES256-GCM-SHA384");
    bh_tls_unref(tls);

    config.only_tls13 = true;
    tls = test_tls(&config, NULL);
    assert_int_equal(talk(tls, old, NULL, bh_slice(NULL, 0)).ends, 1);
    assert_int_equal(talk(tls, new, NULL, bh_slice(NULL, 0)).ends, 0);
    bh_tls_unref(tls);
    SSL_CTX_free(ancient);
    SSL_CTX_free(old);
    SSL_CTX_free(new);
}

/* The chain after the leaf is sent, and keys may be in the certificates' files. */
static void chain_and_key_in_one_file(void **state) {
    struct bh_tls_config config = three_certificates();
    char *all = test_path("all.pem"), command[512];
    snprintf(command, sizeof command,
             "cd %s && cat one.key one.crt ca.crt >all.pem && chmod 600 all.pem", test_folder);
    assert_int_equal(system(command), 0);
    config.certificates = &all;
    config.certificate_count = 1;
    config.key_count = 0;
    struct bh_tls *tls = test_tls(&config, NULL);
    SSL_CTX *ctx = test_client_context(TLS1_3_VERSION);
    int fds[2];
    struct test_client c;
    struct test_owner o;
    test_tcp_pair(fds);
    test_client_open(&c, ctx, fds[0]);
    test_owner_open(&o, fds[1], tls, bh_slice(NULL, 0));
    bh_tls_unref(tls); /* the connection has its own reference */
    test_handshake(&c, &o);
    assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(c.ssl)), 2);
    test_client_close(&c);
    test_owner_close(&o);
    SSL_CTX_free(ctx);
}

/* --- what is wrong --- */

static void expect_error(const struct bh_tls_config *config, const char *part1, const char *part2) {
    struct bh_tls *tls;
    char *error;
    assert_int_equal(bh_tls_new(config, NULL, &tls, &error), BH_EINVAL);
    assert_null(tls);
    assert_non_null(error);
    if (!strstr(error, part1) || !strstr(error, part2))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", error, part1, part2);
    bh_free(error);
}

static void expect_file_error(const char *certificate, const char *key, const char *part1,
                              const char *part2) {
    char *crt = test_path(certificate), *pem = test_path(key);
    struct bh_tls_config config = {
        .certificates = &crt, .certificate_count = 1, .keys = &pem, .key_count = 1};
    expect_error(&config, part1, part2);
}

static void save_encrypted(const struct test_cert *cert, const char *name) {
    FILE *out = fopen(test_path(name), "w");
    assert_int_equal(PEM_write_PrivateKey(out, cert->key, EVP_aes_128_cbc(),
                                          (const unsigned char *)"secret", 6, NULL, NULL),
                     1);
    fclose(out);
}

static void bad_certificates_and_keys(void **state) {
    test_file("empty", "", 0, 0600);
    test_file("garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 58,
              0600);
    test_file("noise", "\x00\x01\x02\xff", 4, 0600);
    save_encrypted(&plain, "encrypted.key");
    expect_file_error("gone.crt", "one.key", "gone.crt: No such file", "");
    expect_file_error("one.crt", "gone.key", "gone.key: No such file", "");
    expect_file_error("empty", "one.key", "empty: no certificate in it", "");
    expect_file_error("noise", "one.key", "noise: no certificate in it", "");
    expect_file_error("one.key", "one.key", "one.key: no certificate in it", "");
    expect_file_error("garbage", "one.key", "garbage: not a usable certificate: ", "");
    expect_file_error("", "one.key", "is a directory", "");
    expect_file_error("one.crt", "empty", "empty: no private key in it", "");
    expect_file_error("one.crt", "one.crt", "one.crt: no private key in it", "");
    expect_file_error("one.crt", "two.key", "two.key: the key does not belong to", "one.crt");
    expect_file_error("one.crt", "encrypted.key", "encrypted.key: the private key is encrypted",
                      "");
}

static void a_certificate_that_is_too_weak(void **state) {
    struct test_cert weak = {X509_dup(plain.x), EVP_RSA_gen(512 * 2)};
    X509_set_pubkey(weak.x, weak.key);
    X509_sign(weak.x, weak.key, EVP_sha256());
    test_cert_save(&weak, "weak");
    test_cert_free(&weak);
    expect_file_error("weak.crt", "weak.key",
                      "weak.crt: not a usable certificate: ", "key too small");
}

static void bad_settings(void **state) {
    struct bh_tls_config config = three_certificates();
    config.ciphers = "NONSENSE";
    expect_error(&config, "ciphers \"NONSENSE\"", "no cipher match");
    config = three_certificates();
    config.key_count = 2;
    expect_error(&config, "3 certificates", "2");
    config.certificate_count = 0;
    expect_error(&config, "no certificate is configured", "");

    config = three_certificates();
    config.client = BH_TLS_CLIENT_OPTIONAL;
    expect_error(&config, "client_ca is not set", "");
    config.client_ca = "";
    expect_error(&config, "client_ca is not set", "");
    config.client_ca = test_path("gone.crt");
    expect_error(&config, "gone.crt: No such file", "");
    config.client_ca = test_file("empty", "", 0, 0600);
    expect_error(&config, "empty: no certificate of a client CA in it", "");
}

static void bad_ticket_files(void **state) {
    static const char bytes[100];
    struct bh_tls_config config = three_certificates();
    char *files[2] = {test_file("good.tickets", bytes, 48, 0600), NULL};
    config.ticket_lifetime_ms = 60000;
    config.ticket_keys = files;
    config.ticket_key_count = 2;
    files[1] = test_file("bad.tickets", bytes, 47, 0600);
    expect_error(&config, "bad.tickets: a ticket key file has 48 or 80 bytes, not 47", "");
    files[1] = test_file("bad.tickets", bytes, 64, 0600);
    expect_error(&config, "bad.tickets", "not 64");
    files[1] = test_file("bad.tickets", bytes, 81, 0600);
    expect_error(&config, "bad.tickets: more than 80 bytes", "");
    files[1] = test_path("gone.tickets");
    expect_error(&config, "gone.tickets: No such file", "");
}

/* The warnings go to stderr, which is a file meanwhile. */
static bool warns_about_mode(mode_t mode) {
    struct bh_tls_config config = three_certificates();
    char text[4096] = "";
    int file = memfd_create("log", 0), saved = dup(STDERR_FILENO);
    assert_int_equal(chmod(config.keys[1], mode), 0);
    dup2(file, STDERR_FILENO);
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
    bh_tls_unref(test_tls(&config, NULL));
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    dup2(saved, STDERR_FILENO);
    assert_true(pread(file, text, sizeof text - 1, 0) >= 0);
    close(file);
    close(saved);
    chmod(config.keys[1], 0600);
    return strstr(text, "two.key") != NULL;
}

static void keys_that_others_can_read(void **state) {
    assert_false(warns_about_mode(0600));
    assert_false(warns_about_mode(0640));
    assert_true(warns_about_mode(0644));
    assert_true(warns_about_mode(0660));
    assert_true(warns_about_mode(0602));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_name_chooses_the_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_names, setup, teardown),
        cmocka_unit_test_setup_teardown(the_application_protocol, setup, teardown),
        cmocka_unit_test_setup_teardown(versions_and_ciphers, setup, teardown),
        cmocka_unit_test_setup_teardown(chain_and_key_in_one_file, setup, teardown),
        cmocka_unit_test(bad_certificates_and_keys),
        cmocka_unit_test(a_certificate_that_is_too_weak),
        cmocka_unit_test(bad_settings),
        cmocka_unit_test(bad_ticket_files),
        cmocka_unit_test(keys_that_others_can_read),
    };
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    return cmocka_run_group_tests(tests, make_all, free_all);
}
