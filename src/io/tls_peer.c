/* tls_peer.c - the peer of a TLS connection: its certificate, cipher and SNI.
 *
 * The names in a certificate were chosen by its applicant, and they end up in scripts and logs. So
 * the subject is escaped (RFC 2253: control characters and non-ASCII as \XX), a subjectAltName that
 * is not printable ASCII is dropped (a NUL inside is a known attack), and number and length are
 * bounded.
 *
 * The result is collected in one growing array and packed into one block at the end. */
#include "tls_internal.h"

#include "bellhop/base/mem.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#define SANS_MAX    64
#define SAN_MAX     1024
#define SUBJECT_MAX 4096

struct result {
    struct bh_bytes text; /* version, cipher, sni, subject, then the sans */
    size_t lengths[4 + SANS_MAX];
    size_t count;
};

static void add(struct result *a, struct bh_slice s) {
    bh_bytes_add(&a->text, s);
    a->lengths[a->count++] = s.n;
}

/* Empty when it cannot be printed or is too long: a part of it would be another name. */
static void add_subject(struct result *a, X509 *certificate) {
    BIO *bio = BIO_new(BIO_s_mem());
    char *p = NULL;
    long n = 0;
    if (bio && certificate &&
        X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0)
        n = BIO_get_mem_data(bio, &p);
    add(a, bh_slice(p, n > 0 && n <= SUBJECT_MAX ? (size_t)n : 0));
    BIO_free(bio);
}

static bool is_printable(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return s.n > 0 && s.n <= SAN_MAX;
}

static void add_text_name(struct result *a, const char *prefix, const ASN1_STRING *value) {
    struct bh_slice name =
        bh_slice(ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value));
    if (!is_printable(name))
        return;
    size_t before = a->text.len;
    bh_bytes_adds(&a->text, prefix);
    bh_bytes_add(&a->text, name);
    a->lengths[a->count++] = a->text.len - before;
}

static void add_ip(struct result *a, const ASN1_OCTET_STRING *value) {
    char text[3 + INET6_ADDRSTRLEN] = "IP:";
    int n = ASN1_STRING_length(value);
    int family = n == 4 ? AF_INET : AF_INET6;
    if ((n == 4 || n == 16) &&
        inet_ntop(family, ASN1_STRING_get0_data(value), text + 3, sizeof text - 3))
        add(a, bh_slice_cstr(text));
}

static void add_san(struct result *a, const GENERAL_NAME *name) {
    switch (name->type) {
    case GEN_DNS:
        add_text_name(a, "DNS:", name->d.dNSName);
        break;
    case GEN_EMAIL:
        add_text_name(a, "email:", name->d.rfc822Name);
        break;
    case GEN_URI:
        add_text_name(a, "URI:", name->d.uniformResourceIdentifier);
        break;
    case GEN_IPADD:
        add_ip(a, name->d.iPAddress);
        break;
    default:
        break;
    }
}

static void add_sans(struct result *a, X509 *certificate) {
    size_t most = a->count + SANS_MAX;
    GENERAL_NAMES *names =
        certificate ? X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL) : NULL;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && a->count < most; i++)
        add_san(a, sk_GENERAL_NAME_value(names, i));
    GENERAL_NAMES_free(names);
    ERR_clear_error();
}

static struct bh_tls_peer *pack(const struct result *a, bool verified) {
    size_t sans = a->count - 4;
    struct bh_tls_peer *peer =
        bh_malloc(sizeof *peer + sans * sizeof(struct bh_slice) + a->text.len);
    struct bh_slice *san = (struct bh_slice *)(peer + 1);
    struct bh_slice *all[4] = {&peer->version, &peer->cipher, &peer->sni, &peer->subject};
    char *at = (char *)(san + sans);
    const char *from = a->text.p;
    for (size_t i = 0; i < a->count; from += a->lengths[i], i++)
        *(i < 4 ? all[i] : &san[i - 4]) = bh_slice_pack(&at, bh_slice(from, a->lengths[i]));
    peer->verified = verified;
    peer->sans = san;
    peer->san_count = sans;
    return peer;
}

struct bh_tls_peer *bh_tls_peer(const struct bh_stream *s) {
    const struct bh_tls_conn *c = s->tls;
    if (!c || !c->established)
        return NULL;
    struct result a = {0};
    X509 *certificate = SSL_get0_peer_certificate(c->ssl);
    add(&a, bh_slice_cstr(SSL_get_version(c->ssl)));
    add(&a, bh_slice_cstr(SSL_get_cipher_name(c->ssl)));
    add(&a, bh_slice_cstr(SSL_get_servername(c->ssl, TLSEXT_NAMETYPE_host_name)));
    add_subject(&a, certificate);
    add_sans(&a, certificate);
    bool verified = certificate && SSL_get_verify_result(c->ssl) == X509_V_OK;
    struct bh_tls_peer *peer = pack(&a, verified);
    bh_bytes_free(&a.text);
    return peer;
}
