/* jwt.c - verifying and signing compact JSON Web Signatures that carry claims.
 *
 * A key knows by its kind and size which algorithms it may serve; an algorithm is used only when
 * the caller's rules, the key and the token's header all name it. The order of the work is the
 * order of trust: shape, header, signature, and only then the claims.
 *
 * Every text passes the strict scanner, and an object with two members of one name is refused, so
 * no later reader can see another claim than the one checked here. OpenSSL's error queue is left
 * empty, because the TLS code of the same thread reads it. */
#include "bellhop/base/jwt.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/map.h"
#include "bellhop/base/mem.h"

#include <math.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>

#define RSA_BITS_MIN 2048
#define PEM_MAX      65536
#define HS_ALGS      (BH_JWT_HS256 | BH_JWT_HS384 | BH_JWT_HS512)
#define RS_ALGS      (BH_JWT_RS256 | BH_JWT_RS384 | BH_JWT_RS512)

static const struct alg {
    enum bh_jwt_alg id;
    const char *name;
    const char *digest;
    const char *curve; /* OpenSSL's name; ES only */
    size_t half;       /* bytes of r and of s; ES only */
} algs[] = {
    {BH_JWT_HS256, "HS256", "sha256", NULL, 0},
    {BH_JWT_HS384, "HS384", "sha384", NULL, 0},
    {BH_JWT_HS512, "HS512", "sha512", NULL, 0},
    {BH_JWT_RS256, "RS256", "sha256", NULL, 0},
    {BH_JWT_RS384, "RS384", "sha384", NULL, 0},
    {BH_JWT_RS512, "RS512", "sha512", NULL, 0},
    {BH_JWT_ES256, "ES256", "sha256", "prime256v1", 32},
    {BH_JWT_ES384, "ES384", "sha384", "secp384r1", 48},
    {BH_JWT_ES512, "ES512", "sha512", "secp521r1", 66},
};

static const struct alg *find_alg(unsigned id) {
    for (size_t i = 0; i < sizeof algs / sizeof *algs; i++)
        if (algs[i].id == id)
            return &algs[i];
    return NULL;
}

unsigned bh_jwt_alg_from_name(struct bh_slice name) {
    for (size_t i = 0; i < sizeof algs / sizeof *algs; i++)
        if (bh_slice_eq(name, bh_slice_cstr(algs[i].name)))
            return algs[i].id;
    return 0;
}

/* --- keys --- */

struct bh_jwt_key {
    unsigned algs; /* what this key may serve */
    char *secret;
    size_t secret_len;
    EVP_PKEY *public;
};

struct bh_jwt_key *bh_jwt_key_secret(struct bh_slice secret) {
    struct bh_jwt_key *key = bh_calloc(1, sizeof *key);
    key->algs = secret.n ? HS_ALGS : 0; /* anybody could sign with the empty secret */
    key->secret = bh_strndup(secret.p, secret.n);
    key->secret_len = secret.n;
    return key;
}

void bh_jwt_key_free(struct bh_jwt_key *key) {
    if (!key)
        return;
    if (key->secret)
        OPENSSL_cleanse(key->secret, key->secret_len);
    bh_free(key->secret);
    EVP_PKEY_free(key->public);
    bh_free(key);
}

/* Without it OpenSSL would ask the terminal about an encrypted PEM. */
static int no_passphrase(char *buffer, int size, int writing, void *ud) {
    return -1;
}

static EVP_PKEY *read_public_key(struct bh_slice pem) {
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
    if (!bio)
        return NULL;
    EVP_PKEY *key = PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
    if (!key && BIO_reset(bio) == 1) {
        X509 *certificate = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
        key = certificate ? X509_get_pubkey(certificate) : NULL;
        X509_free(certificate);
    }
    BIO_free(bio);
    return key;
}

static unsigned algs_of_curve(EVP_PKEY *pkey) {
    char curve[64];
    if (EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof curve,
                                       NULL) != 1)
        return 0;
    for (size_t i = 0; i < sizeof algs / sizeof *algs; i++)
        if (algs[i].curve && strcmp(algs[i].curve, curve) == 0)
            return algs[i].id;
    return 0;
}

