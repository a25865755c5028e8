/* jwt_key.c - the algorithms, and the keys that serve them.
 *
 * The type and size of a key decide, when it is made, which algorithms it serves; a signature is
 * verified only with one of those. This check alone prevents key confusion, so it is here and not
 * in the callers. OpenSSL's error queue is left empty after each verification, because the TLS code
 * of the same thread reads it. A key is immutable once it is shared; any thread. */
#include "jwt_key.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192 /* the time to verify grows with the square */
#define PEM_MAX      65536
#define RSA_ALGS     (BH_JWT_RS256 | BH_JWT_RS384 | BH_JWT_RS512 | BH_JWT_PS256)

static const struct bh_jwt_algorithm algorithms[] = {
    {BH_JWT_HS256, "HS256", "sha256", NULL, 32},
    {BH_JWT_HS384, "HS384", "sha384", NULL, 48},
    {BH_JWT_HS512, "HS512", "sha512", NULL, 64},
    {BH_JWT_RS256, "RS256", "sha256", NULL, 0},
    {BH_JWT_RS384, "RS384", "sha384", NULL, 0},
    {BH_JWT_RS512, "RS512", "sha512", NULL, 0},
    {BH_JWT_ES256, "ES256", "sha256", "prime256v1", 32},
    {BH_JWT_ES384, "ES384", "sha384", "secp384r1", 48},
    {BH_JWT_ES512, "ES512", "sha512", "secp521r1", 66},
    {BH_JWT_PS256, "PS256", "sha256", NULL, 0},
    {BH_JWT_EDDSA, "EdDSA", NULL, NULL, 0},
};
#define ALGORITHM_COUNT (sizeof algorithms / sizeof *algorithms)

const struct bh_jwt_algorithm *bh_jwt_algorithm(unsigned id) {
    for (size_t i = 0; i < ALGORITHM_COUNT; i++)
        if (algorithms[i].id == id)
            return &algorithms[i];
    return NULL;
}

unsigned bh_jwt_alg_from_name(struct bh_slice name) {
    for (size_t i = 0; i < ALGORITHM_COUNT; i++)
        if (bh_slice_eq(name, bh_slice_cstr(algorithms[i].name)))
            return algorithms[i].id;
    return 0;
}

/* --- keys --- */

struct bh_jwt_key {
    unsigned algs; /* what this key may serve */
    char *secret;
    size_t secret_len;
    EVP_PKEY *public;
};

static unsigned algs_of_secret(size_t n) {
    unsigned algs = 0;
    for (size_t i = 0; i < ALGORITHM_COUNT; i++)
        if (n >= algorithms[i].bytes)
            algs |= algorithms[i].id;
    return algs & BH_JWT_HS_ALGS;
}

int bh_jwt_secret_check(size_t secret_len, unsigned algs, char why[BH_JWT_WHY_MAX]) {
    algs &= BH_JWT_HS_ALGS & ~algs_of_secret(secret_len);
    if (!algs)
        return 0;
    size_t i = ALGORITHM_COUNT - 1; /* the one that needs most is the last */
    while (!(algorithms[i].id & algs))
        i--;
    snprintf(why, BH_JWT_WHY_MAX,
             "the secret has %zu bytes; %s needs at least %zu (RFC 7518, section 3.2)", secret_len,
             algorithms[i].name, algorithms[i].bytes);
    return BH_EINVAL;
}

struct bh_jwt_key *bh_jwt_key_secret(struct bh_slice secret) {
    struct bh_jwt_key *key = bh_calloc(1, sizeof *key);
    key->algs = algs_of_secret(secret.n);
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

unsigned bh_jwt_key_algs(const struct bh_jwt_key *key) {
    return key->algs;
}

void bh_jwt_key_restrict(struct bh_jwt_key *key, unsigned algs) {
    key->algs &= algs;
}

static unsigned algs_of_curve(EVP_PKEY *pkey) {
    char curve[64];
    if (EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof curve,
                                       NULL) != 1)
        return 0;
    for (size_t i = 0; i < ALGORITHM_COUNT; i++)
        if (algorithms[i].curve && strcmp(algorithms[i].curve, curve) == 0)
            return algorithms[i].id;
    return 0;
}

