/* tls.h - TLS 1.2 and 1.3 for streams, accepted and connecting (OpenSSL 3).
 *
 * struct bh_tls is what a server answers with: certificates and keys, versions, what it asks of
 * clients. struct bh_tls_connector is what a client trusts, and shows. Both are immutable and
 * atomically ref-counted: made on one thread, used by all. Changed files mean a new object; a
 * connection keeps the one that it began with. The one thing of a server's that changes is the ring
 * of ticket keys, behind a lock that is taken once a handshake; a new object goes on with the ring
 * of its predecessor.
 *
 * A stream that has been given TLS works as before: the handshake runs inside its reading, its
 * outcome is on_writable (once) or on_end. It costs at most a budget of each tick of the loop, so
 * that a storm of handshakes does not stall those who are connected. The owner sets the deadline.
 */
#ifndef BELLHOP_IO_TLS_H
#define BELLHOP_IO_TLS_H

#include "bellhop/io/stream.h"

struct bh_tls; /* opaque */

enum bh_tls_client { BH_TLS_CLIENT_NONE, BH_TLS_CLIENT_OPTIONAL, BH_TLS_CLIENT_REQUIRED };

struct bh_tls_config {
    /* PEM files, leaf first, then the chain. Which one a client gets, the names in the leaves say
     * (SNI against subjectAltName); the first one serves the rest. */
    char *const *certificates;
    size_t certificate_count;
    char *const *keys; /* PEM files, one for each certificate; none: keys are in those files */
    size_t key_count;
    bool only_tls13;
    const char *ciphers; /* for TLS 1.2, in OpenSSL's form; "": ECDHE with AEAD */
    enum bh_tls_client client;
    const char *client_ca;       /* PEM file; needed unless client is NONE */
    uint64_t ticket_lifetime_ms; /* also how often keys rotate; 0: no session tickets */
    /* Files of 48 or 80 random bytes, the first encrypts, the others decrypt: for instances that
     * share sessions. None: random keys, rotated by themselves. */
    char *const *ticket_keys;
    size_t ticket_key_count;
};

/* Reads all files. 0, or BH_EINVAL with *error (bh_free): the file and what is wrong. `previous`
 * may be NULL. Warns about keys that others can read. */
int bh_tls_new(const struct bh_tls_config *config, const struct bh_tls *previous,
               struct bh_tls **out, char **error);
struct bh_tls *bh_tls_ref(struct bh_tls *tls);
void bh_tls_unref(struct bh_tls *tls); /* NULL is allowed */

/* Right after bh_stream_init. early: bytes that were read from the socket before. Reading must be
 * on for the handshake to go on. */
void bh_tls_accept(struct bh_stream *s, struct bh_tls *tls, struct bh_slice early);

struct bh_tls_connector; /* opaque */

struct bh_tls_connector_config {
    const char *ca_file;     /* PEM; NULL or "": the CAs that the system trusts */
    const char *certificate; /* PEM, leaf first, for a server that asks for it; NULL or "": none */
    const char *key;         /* PEM; NULL or "": in the file of the certificate */
};

/* Reads all files. 0, or BH_EINVAL with *error (bh_free): the file and what is wrong. */
int bh_tls_connector_new(const struct bh_tls_connector_config *config,
                         struct bh_tls_connector **out, char **error);
struct bh_tls_connector *bh_tls_connector_ref(struct bh_tls_connector *c);
void bh_tls_connector_unref(struct bh_tls_connector *c); /* NULL is allowed */

/* Right after bh_stream_connect, or right after bh_stream_init with a connected socket. host: the
 * name or the address that the certificate of the server must be good for; a name is also sent
 * (SNI). Reading must be on for the handshake to go on. */
void bh_tls_connect(struct bh_stream *s, struct bh_tls_connector *c, const char *host);
/* Why the TLS of an open stream failed, after on_end with BH_EPROTO: a constant text, such as
 * "hostname mismatch". Never NULL. */
const char *bh_tls_failure(const struct bh_stream *s);

/* Whom one talks to, after the handshake. One heap block, to be freed with bh_free; NULL for a
 * plain stream. */
struct bh_tls_peer {
    struct bh_slice version; /* "TLSv1.3" */
    struct bh_slice cipher;
    struct bh_slice sni;         /* empty: none was named */
    bool verified;               /* a certificate that the CA vouches for */
    struct bh_slice subject;     /* its subject, RFC 2253; empty without one */
    const struct bh_slice *sans; /* "DNS:a.example", "email:a@b", "URI:...", "IP:192.0.2.1" */
    size_t san_count;
};
struct bh_tls_peer *bh_tls_peer(const struct bh_stream *s);

void bh_tls_metrics_register(void);

#endif
