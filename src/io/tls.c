/* tls.c - the TLS configuration of a server.
 *
 * Each certificate has its own context (OpenSSL's SSL_CTX). A connection begins with the first one;
 * the servername callback switches it to the one whose certificate matches. All contexts have the
 * same settings, because OpenSSL takes some settings from the first context and some from the
 * second.
 *
 * Sessions are resumed by tickets only: nothing is cached. A ticket stands for the client
 * certificate of its first connection, so the session id context includes what is required of
 * clients: after a change of client_ca, older tickets lead to a full handshake.
 *
 * Thread: an object is complete before it is shared, and read-only afterwards. */
#include "bellhop/io/tls.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "tls_internal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#define LIFETIME_MAX_S (7 * 24 * 3600) /* RFC 8446, 4.6.1 */

/* --- callbacks --- */

static int on_servername(SSL *ssl, int *alert, void *arg) {
    const struct bh_tls *tls = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    size_t n = name ? strlen(name) : 0; /* OpenSSL rejects names with NULs, and long ones */
    if (n == 0)
        return SSL_TLSEXT_ERR_NOACK;
    for (size_t i = 0; i < tls->count && tls->count > 1; i++)
        if (X509_check_host(SSL_CTX_get0_certificate(tls->contexts[i]), name, n, 0, NULL) == 1) {
            SSL_set_SSL_CTX(ssl, tls->contexts[i]);
            break;
        }
    return SSL_TLSEXT_ERR_OK;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg) {
    static const char ours[] = "http/1.1";
    for (unsigned i = 0; i < in_len && in[i] < in_len - i; i += in[i] + 1u)
        if (bh_slice_eq(bh_slice(in + i + 1, in[i]), bh_slice(ours, sizeof ours - 1))) {
            *out = in + i + 1;
            *out_len = in[i];
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_NOACK;
}

/* --- contexts --- */

struct client_settings {
    int mode; /* of SSL_CTX_set_verify */
    const char *ca;
    unsigned char session_id[BH_DIGEST_MAX];
    unsigned session_id_len;
};

static int read_client_settings(const struct bh_tls_config *config, struct client_settings *out,
                                char **error) {
    static const int modes[] = {
        [BH_TLS_CLIENT_NONE] = SSL_VERIFY_NONE,
        [BH_TLS_CLIENT_OPTIONAL] = SSL_VERIFY_PEER,
        [BH_TLS_CLIENT_REQUIRED] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
    };
    struct bh_bytes identity = {0};
    *out = (struct client_settings){.mode = modes[config->client], .ca = config->client_ca};
    if (config->client != BH_TLS_CLIENT_NONE) {
        if (!config->client_ca || !*config->client_ca)
            return bh_error_set(error,
                                "client certificates are requested, but client_ca is not set");
        if (bh_tls_read_file(config->client_ca, BH_TLS_CA_MAX, &identity, error) != 0) {
            bh_bytes_free(&identity);
            return BH_EINVAL;
        }
    }
    bh_bytes_addc(&identity, (char)('0' + config->client));
    int n = bh_digest("sha256", bh_bytes_slice(&identity), out->session_id);
    bh_bytes_free(&identity);
    if (n < 0 || n > SSL_MAX_SID_CTX_LENGTH)
        return bh_error_set(error, "OpenSSL has no SHA-256");
    out->session_id_len = (unsigned)n;
    return 0;
}

static int set_client_verify(SSL_CTX *ctx, const struct client_settings *clients, char **error) {
    SSL_CTX_set_session_id_context(ctx, clients->session_id, clients->session_id_len);
    SSL_CTX_set_verify(ctx, clients->mode, NULL);
    if (clients->mode == SSL_VERIFY_NONE)
        return 0;
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(clients->ca);
    if (!names || SSL_CTX_load_verify_file(ctx, clients->ca) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return bh_error_set(error, "%s: no certificate of a client CA in it: %s", clients->ca,
                            bh_tls_reason());
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    return 0;
}

static int choose_algorithms(SSL_CTX *ctx, const struct bh_tls_config *config, char **error) {
    const char *ciphers = config->ciphers && *config->ciphers ? config->ciphers : BH_TLS_CIPHERS;
    SSL_CTX_set_min_proto_version(ctx, config->only_tls13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION);
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1)
        return bh_error_set(error, "ciphers \"%s\": %s", ciphers, bh_tls_reason());
    if (SSL_CTX_set1_groups_list(ctx, BH_TLS_GROUPS) != 1)
        return bh_error_set(error, "groups " BH_TLS_GROUPS ": %s", bh_tls_reason());
    return 0;
}

static void set_up_sessions(SSL_CTX *ctx, const struct bh_tls_config *config,
                            struct bh_tls_ring *ring) {
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    if (!ring) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ctx, 0);
        return;
    }
    uint64_t seconds = config->ticket_lifetime_ms / 1000;
    if (seconds > LIFETIME_MAX_S)
        seconds = LIFETIME_MAX_S;
    SSL_CTX_set_timeout(ctx, seconds ? (long)seconds : 1);
    SSL_CTX_set_num_tickets(ctx, 1);
    bh_tls_ring_attach(ring, ctx);
}