/* 0 with a reason in *why when the key serves no algorithm. */
static unsigned algs_of_public_key(EVP_PKEY *pkey, const char **why) {
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        *why = "an RSA key must have 2048 to 8192 bits";
        return EVP_PKEY_get_bits(pkey) >= RSA_BITS_MIN && EVP_PKEY_get_bits(pkey) <= RSA_BITS_MAX
                   ? RSA_ALGS
                   : 0;
    case EVP_PKEY_EC:
        *why = "an EC key must be on one of the curves P-256, P-384, P-521";
        return algs_of_curve(pkey);
    case EVP_PKEY_ED25519:
        return BH_JWT_EDDSA;
    default:
        *why = "the key must be an RSA, an EC or an Ed25519 key";
        return 0;
    }
}

int bh_jwt_key_public(EVP_PKEY *pkey, struct bh_jwt_key **key, const char **why) {
    unsigned served = algs_of_public_key(pkey, why);
    if (!served)
        return BH_EINVAL;
    *key = bh_calloc(1, sizeof **key);
    (*key)->algs = served;
    (*key)->public = pkey;
    return 0;
}

/* --- PEM --- */

/* Without it OpenSSL would prompt on the terminal for an encrypted PEM. */
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

int bh_jwt_key_pem(struct bh_slice pem, struct bh_jwt_key **key, const char **why) {
    const char *reason = "the text is not a PEM public key or certificate";
    EVP_PKEY *pkey = pem.n <= PEM_MAX ? read_public_key(pem) : NULL;
    int error = pkey ? bh_jwt_key_public(pkey, key, &reason) : BH_EINVAL;
    ERR_clear_error();
    if (error) {
        EVP_PKEY_free(pkey);
        if (why)
            *why = reason;
    }
    return error;
}

/* --- signatures --- */

/* A JWS has r and s concatenated; OpenSSL expects DER. The caller frees *der. */
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

/* RFC 7518 section 3.5: MGF1 with the same hash, and a salt of exactly its length. By default
 * OpenSSL accepts a salt of any length. */
static bool choose_padding(const struct bh_jwt_algorithm *alg, EVP_PKEY_CTX *ctx,
                           const EVP_MD *md) {
    if (alg->id != BH_JWT_PS256)
        return true; /* PKCS #1 v1.5 is OpenSSL's default for RSA */
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, md) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static bool verify_public(const struct bh_jwt_algorithm *alg, EVP_PKEY *pkey, struct bh_slice input,
                          struct bh_slice signature) {
    unsigned char *der = NULL;
    if (alg->curve) {
        int n = der_from_halves(signature, alg->bytes, &der);
        if (n < 0)
            return false;
        signature = bh_slice(der, (size_t)n);
    }
    const EVP_MD *md = alg->digest ? EVP_get_digestbyname(alg->digest) : NULL;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *padding; /* ctx owns it */
    bool good = ctx && EVP_DigestVerifyInit(ctx, &padding, md, NULL, pkey) == 1 &&
                choose_padding(alg, padding, md) &&
                EVP_DigestVerify(ctx, (const unsigned char *)signature.p, signature.n,
                                 (const unsigned char *)input.p, input.n) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    return good;
}

int bh_jwt_key_mac(const struct bh_jwt_key *key, const struct bh_jwt_algorithm *alg,
                   struct bh_slice input, unsigned char mac[BH_DIGEST_MAX]) {
    return bh_hmac(alg->digest, bh_slice(key->secret, key->secret_len), input, mac);
}

bool bh_jwt_key_verifies(const struct bh_jwt_key *key, const struct bh_jwt_algorithm *alg,
                         struct bh_slice input, struct bh_slice signature) {
    if (!(key->algs & alg->id))
        return false;
    if (key->public) {
        bool good = verify_public(alg, key->public, input, signature);
        ERR_clear_error();
        return good;
    }
    unsigned char mac[BH_DIGEST_MAX];
    int n = bh_jwt_key_mac(key, alg, input, mac);
    return n > 0 && bh_equal_ct(bh_slice(mac, (size_t)n), signature);
}
