/* tls_connect.c - the client's side of TLS: trusted CAs, our certificate, the expected host.
 *
 * The server is always verified: a chain up to a trusted CA, and the name (or address) that we
 * connected to in the leaf's subjectAltName. Partial wildcards (f*.example) do not match. The
 * common name counts as in OpenSSL: only when there is no DNS name.
 *
 * The handshake and the data are the transport's work (tls_stream.c). Sessions are not resumed:
 * links are long-lived. */
#include "bellhop/io/tls.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "tls_internal.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

struct bh_tls_connector {
    atomic_uint refs;
    SSL_CTX *context;
};

static bool is_set(const char *text) {
    return text && *text;
}

static SSL_CTX *new_context(void) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx)
        abort(); /* fails only without memory */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return ctx;
}

static int choose_algorithms(SSL_CTX *ctx, char **error) {
    if (SSL_CTX_set_cipher_list(ctx, BH_TLS_CIPHERS) != 1 ||
        SSL_CTX_set1_groups_list(ctx, BH_TLS_GROUPS) != 1)
        return bh_error_set(error, "OpenSSL lacks algorithms: %s", bh_tls_reason());
    return 0;
}

static int load_cas(SSL_CTX *ctx, const char *ca_file, char **error) {
    struct bh_bytes bytes = {0};
    if (!is_set(ca_file)) {
        if (SSL_CTX_set_default_verify_paths(ctx) == 1)
            return 0;
        return bh_error_set(error, "the CAs of the system cannot be read: %s", bh_tls_reason());
    }
    /* Only for a clear error when the file is missing or cannot be read. */
    int result = bh_tls_read_file(ca_file, BH_TLS_CA_MAX, &bytes, error);
    bh_bytes_free(&bytes);
    if (result != 0)
        return result;
    if (SSL_CTX_load_verify_file(ctx, ca_file) != 1)
        return bh_error_set(error, "%s: no certificate of a CA in it: %s", ca_file,
                            bh_tls_reason());
    return 0;
}

int bh_tls_connector_new(const struct bh_tls_connector_config *config,
                         struct bh_tls_connector **out, char **error) {
    struct bh_tls_connector *c = bh_calloc(1, sizeof *c);
    const char *key = is_set(config->key) ? config->key : config->certificate;
    *out = NULL;
    *error = NULL;
    ERR_clear_error();
    atomic_init(&c->refs, 1);
    c->context = new_context();
    int result = choose_algorithms(c->context, error);
    if (result == 0)
        result = load_cas(c->context, config->ca_file, error);
    if (result == 0 && is_set(config->certificate))
        result = bh_tls_load_pair(c->context, config->certificate, key, error);
    if (result == 0)
        *out = c;
    else
        bh_tls_connector_unref(c);
    return result;
}

struct bh_tls_connector *bh_tls_connector_ref(struct bh_tls_connector *c) {
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void bh_tls_connector_unref(struct bh_tls_connector *c) {
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(c->context);
    bh_free(c);
}

/* --- a connection --- */

static bool is_address(const char *host) {
    unsigned char ignored[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, ignored) == 1 || inet_pton(AF_INET6, host, ignored) == 1;
}

/* OpenSSL takes an empty name as "do not check". */
static bool set_expected_host(SSL *ssl, const char *host) {
    if (!*host)
        return false;
    if (is_address(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static SSL *new_ssl(const struct bh_tls_connector *c, const char *host) {
    SSL *ssl = SSL_new(c->context);
    if (!ssl)
        return NULL;
    SSL_set_connect_state(ssl);
    if (set_expected_host(ssl, host))
        return ssl;
    ERR_clear_error();
    SSL_free(ssl);
    return NULL;
}

static void release(struct bh_tls_conn *conn) {
    bh_tls_connector_unref(conn->owner);
}

void bh_tls_connect(struct bh_stream *s, struct bh_tls_connector *c, const char *host) {
    struct bh_tls_conn *conn = bh_tls_transport(s, new_ssl(c, host), bh_slice(NULL, 0));
    conn->owner = bh_tls_connector_ref(c);
    conn->release = release;
    conn->client = true;
    conn->first = conn->ssl != NULL;
    s->has_input = 1; /* the handshake begins without input from the socket */
}