static SSL_CTX *new_context(struct bh_tls *tls) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        abort(); /* fails only without memory */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_servername);
    SSL_CTX_set_tlsext_servername_arg(ctx, tls);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    return ctx;
}

static int add_context(struct bh_tls *tls, const struct bh_tls_config *config,
                       const struct client_settings *clients, char **error) {
    size_t i = tls->count;
    SSL_CTX *ctx = tls->contexts[tls->count++] = new_context(tls);
    const char *key = config->key_count ? config->keys[i] : config->certificates[i];
    set_up_sessions(ctx, config, tls->ring);
    int result = choose_algorithms(ctx, config, error);
    if (result == 0)
        result = bh_tls_load_pair(ctx, config->certificates[i], key, error);
    if (result == 0)
        result = set_client_verify(ctx, clients, error);
    return result;
}

/* --- life --- */

static int check_counts(const struct bh_tls_config *config, char **error) {
    if (config->certificate_count == 0)
        return bh_error_set(error, "no certificate is configured");
    if (config->key_count && config->key_count != config->certificate_count)
        return bh_error_set(error, "%zu certificates need as many keys, not %zu",
                            config->certificate_count, config->key_count);
    return 0;
}

static int fill(struct bh_tls *tls, const struct bh_tls_config *config,
                const struct bh_tls *previous, char **error) {
    struct client_settings clients;
    int result = read_client_settings(config, &clients, error);
    if (result == 0 && config->ticket_lifetime_ms)
        result = bh_tls_ring_new(config, previous ? previous->ring : NULL, &tls->ring, error);
    for (size_t i = 0; i < config->certificate_count && result == 0; i++)
        result = add_context(tls, config, &clients, error);
    return result;
}

int bh_tls_new(const struct bh_tls_config *config, const struct bh_tls *previous,
               struct bh_tls **out, char **error) {
    *out = NULL;
    *error = NULL;
    ERR_clear_error();
    if (check_counts(config, error) != 0)
        return BH_EINVAL;
    struct bh_tls *tls = bh_calloc(1, sizeof *tls);
    atomic_init(&tls->refs, 1);
    tls->contexts = bh_calloc(config->certificate_count, sizeof *tls->contexts);
    if (fill(tls, config, previous, error) != 0) {
        bh_tls_unref(tls);
        return BH_EINVAL;
    }
    *out = tls;
    return 0;
}

struct bh_tls *bh_tls_ref(struct bh_tls *tls) {
    atomic_fetch_add_explicit(&tls->refs, 1, memory_order_relaxed);
    return tls;
}

void bh_tls_unref(struct bh_tls *tls) {
    if (!tls || atomic_fetch_sub_explicit(&tls->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < tls->count; i++)
        SSL_CTX_free(tls->contexts[i]);
    bh_tls_ring_unref(tls->ring);
    bh_free(tls->contexts);
    bh_free(tls);
}

/* --- connections --- */

static void release(struct bh_tls_conn *c) {
    bh_tls_unref(c->owner);
}

void bh_tls_accept(struct bh_stream *s, struct bh_tls *tls, struct bh_slice early) {
    SSL *ssl = SSL_new(tls->contexts[0]);
    if (ssl)
        SSL_set_accept_state(ssl);
    struct bh_tls_conn *conn = bh_tls_transport(s, ssl, early);
    conn->owner = bh_tls_ref(tls);
    conn->release = release;
}
