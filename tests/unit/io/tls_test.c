#include "tls_test.h"

#include <openssl/pem.h>

/* --- files --- */

char test_folder[] = "/tmp/bellhop-tls-XXXXXX";

char *test_path(const char *name) {
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", test_folder, name);
    return path;
}

char *test_file(const char *name, const void *p, size_t n, mode_t mode) {
    char *path = test_path(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(p, 1, n, file), n);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

void test_remove_folder(void) {
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", test_folder);
    assert_int_equal(system(command), 0);
}

/* --- certificates --- */

static void test_add_sans(X509 *x, const struct test_san *sans) {
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    for (; sans->p; sans++) {
        GENERAL_NAME *name = GENERAL_NAME_new();
        ASN1_STRING *value =
            ASN1_STRING_type_new(sans->type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
        ASN1_STRING_set(value, sans->p, sans->n ? sans->n : (int)strlen(sans->p));
        GENERAL_NAME_set0_value(name, sans->type, value);
        sk_GENERAL_NAME_push(names, name);
    }
    assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, 0), 1);
    GENERAL_NAMES_free(names);
}

struct test_cert test_cert_new(const char *cn, const struct test_san *sans,
                               const struct test_cert *issuer) {
    static long serial;
    struct test_cert c = {X509_new(), EVP_EC_gen("P-256")};
    X509_NAME *subject = X509_NAME_new();
    X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"Tests", -1, -1,
                               0);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
    X509_set_version(c.x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(c.x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c.x), 3600);
    X509_set_subject_name(c.x, subject);
    X509_set_issuer_name(c.x, issuer ? X509_get_subject_name(issuer->x) : subject);
    X509_set_pubkey(c.x, c.key);
    BASIC_CONSTRAINTS basic = {.ca = issuer ? 0 : 0xff};
    X509_add1_ext_i2d(c.x, NID_basic_constraints, &basic, 1, 0);
    if (sans)
        test_add_sans(c.x, sans);
    assert_true(X509_sign(c.x, issuer ? issuer->key : c.key, EVP_sha256()) > 0);
    X509_NAME_free(subject);
    return c;
}

void test_cert_free(struct test_cert *c) {
    X509_free(c->x);
    EVP_PKEY_free(c->key);
}

void test_cert_save(const struct test_cert *c, const char *name) {
    char file[64];
    snprintf(file, sizeof file, "%s.crt", name);
    FILE *out = fopen(test_path(file), "w");
    assert_int_equal(PEM_write_X509(out, c->x), 1);
    fclose(out);
    snprintf(file, sizeof file, "%s.key", name);
    out = fopen(test_path(file), "w");
    assert_int_equal(PEM_write_PrivateKey(out, c->key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(out);
    chmod(test_path(file), 0600);
}

/* --- the server: streams that keep what they get --- */

struct bh_loop *loop;

void test_owner_flush(struct test_owner *o) {
    while (o->out.len) {
        struct iovec iov[2] = {{o->out.p, o->out.len / 2},
                               {o->out.p + o->out.len / 2, o->out.len - o->out.len / 2}};
        ssize_t n = bh_stream_write(&o->stream, iov, 2);
        if (n <= 0) {
            if (n == BH_EAGAIN)
                bh_stream_want_write(&o->stream);
            return;
        }
        bh_bytes_consume(&o->out, (size_t)n);
    }
}

static void test_on_data(struct bh_stream *s, unsigned char *data, size_t n) {
    struct test_owner *o = BH_CONTAINER_OF(s, struct test_owner, stream);
    assert_true(bh_stream_is_open(s) && s->reading);
    assert_int_equal(o->ends, 0);
    assert_int_equal(s->handshaking, 0);
    assert_true(o->writables > 0);
    bh_bytes_add(o->echo ? &o->out : &o->got, bh_slice(data, n));
    memset(data, 0xee, n);
    if (o->in_data)
        o->in_data(o);
    if (o->echo)
        test_owner_flush(o);
}

static void test_on_end(struct bh_stream *s, int error) {
    struct test_owner *o = BH_CONTAINER_OF(s, struct test_owner, stream);
    o->ends++;
    o->error = error;
}

static void test_on_writable(struct bh_stream *s) {
    struct test_owner *o = BH_CONTAINER_OF(s, struct test_owner, stream);
    o->writables++;
    if (o->in_writable)
        o->in_writable(o);
    if (bh_stream_is_open(s))
        test_owner_flush(o);
}

static void test_on_turn(struct bh_stream *s) {}

const struct bh_stream_callbacks test_callbacks = {test_on_data, test_on_end, test_on_writable,
                                                   test_on_turn};

void test_owner_open(struct test_owner *o, int fd, struct bh_tls *tls, struct bh_slice early) {
    *o = (struct test_owner){0};
    bh_stream_init(&o->stream, loop, fd, &test_callbacks);
    bh_tls_accept(&o->stream, tls, early);
    bh_stream_read(&o->stream, true);
}

void test_owner_close(struct test_owner *o) {
    bh_stream_close(&o->stream);
    bh_bytes_free(&o->got);
    bh_bytes_free(&o->out);
}

struct bh_tls *test_tls(const struct bh_tls_config *config, const struct bh_tls *previous) {
    struct bh_tls *tls;
    char *error;
    int result = bh_tls_new(config, previous, &tls, &error);
    if (result != 0)
        fail_msg("bh_tls_new: %s", error);
    return tls;
}

/* --- the client --- */

SSL_CTX *test_client_context(int version) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    return ctx;
}

void test_client_open(struct test_client *c, SSL_CTX *ctx, int fd) {
    *c = (struct test_client){.ssl = SSL_new(ctx), .fd = fd, .allowed = SIZE_MAX};
    c->in = BIO_new(BIO_s_mem());
    c->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(c->in, -1);
    SSL_set_bio(c->ssl, c->in, c->out);
    SSL_set_connect_state(c->ssl);
}

void test_client_close(struct test_client *c) {
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN); /* otherwise its session is not reusable */
    SSL_free(c->ssl);
    close(c->fd);
    bh_bytes_free(&c->wire);
    bh_bytes_free(&c->got);
}