/* 0 with a reason in *why when the key serves nothing. */
static unsigned algs_of_public_key(EVP_PKEY *pkey, const char **why) {
    if (!pkey) {
        *why = "the text is not a PEM public key or certificate";
        return 0;
    }
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        *why = "an RSA key must have at least 2048 bits";
        return EVP_PKEY_get_bits(pkey) >= RSA_BITS_MIN ? RS_ALGS : 0;
    case EVP_PKEY_EC:
        *why = "an EC key must be on one of the curves P-256, P-384, P-521";
        return algs_of_curve(pkey);
    default:
        *why = "the key must be an RSA or an EC key";
        return 0;
    }
}

int bh_jwt_key_pem(struct bh_slice pem, struct bh_jwt_key **key, const char **why) {
    const char *reason = NULL;
    EVP_PKEY *pkey = pem.n <= PEM_MAX ? read_public_key(pem) : NULL;
    unsigned served = algs_of_public_key(pkey, &reason);
    ERR_clear_error();
    if (!served) {
        EVP_PKEY_free(pkey);
        if (why)
            *why = reason;
        return BH_EINVAL;
    }
    *key = bh_calloc(1, sizeof **key);
    (*key)->algs = served;
    (*key)->public = pkey;
    return 0;
}

/* --- signatures --- */

static const EVP_MD *digest_of(const struct alg *alg) {
    return EVP_get_digestbyname(alg->digest);
}

/* A JWS carries r and s side by side; OpenSSL wants them as DER. The caller frees *der. */
static int der_from_halves(struct bh_slice signature, size_t half, unsigned char **der) {
    if (signature.n != 2 * half)
        return -1;
    const unsigned char *p = (const unsigned char *)signature.p;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(p, (int)half, NULL), *s = BN_bin2bn(p + half, (int)half, NULL);
    int n = -1;
    if (sig && r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
        r = s = NULL; /* sig owns them now */
        n = i2d_ECDSA_SIG(sig, der);
    }
    BN_free(s);
    BN_free(r);
    ECDSA_SIG_free(sig);
    return n;
}

