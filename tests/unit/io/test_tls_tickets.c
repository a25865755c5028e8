/* Session tickets: resumption, rotation by the clock, what survives a new object, keys in files. */
#include "tls_test.h"

static char *certificate, *key;

static int make_all(void **state) {
    assert_non_null(mkdtemp(test_folder));
    struct test_cert cert = test_cert_new("localhost", NULL, NULL);
    test_cert_save(&cert, "a");
    test_cert_free(&cert);
    certificate = bh_strdup(test_path("a.crt"));
    key = bh_strdup(test_path("a.key"));
    return 0;
}

static int free_all(void **state) {
    bh_free(certificate);
    bh_free(key);
    test_remove_folder();
    return 0;
}

#define LIFETIME 600000

static int setup(void **state) {
    bh_clock_fake(1000000, 0);
    loop = bh_loop_new();
    return 0;
}

static int teardown(void **state) {
    bh_loop_free(loop);
    bh_clock_real();
    return 0;
}

static struct bh_tls *server(uint64_t lifetime_ms, char *const *files, size_t file_count,
                             const struct bh_tls *previous) {
    struct bh_tls_config config = {.certificates = &certificate,
                                   .certificate_count = 1,
                                   .keys = &key,
                                   .key_count = 1,
                                   .ticket_lifetime_ms = lifetime_ms,
                                   .ticket_keys = files,
                                   .ticket_key_count = file_count};
    return test_tls(&config, previous);
}

/* A conversation with *session, if any, replaced by what it brings; whether it was resumed. */
static bool resumes(struct bh_tls *tls, int version, SSL_SESSION **session) {
    int fds[2];
    struct test_client c;
    struct test_owner o;
    SSL_CTX *ctx = test_client_context(version);
    test_tcp_pair(fds);
    test_client_open(&c, ctx, fds[0]);
    if (*session)
        SSL_set_session(c.ssl, *session);
    test_owner_open(&o, fds[1], tls, bh_slice(NULL, 0));
    test_handshake(&c, &o);
    assert_int_equal(o.ends, 0);
    test_ping(&c, &o);
    bool reused = SSL_session_reused(c.ssl);
    SSL_SESSION_free(*session);
    *session = SSL_get1_session(c.ssl);
    test_client_close(&c);
    test_owner_close(&o);
    SSL_CTX_free(ctx);
    return reused;
}

/* The same, and *session stays as it is. */
static bool still_resumes(struct bh_tls *tls, int version, SSL_SESSION *session) {
    SSL_SESSION *copy = SSL_SESSION_dup(session);
    bool reused = resumes(tls, version, &copy);
    SSL_SESSION_free(copy);
    return reused;
}

static void each_version(void (*test)(int version)) {
    test(TLS1_2_VERSION);
    test(TLS1_3_VERSION);
}

static void name_of(const SSL_SESSION *session, unsigned char out[16]) {
    const unsigned char *ticket;
    size_t n;
    SSL_SESSION_get0_ticket(session, &ticket, &n);
    assert_true(n > 16);
    memcpy(out, ticket, 16);
}

static void rotate(int version) {
    unsigned char before[16], after[16];
    struct bh_tls *tls = server(LIFETIME, NULL, 0, NULL);
    SSL_SESSION *session = NULL, *old;
    assert_false(resumes(tls, version, &session));
    assert_true(resumes(tls, version, &session));
    name_of(session, before);
    old = SSL_SESSION_dup(session);

    bh_clock_fake_advance(LIFETIME);
    assert_true(resumes(tls, version, &session)); /* and gets a ticket under the new key */
    name_of(session, after);
    assert_memory_not_equal(before, after, 16);
    assert_true(still_resumes(tls, version, old));

    bh_clock_fake_advance(LIFETIME);
    assert_false(still_resumes(tls, version, old));
    assert_true(resumes(tls, version, &session));

    bh_clock_fake_advance(2 * LIFETIME); /* no connection meanwhile: both keys are too old */
    assert_false(resumes(tls, version, &session));
    SSL_SESSION_free(session);
    SSL_SESSION_free(old);
    bh_tls_unref(tls);
}

static void keys_rotate_with_the_clock(void **state) {
    each_version(rotate);
}

static void reload(int version) {
    SSL_SESSION *session = NULL;
    struct bh_tls *old = server(LIFETIME, NULL, 0, NULL);
    assert_false(resumes(old, version, &session));
    struct bh_tls *stranger = server(LIFETIME, NULL, 0, NULL);
    assert_false(still_resumes(stranger, version, session));
    bh_tls_unref(stranger);
    struct bh_tls *next = server(2 * LIFETIME, NULL, 0, old);
    assert_true(still_resumes(next, version, session));
    bh_tls_unref(old);
    assert_true(still_resumes(next, version, session));
    bh_clock_fake_advance(3 * LIFETIME); /* the new lifetime counts */
    assert_true(still_resumes(next, version, session));
    bh_tls_unref(next);
    SSL_SESSION_free(session);
}

