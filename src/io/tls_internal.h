/* tls_internal.h - shared by src/io/tls*.c: the configuration of a server, the state of one
 * connection, the ring of ticket keys. */
#ifndef BELLHOP_SRC_IO_TLS_INTERNAL_H
#define BELLHOP_SRC_IO_TLS_INTERNAL_H

#include "bellhop/base/buf.h"
#include "bellhop/io/tls.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

struct bh_tls_ring;

/* For both sides: the ciphers are Mozilla's "intermediate" ones without finite-field
 * Diffie-Hellman. */
#define BH_TLS_CA_MAX (4 << 20) /* bytes of a file of CAs */
#define BH_TLS_GROUPS "X25519:P-256:P-384"
#define BH_TLS_CIPHERS                                                                             \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

struct bh_tls {
    atomic_uint refs;
    SSL_CTX **contexts; /* one for each certificate; a connection begins with the first */
    size_t count;
    struct bh_tls_ring *ring; /* NULL: no session tickets */
};

/* Behind bh_stream.tls. It refers to the socket and the loop but not to the stream, so it may move
 * to another stream. */
struct bh_tls_conn {
    SSL *ssl;    /* NULL: no memory */
    void *owner; /* the object it was made with; `release` drops that reference */
    void (*release)(struct bh_tls_conn *c);
    struct bh_loop *loop;
    int fd;
    int outcome;             /* the result of reading from now on, if `over` */
    const unsigned char *in; /* the current ciphertext, inside of an operation only */
    size_t in_left;
    struct bh_bytes early;   /* ciphertext to read before that of the socket */
    struct bh_bytes pending; /* ciphertext that the kernel has not taken yet */
    uint32_t no_plaintext;   /* consecutive bytes of ciphertext without plaintext */
    uint32_t records;        /* received */
    uint32_t key_updates;    /* received since `counted_ms` */
    uint32_t empty_records;  /* the same: those without data */
    uint64_t counted_ms;
    const char *failure; /* why TLS failed; NULL: it did not */
    bool client;         /* we connected */
    bool first;          /* we have to send first, and have not */
    bool begun;          /* the peer has sent something */
    bool established;
    bool over;    /* no more reading */
    bool broken;  /* no more writing */
    bool held;    /* one byte is in `pending` but not reported as taken */
    bool fin_due; /* FIN follows `pending` */
};

/* --- tls_error.c --- */

/* OpenSSL's text for the first error in its queue, which is empty afterwards. */
const char *bh_tls_reason(void);

/* --- tls_stream.c --- */

/* Makes TLS the transport of a stream. Takes over ssl, which has its side set (NULL: no memory).
 * The caller sets `owner` and `release`, a client also `client`. */
struct bh_tls_conn *bh_tls_transport(struct bh_stream *s, SSL *ssl, struct bh_slice early);

/* --- tls_files.c: each returns 0 or BH_EINVAL with *error --- */

/* A whole file of at most `max` bytes, to `out` (bh_bytes_free, also after a failure). */
int bh_tls_read_file(const char *path, size_t max, struct bh_bytes *out, char **error);
void bh_tls_warn_if_exposed(const char *path);
int bh_tls_load_pair(SSL_CTX *ctx, const char *certificate, const char *key, char **error);

/* --- tls_tickets.c --- */

/* The ring for a new object: that of its predecessor (may be NULL), or fresh, or from files. */
int bh_tls_ring_new(const struct bh_tls_config *config, struct bh_tls_ring *previous,
                    struct bh_tls_ring **out, char **error);
void bh_tls_ring_unref(struct bh_tls_ring *ring); /* NULL is allowed */
void bh_tls_ring_attach(struct bh_tls_ring *ring, SSL_CTX *ctx);

#endif