static bool verify_public(const struct alg *alg, EVP_PKEY *pkey, struct bh_slice input,
                          struct bh_slice signature) {
    unsigned char *der = NULL;
    if (alg->curve) {
        int n = der_from_halves(signature, alg->half, &der);
        if (n < 0)
            return false;
        signature = bh_slice(der, (size_t)n);
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestVerifyInit(ctx, NULL, digest_of(alg), NULL, pkey) == 1 &&
                EVP_DigestVerify(ctx, (const unsigned char *)signature.p, signature.n,
                                 (const unsigned char *)input.p, input.n) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    return good;
}

static bool signature_holds(const struct alg *alg, const struct bh_jwt_key *key,
                            struct bh_slice input, struct bh_slice signature) {
    if (key->public) {
        bool good = verify_public(alg, key->public, input, signature);
        ERR_clear_error();
        return good;
    }
    unsigned char mac[BH_DIGEST_MAX];
    int n = bh_hmac(alg->digest, bh_slice(key->secret, key->secret_len), input, mac);
    return n > 0 && bh_equal_ct(bh_slice(mac, (size_t)n), signature);
}

/* --- JSON objects --- */

static int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Compares keyed hashes of the names, so a hostile header costs n log n. */
static bool has_twins(struct bh_json_value object) {
    uint64_t *hashes = bh_malloc((object.raw.n / 5 + 1) * sizeof *hashes); /* {"":0} */
    struct bh_bytes name = {0};
    struct bh_json_value key, value;
    size_t n = 0;
    for (size_t cursor = 0; bh_json_next(object, &cursor, &key, &value); n++) {
        bh_bytes_clear(&name);
        bh_json_string(key, &name);
        hashes[n] = bh_hash(bh_bytes_slice(&name));
    }
    qsort(hashes, n, sizeof *hashes, compare_hashes);
    bool twins = false;
    for (size_t i = 1; i < n; i++)
        twins |= hashes[i] == hashes[i - 1];
    bh_bytes_free(&name);
    bh_free(hashes);
    return twins;
}

/* Decodes a part of the token into text; true when it is a JSON object with distinct names. */
static bool decode_object(struct bh_slice part, struct bh_bytes *text,
                          struct bh_json_value *object) {
    bh_bytes_reserve(text, 3 * (part.n + 3) / 4);
    int n = bh_base64url_decode(part, (unsigned char *)text->p);
    if (n <= 0)
        return false;
    text->len = (size_t)n;
    if (bh_json_check(bh_bytes_slice(text), NULL) != 0)
        return false;
    *object = bh_json_root(bh_bytes_slice(text));
    return object->type == BH_JSON_OBJECT && !has_twins(*object);
}

static bool string_equals(struct bh_json_value string, struct bh_slice expected) {
    struct bh_bytes text = {0};
    bh_json_string(string, &text);
    bool equal = string.type == BH_JSON_STRING && bh_slice_eq(bh_bytes_slice(&text), expected);
    bh_bytes_free(&text);
    return equal;
}

/* --- claims --- */

/* A NumericDate: absent, a finite number, or something else. */
enum date { DATE_NONE, DATE_GOOD, DATE_BAD };

static enum date read_date(struct bh_json_value claims, const char *name, double *out) {
    struct bh_json_value value;
    if (!bh_json_member(claims, bh_slice_cstr(name), &value))
        return DATE_NONE;
    char text[64];
    if (value.type != BH_JSON_NUMBER || value.raw.n >= sizeof text)
        return DATE_BAD;
    memcpy(text, value.raw.p, value.raw.n);
    text[value.raw.n] = '\0';
    *out = strtod(text, NULL);
    return isfinite(*out) ? DATE_GOOD : DATE_BAD;
}

static const char *object_to_issuer(struct bh_json_value claims, const char *issuer) {
    struct bh_json_value value;
    if (!bh_json_member(claims, BH_SLICE("iss"), &value))
        return issuer ? "the token names no issuer" : NULL;
    if (value.type != BH_JSON_STRING)
        return "the claim iss is not a string";
    if (issuer && !string_equals(value, bh_slice_cstr(issuer)))
        return "the token is from another issuer";
    return NULL;
}

static const char *object_to_audience(struct bh_json_value claims, const char *audience) {
    struct bh_json_value aud, each;
    if (!bh_json_member(claims, BH_SLICE("aud"), &aud))
        return audience ? "the token names no audience" : NULL;
    if (aud.type != BH_JSON_STRING && aud.type != BH_JSON_ARRAY)
        return "the claim aud is neither a string nor an array of strings";
    struct bh_slice expected = bh_slice_cstr(audience);
    bool meant = !audience || string_equals(aud, expected);
    for (size_t cursor = 0; bh_json_next(aud, &cursor, NULL, &each);) {
        if (each.type != BH_JSON_STRING)
            return "the claim aud is neither a string nor an array of strings";
        meant |= audience && string_equals(each, expected);
    }
    return meant ? NULL : "the token is for another audience";
}

/* The expiry comes last, so BH_ETIMEDOUT says that nothing else is wrong. */
static int check_times(struct bh_json_value claims, const struct bh_jwt_rules *rules,
                       const char **why) {
    double exp = 0, nbf = 0, iat = 0, now = (double)rules->now_s, leeway = (double)rules->leeway_s;
    enum date has_exp = read_date(claims, "exp", &exp), has_nbf = read_date(claims, "nbf", &nbf),
              has_iat = read_date(claims, "iat", &iat);
    if (has_exp == DATE_BAD || has_nbf == DATE_BAD || has_iat == DATE_BAD)
        *why = "one of the claims exp, nbf, iat is not a number";
    else if (rules->require_exp && has_exp == DATE_NONE)
        *why = "the token never expires, which is not allowed here";
    else if (has_nbf && nbf > now + leeway)
        *why = "the token is not valid yet";
    else if (has_iat && iat > now + leeway)
        *why = "the token was issued in the future";
    if (*why)
        return BH_EDENIED;
    if (has_exp && exp <= now - leeway) {
        *why = "the token has expired";
        return BH_ETIMEDOUT;
    }
    return 0;
}

static int check_claims(struct bh_json_value claims, const struct bh_jwt_rules *rules,
                        const char **why) {
    *why = object_to_issuer(claims, rules->issuer);
    if (!*why)
        *why = object_to_audience(claims, rules->audience);
    return *why ? BH_EDENIED : check_times(claims, rules, why);
}

/* --- tokens --- */

/* The parts of a compact token, still encoded. */
struct parts {
    struct bh_slice header, payload, signature;
    struct bh_slice input; /* what was signed: header, dot, payload */
};

static bool split(struct bh_slice token, struct parts *parts) {
    struct bh_slice rest = token;
    if (token.n > BH_JWT_MAX || !bh_slice_split(&rest, '.', &parts->header) ||
        !bh_slice_split(&rest, '.', &parts->payload) ||
        !bh_slice_split(&rest, '.', &parts->signature) || rest.p)
        return false;
    parts->input = bh_slice(token.p, parts->header.n + 1 + parts->payload.n);
    return true;
}

static const char *choose_alg(struct bh_json_value header, const struct bh_jwt_rules *rules,
                              const struct alg **alg) {
    struct bh_json_value value;
    if (bh_json_member(header, BH_SLICE("crit"), &value))
        return "the token demands an extension that is not supported";
    if (!bh_json_member(header, BH_SLICE("alg"), &value) || value.type != BH_JSON_STRING)
        return "the token names no algorithm";
    struct bh_bytes name = {0};
    bh_json_string(value, &name);
    unsigned id = bh_jwt_alg_from_name(bh_bytes_slice(&name));
    bh_bytes_free(&name);
    if (!(id & rules->algs))
        return "the token's algorithm is not accepted";
    if (!(id & rules->key->algs))
        return "the key does not fit the token's algorithm";
    *alg = find_alg(id);
    return NULL;
}

static int check_signature(const struct parts *parts, const struct bh_jwt_rules *rules,
                           const char **why) {
    struct bh_bytes header = {0}, signature = {0};
    struct bh_json_value object;
    const struct alg *alg;
    int rc = BH_EPROTO;
    *why = "the token's header is malformed";
    if (!decode_object(parts->header, &header, &object))
        goto out;
    rc = BH_EDENIED;
    *why = choose_alg(object, rules, &alg);
    if (*why)
        goto out;
    bh_bytes_reserve(&signature, 3 * (parts->signature.n + 3) / 4);
    int n = bh_base64url_decode(parts->signature, (unsigned char *)signature.p);
    *why = "the token's signature is not valid";
    if (n >= 0 &&
        signature_holds(alg, rules->key, parts->input, bh_slice(signature.p, (size_t)n))) {
        *why = NULL;
        rc = 0;
    }
out:
    bh_bytes_free(&signature);
    bh_bytes_free(&header);
    return rc;
}

static int verify(struct bh_slice token, const struct bh_jwt_rules *rules, struct bh_bytes *text,
                  const char **why) {
    struct parts parts;
    *why = "the text is not a token of three parts";
    if (!split(token, &parts))
        return BH_EPROTO;
    int rc = check_signature(&parts, rules, why);
    if (rc != 0)
        return rc;
    struct bh_json_value claims;
    *why = "the token's claims are malformed";
    if (!decode_object(parts.payload, text, &claims))
        return BH_EPROTO;
    return check_claims(claims, rules, why);
}

int bh_jwt_verify(struct bh_slice token, const struct bh_jwt_rules *rules, struct bh_bytes *claims,
                  const char **why) {
    struct bh_bytes text = {0};
    const char *reason = NULL;
    int rc = verify(token, rules, &text, &reason);
    if (rc == 0)
        bh_bytes_add(claims, bh_bytes_slice(&text));
    else if (why)
        *why = reason;
    bh_bytes_free(&text);
    return rc;
}

static void add_base64url(struct bh_bytes *out, struct bh_slice data) {
    bh_bytes_reserve(out, bh_base64_len(data.n));
    out->len += bh_base64url_encode(data, out->p + out->len);
}

int bh_jwt_sign(unsigned id, const struct bh_jwt_key *key, struct bh_slice claims,
                struct bh_bytes *out) {
    const struct alg *alg = find_alg(id);
    if (!alg || !(id & key->algs & HS_ALGS) || bh_json_check(claims, NULL) != 0 ||
        bh_json_root(claims).type != BH_JSON_OBJECT)
        return BH_EINVAL;
    char header[64];
    int header_len = snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\"}", alg->name);
    size_t start = out->len;
    add_base64url(out, bh_slice(header, (size_t)header_len));
    bh_bytes_addc(out, '.');
    add_base64url(out, claims);
    unsigned char mac[BH_DIGEST_MAX];
    int mac_len = bh_hmac(alg->digest, bh_slice(key->secret, key->secret_len),
                          bh_slice(out->p + start, out->len - start), mac);
    bh_bytes_addc(out, '.');
    add_base64url(out, bh_slice(mac, (size_t)mac_len));
    return 0;
}
