/* tls_test.h - for the tests of TLS: generated certificates, a server side of streams, and a client
 * for which the test controls every byte on the wire. */
#ifndef BELLHOP_TESTS_UNIT_TLS_TEST_H
#define BELLHOP_TESTS_UNIT_TLS_TEST_H

#include "bellhop/base/buf.h"
#include "bellhop/io/tls.h"
#include "io_test.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

/* --- files --- */

/* The template of a folder for mkdtemp; test_make_env makes it. */
extern char test_folder[];
void test_remove_folder(void);
/* The path of a file in it, valid until eight further calls. */
char *test_path(const char *name);
char *test_file(const char *name, const void *p, size_t n, mode_t mode);

/* --- certificates --- */

struct test_cert {
    X509 *x;
    EVP_PKEY *key;
};

struct test_san {
    int type; /* GEN_DNS and so on */
    const char *p;
    int n; /* 0: a string */
};

/* issuer NULL: a self-signed CA. sans may be NULL, else ends with p == NULL. */
struct test_cert test_cert_new(const char *cn, const struct test_san *sans,
                               const struct test_cert *issuer);
void test_cert_free(struct test_cert *c);
/* Writes NAME.crt and NAME.key. */
void test_cert_save(const struct test_cert *c, const char *name);

/* --- the server: streams that keep what they receive --- */

extern struct bh_loop *loop; /* made and freed by test_setup and test_teardown */

struct test_owner {
    struct bh_stream stream;
    struct bh_bytes got;
    struct bh_bytes out; /* to be written; grows by the echo */
    bool echo;
    unsigned writables, ends;
    int error;
    void (*in_writable)(struct test_owner *);
    void (*in_data)(struct test_owner *);
};

extern const struct bh_stream_callbacks test_callbacks;
void test_owner_open(struct test_owner *o, int fd, struct bh_tls *tls, struct bh_slice early);
void test_owner_flush(struct test_owner *o);
void test_owner_close(struct test_owner *o);
ssize_t test_put(struct test_owner *o, const void *p, size_t n);

struct bh_tls *test_tls(const struct bh_tls_config *config, const struct bh_tls *previous);

/* --- the client --- */

struct test_client {
    SSL *ssl;
    BIO *in, *out;
    int fd;
    struct bh_bytes wire; /* ciphertext to be sent */
    size_t step;          /* bytes sent at a time; 0: all */
    size_t allowed;       /* bytes that it may send in total */
    size_t sent;
    bool paused; /* does not read the socket */
    bool eof;
    struct bh_bytes got; /* plaintext */
};

SSL_CTX *test_client_context(int version);
void test_client_open(struct test_client *c, SSL_CTX *ctx, int fd);
void test_client_close(struct test_client *c);
void test_client_send(struct test_client *c);
void test_client_write(struct test_client *c, const void *p, size_t n);

/* One round: the client sends, the loop ticks, the client receives. */
void test_round(struct test_client *c);

#define TEST_ROUNDS 200000

/* Until the condition holds; a test that would hang fails instead. */
#define test_until(client, condition)                                                              \
    do {                                                                                           \
        int rounds_here = 0;                                                                       \
        while (!(condition) && rounds_here++ < TEST_ROUNDS)                                        \
            test_round(client);                                                                    \
        assert_true(condition);                                                                    \
    } while (0)

void test_handshake(struct test_client *c, struct test_owner *o);
/* One more round trip, which also brings the tickets of TLS 1.3. */
void test_ping(struct test_client *c, struct test_owner *o);

/* --- one server, clients of both versions --- */

struct test_env {
    struct bh_tls *tls;
    SSL_CTX *contexts[2]; /* TLS 1.2 and 1.3 */
};
extern struct test_env test_env;

/* Of a group, and of a test. */
int test_make_env(void **state);
int test_free_env(void **state);
int test_setup(void **state);
int test_teardown(void **state);

void test_open_pair(int version, struct test_client *c, struct test_owner *o);
/* The same, with the handshake done. */
void test_open_established(int version, struct test_client *c, struct test_owner *o);
void test_close_pair(struct test_client *c, struct test_owner *o);

/* Random bytes. */
void test_noise(unsigned char *p, size_t n);
size_t test_least(size_t a, size_t b);

#endif