static void a_new_object_goes_on_with_the_ring(void **state) {
    each_version(reload);
}

static void none(int version) {
    SSL_SESSION *session = NULL;
    struct bh_tls *with = server(LIFETIME, NULL, 0, NULL);
    struct bh_tls *without = server(0, NULL, 0, with);
    assert_false(resumes(with, version, &session));
    assert_false(still_resumes(without, version, session));
    SSL_SESSION_free(session);
    session = NULL;
    assert_false(resumes(without, version, &session));
    assert_false(SSL_SESSION_has_ticket(session));
    assert_false(resumes(without, version, &session));
    SSL_SESSION_free(session);
    struct bh_tls *again = server(LIFETIME, NULL, 0, without);
    bh_tls_unref(again);
    bh_tls_unref(with);
    bh_tls_unref(without);
}

static void without_tickets_nothing_is_resumed(void **state) {
    each_version(none);
}

static void files(int version) {
    char bytes[3][80], *paths[3];
    uint64_t seed = 1;
    for (int i = 0; i < 240; i++)
        bytes[i / 80][i % 80] = (char)test_random_from(&seed);
    paths[0] = test_file("0.tickets", bytes[0], 80, 0600);
    paths[1] = test_file("1.tickets", bytes[1], 48, 0600);
    paths[2] = test_file("2.tickets", bytes[2], 80, 0600);
    for (int first = 0; first < 2; first++) {
        SSL_SESSION *session = NULL;
        unsigned char name[16];
        struct bh_tls *one = server(LIFETIME, paths + first, 1, NULL);
        struct bh_tls *same = server(LIFETIME, paths + first, 1, NULL);
        struct bh_tls *other = server(LIFETIME, paths + 2, 1, NULL);
        char *both[] = {paths[2], paths[first]};
        struct bh_tls *next = server(LIFETIME, both, 2, one);
        assert_false(resumes(one, version, &session));
        name_of(session, name);
        assert_memory_equal(name, bytes[first], 16);
        assert_true(still_resumes(same, version, session));
        assert_false(still_resumes(other, version, session));
        bh_clock_fake_advance(10 * LIFETIME); /* files rotate by their owner's hand */
        assert_true(resumes(next, version, &session));
        name_of(session, name);
        assert_memory_equal(name, bytes[2], 16); /* renewed under the first */
        assert_true(still_resumes(other, version, session));
        struct bh_tls *fresh = server(LIFETIME, NULL, 0, next);
        assert_false(still_resumes(fresh, version, session));
        SSL_SESSION_free(session);
        bh_tls_unref(fresh);
        bh_tls_unref(one);
        bh_tls_unref(same);
        bh_tls_unref(other);
        bh_tls_unref(next);
    }
}

static void keys_in_files(void **state) {
    each_version(files);
}

static void bend(int version) {
    struct bh_tls *tls = server(LIFETIME, NULL, 0, NULL);
    SSL_SESSION *session = NULL;
    assert_false(resumes(tls, version, &session));
    unsigned char *der = NULL;
    int n = i2d_SSL_SESSION(session, &der);
    const unsigned char *ticket, *p = der;
    size_t ticket_len;
    SSL_SESSION_get0_ticket(session, &ticket, &ticket_len);
    unsigned char *at = memmem(der, (size_t)n, ticket, ticket_len);
    assert_non_null(at);
    for (size_t i = 0; i < ticket_len; i += 13) {
        at[i] ^= 1;
        p = der;
        SSL_SESSION *bent = d2i_SSL_SESSION(NULL, &p, n);
        assert_non_null(bent);
        assert_false(resumes(tls, version, &bent)); /* a full handshake, nothing worse */
        SSL_SESSION_free(bent);
        at[i] ^= 1;
    }
    OPENSSL_free(der);
    SSL_SESSION_free(session);
    bh_tls_unref(tls);
}

static void bent_tickets(void **state) {
    each_version(bend);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_rotate_with_the_clock, setup, teardown),
        cmocka_unit_test_setup_teardown(a_new_object_goes_on_with_the_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(without_tickets_nothing_is_resumed, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_in_files, setup, teardown),
        cmocka_unit_test_setup_teardown(bent_tickets, setup, teardown),
    };
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    return cmocka_run_group_tests(tests, make_all, free_all);
}
