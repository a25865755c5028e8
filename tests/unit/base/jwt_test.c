#include "jwt_test.h"

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

/* --- keys --- */

struct bh_slice pem_of(BIO *bio) {
    char *data;
    long n = BIO_get_mem_data(bio, &data);
    struct bh_slice pem = test_exact(bh_slice(data, (size_t)n));
    BIO_free(bio);
    return pem;
}

struct bh_slice public_pem(EVP_PKEY *pkey) {
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, pkey), 1);
    return pem_of(bio);
}

struct bh_jwt_key *key_from_pem(struct bh_slice pem) {
    struct bh_jwt_key *key = NULL;
    const char *why = NULL;
    assert_int_equal(bh_jwt_key_pem(pem, &key, &why), 0);
    assert_null(why);
    test_exact_free(pem);
    return key;
}

EVP_PKEY *rsa_2048, *p256, *p384, *p521, *ed25519;

int make_keys(void **state) {
    rsa_2048 = EVP_RSA_gen(2048);
    p256 = EVP_EC_gen("P-256");
    p384 = EVP_EC_gen("P-384");
    p521 = EVP_EC_gen("P-521");
    ed25519 = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return rsa_2048 && p256 && p384 && p521 && ed25519 ? 0 : -1;
}

int free_keys(void **state) {
    EVP_PKEY_free(rsa_2048);
    EVP_PKEY_free(p256);
    EVP_PKEY_free(p384);
    EVP_PKEY_free(p521);
    EVP_PKEY_free(ed25519);
    return 0;
}

/* --- tokens --- */

const struct alg algs[ALG_COUNT] = {
    {BH_JWT_HS256, "HS256", "SHA256", 0},  {BH_JWT_HS384, "HS384", "SHA384", 0},
    {BH_JWT_HS512, "HS512", "SHA512", 0},  {BH_JWT_RS256, "RS256", "SHA256", 0},
    {BH_JWT_RS384, "RS384", "SHA384", 0},  {BH_JWT_RS512, "RS512", "SHA512", 0},
    {BH_JWT_ES256, "ES256", "SHA256", 32}, {BH_JWT_ES384, "ES384", "SHA384", 48},
    {BH_JWT_ES512, "ES512", "SHA512", 66}, {BH_JWT_PS256, "PS256", "SHA256", 0},
    {BH_JWT_EDDSA, "EdDSA", NULL, 0},
};

void add_part(struct bh_bytes *token, struct bh_slice data) {
    bh_bytes_reserve(token, bh_base64_len(data.n));
    token->len += bh_base64url_encode(data, token->p + token->len);
}

static size_t raw_from_der(const unsigned char *der, size_t n, size_t half, unsigned char *raw) {
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
    assert_non_null(sig);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, (int)half);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + half, (int)half);
    ECDSA_SIG_free(sig);
    return 2 * half;
}

size_t sign_raw(EVP_PKEY *pkey, const char *digest, int salt, const char *mgf1,
                struct bh_slice text, unsigned char signature[1024]) {
    size_t n = 1024;
    EVP_PKEY_CTX *options;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit_ex(ctx, &options, digest, NULL, NULL, pkey, NULL), 1);
    if (salt != NO_PSS) {
        EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(options, salt);
        EVP_PKEY_CTX_set_rsa_mgf1_md(options, EVP_get_digestbyname(mgf1));
    }
    assert_int_equal(EVP_DigestSign(ctx, signature, &n, (unsigned char *)text.p, text.n), 1);
    EVP_MD_CTX_free(ctx);
    return n;
}

void begin_token(const char *header, const char *claims, struct bh_bytes *token) {
    bh_bytes_clear(token);
    add_part(token, bh_slice_cstr(header));
    bh_bytes_addc(token, '.');
    add_part(token, bh_slice_cstr(claims));
}

void sign_with(EVP_PKEY *pkey, const char *header, const char *claims, const char *digest,
               size_t half, bool der, struct bh_bytes *token) {
    unsigned char signature[1024], raw[256];
    begin_token(header, claims, token);
    size_t n = sign_raw(pkey, digest, NO_PSS, NULL, bh_bytes_slice(token), signature);
    bh_bytes_addc(token, '.');
    if (half && !der)
        add_part(token, bh_slice(raw, raw_from_der(signature, n, half, raw)));
    else
        add_part(token, bh_slice(signature, n));
}

void sign_pss(const char *header, const char *digest, const char *mgf1, int salt,
              struct bh_bytes *token) {
    unsigned char signature[1024];
    begin_token(header, "{}", token);
    size_t n = sign_raw(rsa_2048, digest, salt, mgf1, bh_bytes_slice(token), signature);
    bh_bytes_addc(token, '.');
    add_part(token, bh_slice(signature, n));
}

void sign_hs256(struct bh_slice header, struct bh_slice payload, struct bh_slice secret,
                struct bh_bytes *token) {
    unsigned char mac[BH_DIGEST_MAX];
    bh_bytes_clear(token);
    add_part(token, header);
    bh_bytes_addc(token, '.');
    add_part(token, payload);
    int n = bh_hmac("sha256", secret, bh_bytes_slice(token), mac);
    bh_bytes_addc(token, '.');
    add_part(token, bh_slice(mac, (size_t)n));
}

int verify(struct bh_slice token, const struct bh_jwt_rules *rules) {
    struct bh_slice exact = test_exact(token);
    struct bh_bytes claims = {0};
    const char *why = NULL;
    bh_bytes_adds(&claims, "before");
    int rc = bh_jwt_verify(exact, rules, &claims, &why);
    assert_int_equal(rc != 0, why != NULL);
    if (rc != 0)
        assert_slice(bh_bytes_slice(&claims), "before");
    else
        assert_int_equal(bh_json_check(bh_slice(claims.p + 6, claims.len - 6), NULL), 0);
    bh_bytes_clear(&claims);
    assert_int_equal(bh_jwt_verify(exact, rules, &claims, NULL), rc);
    assert_int_equal(ERR_peek_error(), 0);
    bh_bytes_free(&claims);
    test_exact_free(exact);
    return rc;
}

EVP_PKEY *private_for(size_t alg) {
    EVP_PKEY *keys[] = {NULL, NULL, NULL, rsa_2048, rsa_2048, rsa_2048,
                        p256, p384, p521, rsa_2048, ed25519};
    return keys[alg];
}

static void sign_mac(const char *header, const char *digest, struct bh_bytes *token) {
    char name[8] = {'s', 'h', 'a', digest[3], digest[4], digest[5]};
    unsigned char mac[BH_DIGEST_MAX];
    begin_token(header, "{}", token);
    int n = bh_hmac(name, BH_SLICE(HS_SECRET), bh_bytes_slice(token), mac);
    bh_bytes_addc(token, '.');
    add_part(token, bh_slice(mac, (size_t)n));
}

void make_token(size_t alg, const char *kid, struct bh_bytes *token) {
    char header[128];
    snprintf(header, sizeof header, "{\"alg\":\"%s\"%s%s%s}", algs[alg].name,
             kid ? ",\"kid\":\"" : "", kid ? kid : "", kid ? "\"" : "");
    if (algs[alg].id == BH_JWT_PS256)
        sign_pss(header, "SHA256", "SHA256", RSA_PSS_SALTLEN_DIGEST, token);
    else if (private_for(alg))
        sign_with(private_for(alg), header, "{}", algs[alg].digest, algs[alg].half, false, token);
    else
        sign_mac(header, algs[alg].digest, token);
}

/* --- RFC 7515, appendix A --- */