size_t test_least(size_t a, size_t b) {
    return a < b ? a : b;
}

void test_client_send(struct test_client *c) {
    char block[65536];
    int n;
    while ((n = BIO_read(c->out, block, sizeof block)) > 0)
        bh_bytes_add(&c->wire, bh_slice(block, (size_t)n));
    size_t most = test_least(c->wire.len, c->allowed - c->sent);
    if (c->step)
        most = test_least(most, c->step);
    ssize_t put = most ? send(c->fd, c->wire.p, most, MSG_NOSIGNAL) : 0;
    if (put > 0) {
        c->sent += (size_t)put;
        bh_bytes_consume(&c->wire, (size_t)put);
    }
}

static void test_client_receive(struct test_client *c) {
    char block[65536];
    size_t n;
    ssize_t got;
    while (!c->paused && (got = recv(c->fd, block, sizeof block, 0)) >= 0 && !c->eof) {
        c->eof = got == 0;
        BIO_write(c->in, block, (int)got);
    }
    while (SSL_is_init_finished(c->ssl) && SSL_read_ex(c->ssl, block, sizeof block, &n))
        bh_bytes_add(&c->got, bh_slice(block, n));
}

void test_round(struct test_client *c) {
    if (!SSL_is_init_finished(c->ssl))
        SSL_do_handshake(c->ssl);
    test_client_send(c);
    bh_loop_tick(loop, false);
    test_client_receive(c);
}

void test_handshake(struct test_client *c, struct test_owner *o) {
    test_until(c, o->ends || (SSL_is_init_finished(c->ssl) && o->writables));
}

void test_client_write(struct test_client *c, const void *p, size_t n) {
    size_t written;
    assert_int_equal(SSL_write_ex(c->ssl, p, n, &written), 1);
    assert_int_equal(written, n);
}

void test_ping(struct test_client *c, struct test_owner *o) {
    size_t before = o->got.len;
    test_client_write(c, "ping", 4);
    test_until(c, o->got.len == before + 4);
    for (int i = 0; i < 3; i++)
        test_round(c);
}

/* --- one server, clients of both versions --- */

struct test_env test_env;

int test_make_env(void **state) {
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
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
    test_env.tls = test_tls(&config, NULL);
    for (int i = 0; i < 2; i++)
        test_env.contexts[i] = test_client_context(versions[i]);
    return 0;
}

int test_free_env(void **state) {
    bh_tls_unref(test_env.tls);
    for (int i = 0; i < 2; i++)
        SSL_CTX_free(test_env.contexts[i]);
    test_remove_folder();
    return 0;
}

int test_setup(void **state) {
    loop = bh_loop_new();
    return 0;
}

int test_teardown(void **state) {
    bh_loop_free(loop);
    return 0;
}

void test_open_pair(int version, struct test_client *c, struct test_owner *o) {
    int fds[2];
    test_tcp_pair(fds);
    test_client_open(c, test_env.contexts[version], fds[0]);
    test_owner_open(o, fds[1], test_env.tls, bh_slice(NULL, 0));
}

void test_open_established(int version, struct test_client *c, struct test_owner *o) {
    test_open_pair(version, c, o);
    test_handshake(c, o);
    assert_int_equal(o->ends, 0);
    assert_int_equal(o->writables, 1);
}

void test_close_pair(struct test_client *c, struct test_owner *o) {
    test_client_close(c);
    test_owner_close(o);
}

ssize_t test_put(struct test_owner *o, const void *p, size_t n) {
    struct iovec iov = {(void *)p, n};
    return bh_stream_write(&o->stream, &iov, 1);
}

void test_noise(unsigned char *p, size_t n) {
    static uint64_t seed = 5;
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)test_random_from(&seed);
}
