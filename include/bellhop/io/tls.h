/* tls.h - TLS 1.2 and 1.3 for streams, accepted and connecting (OpenSSL 3).
 *
 * struct bh_tls is the configuration of a server: certificates and keys, versions, what it requires
 * of clients. struct bh_tls_connector is that of a client: which CAs it trusts, and its own
 * certificate. Both are immutable and atomically ref-counted: made on one thread, used by all. When
 * files change, a new object is made; a connection keeps the object that it began with. Only a
 * server's ring of ticket keys changes, under a lock that is taken once per handshake; a new object
 * shares the ring of its predecessor.
 *
 * A stream with TLS works like a plain one. The handshake runs while it reads and ends with
 * on_writable (once) or on_end. Handshakes have a time budget per tick, so that a burst of them
 * does not stall the open connections. The owner sets the deadline. */
#ifndef BELLHOP_IO_TLS_H
#define BELLHOP_IO_TLS_H

#include "bellhop/io/stream.h"

struct bh_tls; /* opaque */

enum bh_tls_client { BH_TLS_CLIENT_NONE, BH_TLS_CLIENT_OPTIONAL, BH_TLS_CLIENT_REQUIRED };

struct bh_tls_config {
    /* PEM files, leaf first, then the chain. A client gets the one whose subjectAltName matches its
     * SNI, otherwise the first. */
    char *const *certificates;
    size_t certificate_count;
    char *const *keys; /* PEM files, one for each certificate; none: keys are in those files */
    size_t key_count;
    bool only_tls13;
    const char *ciphers; /* for TLS 1.2, in OpenSSL's form; "": ECDHE with AEAD */
    enum bh_tls_client client;
    const char *client_ca;       /* PEM file; needed unless client is NONE */
    uint64_t ticket_lifetime_ms; /* also how often keys rotate; 0: no session tickets */
    /* Files of 48 or 80 random bytes: the first encrypts, the others only decrypt. For instances
     * that share sessions. None: random keys, rotated automatically. */
    char *const *ticket_keys;
    size_t ticket_key_count;
};

/* Reads all files. 0, or BH_EINVAL with *error (bh_free): the file and what is wrong with it.
 * `previous` may be NULL. Logs a warning about keys that other users can read. */
int bh_tls_new(const struct bh_tls_config *config, const struct bh_tls *previous,
               struct bh_tls **out, char **error);
struct bh_tls *bh_tls_ref(struct bh_tls *tls);
void bh_tls_unref(struct bh_tls *tls); /* NULL is allowed */

/* Right after bh_stream_init. early: bytes that were already read from the socket. Reading must be
 * on for the handshake to proceed. */
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
 * name or address that the certificate of the server must be valid for; a name is also sent (SNI).
 * Reading must be on for the handshake to proceed. */
void bh_tls_connect(struct bh_stream *s, struct bh_tls_connector *c, const char *host);
/* Why TLS failed, after on_end with BH_EPROTO and before the close: a constant text, such as
 * "hostname mismatch". Never NULL. */
const char *bh_tls_failure(const struct bh_stream *s);

/* The peer, once the handshake is complete. One heap block, freed with bh_free; NULL for a plain
 * stream. */
struct bh_tls_peer {
    struct bh_slice version; /* "TLSv1.3" */
    struct bh_slice cipher;
    struct bh_slice sni;         /* empty: the client sent none */
    bool verified;               /* it has a certificate of a trusted CA */
    struct bh_slice subject;     /* its subject, RFC 2253; empty without one */
    const struct bh_slice *sans; /* "DNS:a.example", "email:a@b", "URI:...", "IP:192.0.2.1" */
    size_t san_count;
};
struct bh_tls_peer *bh_tls_peer(const struct bh_stream *s);

void bh_tls_metrics_register(void);

#endif
