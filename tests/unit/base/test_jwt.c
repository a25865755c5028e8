/* JWT: the vectors of RFC 7515, generated keys, and every kind of invalid token. */
#include "jwt_test.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

/* --- keys --- */

static struct bh_slice private_pem(EVP_PKEY *pkey) {
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL), 1);
    return pem_of(bio);
}

static struct bh_slice certificate_pem(EVP_PKEY *pkey) {
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, pkey);
    assert_true(X509_sign(x, pkey, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, x), 1);
    X509_free(x);
    return pem_of(bio);
}

static void assert_pem_refused(struct bh_slice pem, const char *word) {
    struct bh_jwt_key *key = NULL;
    const char *why = NULL;
    assert_int_equal(bh_jwt_key_pem(pem, &key, &why), BH_EINVAL);
    assert_null(key);
    assert_non_null(strstr(why, word));
    assert_int_equal(bh_jwt_key_pem(pem, &key, NULL), BH_EINVAL);
    assert_int_equal(ERR_peek_error(), 0);
}

static BIGNUM *number_from(const char *base64url) {
    unsigned char bytes[1024];
    int n = bh_base64url_decode(bh_slice_cstr(base64url), bytes);
    assert_true(n > 0);
    return BN_bin2bn(bytes, n, NULL);
}

static EVP_PKEY *pkey_from(const char *type, OSSL_PARAM_BLD *bld) {
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;
    assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params), 1);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    return pkey;
}

static struct bh_jwt_key *rsa_key_from(const char *n, const char *e) {
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    BIGNUM *modulus = number_from(n), *exponent = number_from(e);
    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, modulus);
    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, exponent);
    EVP_PKEY *pkey = pkey_from("RSA", bld);
    struct bh_jwt_key *key = key_from_pem(public_pem(pkey));
    EVP_PKEY_free(pkey);
    BN_free(modulus);
    BN_free(exponent);
    return key;
}

static struct bh_jwt_key *ec_key_from(const char *curve, const char *x, const char *y) {
    unsigned char point[256] = {POINT_CONVERSION_UNCOMPRESSED};
    int n = bh_base64url_decode(bh_slice_cstr(x), point + 1);
    int m = bh_base64url_decode(bh_slice_cstr(y), point + 1 + n);
    assert_int_equal(n, m);
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0);
    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, (size_t)(1 + 2 * n));
    EVP_PKEY *pkey = pkey_from("EC", bld);
    struct bh_jwt_key *key = key_from_pem(public_pem(pkey));
    EVP_PKEY_free(pkey);
    return key;
}

/* --- RFC 7515, appendix A --- */

static struct bh_jwt_key *rfc_secret(void) {
    unsigned char secret[128];
    int n = bh_base64url_decode(BH_SLICE("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"
                                         "aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"),
                                secret);
    return bh_jwt_key_secret(bh_slice(secret, (size_t)n));
}

static struct bh_jwt_key *rfc_rsa_key(void) {
    return rsa_key_from("ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qP"
                        "CJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47s"
                        "oMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2"
                        "R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoud"
                        "F8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
                        "AQAB");
}

static struct bh_jwt_key *rfc_p256_key(void) {
    return ec_key_from("P-256", "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                       "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
}

static struct bh_jwt_key *rfc_p521_key(void) {
    return ec_key_from("P-521",
                       "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9"
                       "tsz4qUxcWceqwQGk",
                       "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZ"
                       "mh9ubmf63e3kyMj2");
}

static void verifies_the_vectors_of_the_rfc(void **state) {
    const struct {
        const char *token;
        unsigned alg;
        struct bh_jwt_key *key;
    } cases[] = {
        {RFC_HS256, BH_JWT_HS256, rfc_secret()},
        {RFC_RS256, BH_JWT_RS256, rfc_rsa_key()},
        {RFC_ES256, BH_JWT_ES256, rfc_p256_key()},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bh_jwt_rules rules = {.algs = cases[i].alg,
                                     .key = cases[i].key,
                                     .issuer = "joe",
                                     .require_exp = true,
                                     .now_ms = 1300819379000};
        struct bh_bytes claims = {0};
        assert_int_equal(bh_jwt_verify(bh_slice_cstr(cases[i].token), &rules, &claims, NULL), 0);
        assert_slice(bh_bytes_slice(&claims), "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n "
                                              "\"http://example.com/is_root\":true}");
        bh_bytes_free(&claims);
        rules.now_ms += 1000;
        assert_int_equal(verify(bh_slice_cstr(cases[i].token), &rules), BH_ETIMEDOUT);
        bh_jwt_key_free(cases[i].key);
    }
}

static struct bh_jwt_key *rfc_ed25519_key(void) {
    unsigned char x[64];
    int n = bh_base64url_decode(BH_SLICE("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"), x);
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, (size_t)n);
    struct bh_jwt_key *key = key_from_pem(public_pem(pkey));
    EVP_PKEY_free(pkey);
    return key;
}

/* RFC 7515 A.4 and RFC 8037 A.4 sign plain words: the signature is valid, but these are not claims.
 */
static void verifies_the_other_vectors_and_refuses_their_payload(void **state) {
    const struct {
        const char *token;
        unsigned alg;
        struct bh_jwt_key *key;
    } cases[] = {{RFC_ES512, BH_JWT_ES512, rfc_p521_key()},
                 {RFC_EDDSA, BH_JWT_EDDSA, rfc_ed25519_key()}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bh_jwt_rules rules = {.algs = cases[i].alg, .key = cases[i].key, .now_ms = NOW};
        struct bh_bytes forged = {0};
        assert_int_equal(verify(bh_slice_cstr(cases[i].token), &rules), BH_EPROTO);
        bh_bytes_adds(&forged, cases[i].token);
        forged.p[forged.len - 5] ^= 1;
        assert_int_equal(verify(bh_bytes_slice(&forged), &rules), BH_EDENIED);
        bh_bytes_free(&forged);
        bh_jwt_key_free(cases[i].key);
    }
}

/* --- every algorithm with keys made here --- */

/* The type of key that an algorithm needs; each curve is a type. */
static int kind_of(size_t alg) {
    const int kinds[] = {0, 0, 0, 1, 1, 1, 2, 3, 4, 1, 5};
    return kinds[alg];
}

/* Each algorithm's token under each algorithm's key and rule: only the diagonal passes. */
static void each_algorithm_takes_only_its_own_tokens_and_keys(void **state) {
    struct bh_jwt_key *keys[ALG_COUNT];
    struct bh_bytes token = {0};
    for (size_t i = 0; i < ALG_COUNT; i++)
        keys[i] = private_for(i) ? key_from_pem(public_pem(private_for(i)))
                                 : bh_jwt_key_secret(BH_SLICE(HS_SECRET));
    for (size_t i = 0; i < ALG_COUNT; i++) {
        make_token(i, NULL, &token);
        for (size_t k = 0; k < ALG_COUNT; k++) {
            struct bh_jwt_rules rules = {.algs = algs[k].id, .key = keys[k], .now_ms = NOW};
            assert_int_equal(verify(bh_bytes_slice(&token), &rules), i == k ? 0 : BH_EDENIED);
            rules.algs = ~0u; /* the key alone must decide then */
            assert_int_equal(verify(bh_bytes_slice(&token), &rules),
                             kind_of(i) == kind_of(k) ? 0 : BH_EDENIED);
            rules.algs = 0;
            assert_int_equal(verify(bh_bytes_slice(&token), &rules), BH_EDENIED);
        }
    }
    for (size_t i = 0; i < ALG_COUNT; i++)
        bh_jwt_key_free(keys[i]);
    bh_bytes_free(&token);
}

/* RFC 7518 section 3.5: the signer must not choose the hash of MGF1 or the length of the salt. */
static void ps256_has_one_salt_length_and_one_hash(void **state) {
    struct bh_bytes token = {0};
    struct bh_jwt_rules rules = {
        .algs = BH_JWT_PS256, .key = key_from_pem(public_pem(rsa_2048)), .now_ms = NOW};
    const struct {
        const char *digest, *mgf1;
        int salt, expected;
    } cases[] = {{"SHA256", "SHA256", RSA_PSS_SALTLEN_DIGEST, 0},
                 {"SHA256", "SHA256", 32, 0},
                 {"SHA256", "SHA256", 0, BH_EDENIED},
                 {"SHA256", "SHA256", 20, BH_EDENIED},
                 {"SHA256", "SHA256", 33, BH_EDENIED},
                 {"SHA256", "SHA256", RSA_PSS_SALTLEN_MAX, BH_EDENIED},
                 {"SHA256", "SHA1", 32, BH_EDENIED},
                 {"SHA384", "SHA384", 32, BH_EDENIED},
                 {"SHA512", "SHA512", RSA_PSS_SALTLEN_DIGEST, BH_EDENIED}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        sign_pss("{\"alg\":\"PS256\"}", cases[i].digest, cases[i].mgf1, cases[i].salt, &token);
        assert_int_equal(verify(bh_bytes_slice(&token), &rules), cases[i].expected);
    }
    rules.algs |= BH_JWT_RS256; /* the same key, the other padding */
    sign_pss("{\"alg\":\"RS256\"}", "SHA256", "SHA256", 32, &token);
    assert_int_equal(verify(bh_bytes_slice(&token), &rules), BH_EDENIED);
    sign_with(rsa_2048, "{\"alg\":\"PS256\"}", "{}", "SHA256", 0, false, &token);
    assert_int_equal(verify(bh_bytes_slice(&token), &rules), BH_EDENIED);
    bh_jwt_key_free((struct bh_jwt_key *)rules.key);
    bh_bytes_free(&token);
}

/* RFC 8032 section 5.1.7: S below the group's order, so there is one signature and not many. */
static void eddsa_signatures_cannot_be_changed(void **state) {
    static const unsigned char order[] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                          0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                                          0,    0,    0,    0,    0,    0,    0,    0,
                                          0,    0,    0,    0,    0,    0,    0,    0x10};
    struct bh_bytes token = {0};
    struct bh_jwt_rules rules = {
        .algs = BH_JWT_EDDSA, .key = key_from_pem(public_pem(ed25519)), .now_ms = NOW};
    unsigned char signature[1024];
    begin_token("{\"alg\":\"EdDSA\"}", "{}", &token);
    size_t head = token.len,
           n = sign_raw(ed25519, NULL, NO_PSS, NULL, bh_bytes_slice(&token), signature);
    assert_int_equal(n, 64);
    for (size_t length = 0; length <= 65; length++) {
        token.len = head;
        bh_bytes_addc(&token, '.');
        add_part(&token, bh_slice(signature, length));
        assert_int_equal(verify(bh_bytes_slice(&token), &rules), length == 64 ? 0 : BH_EDENIED);
    }
    unsigned carry = 0;
    for (size_t i = 0; i < sizeof order; i++) {
        carry += signature[32 + i] + order[i];
        signature[32 + i] = (unsigned char)carry;
        carry >>= 8;
    }
    token.len = head + 1;
    add_part(&token, bh_slice(signature, 64));
    assert_int_equal(verify(bh_bytes_slice(&token), &rules), BH_EDENIED);
    bh_jwt_key_free((struct bh_jwt_key *)rules.key);
    bh_bytes_free(&token);
}

static void certificates_carry_keys_too(void **state) {
    EVP_PKEY *pkeys[] = {rsa_2048, p256, rsa_2048};
    const size_t with[] = {3, 6, 9};
    struct bh_bytes token = {0};
    for (size_t i = 0; i < COUNT(pkeys); i++) {
        struct bh_jwt_rules rules = {.algs = algs[with[i]].id,
                                     .key = key_from_pem(certificate_pem(pkeys[i])),
                                     .now_ms = NOW};
        make_token(with[i], NULL, &token);
        assert_int_equal(verify(bh_bytes_slice(&token), &rules), 0);
        bh_jwt_key_free((struct bh_jwt_key *)rules.key);
    }
    bh_bytes_free(&token);
}

static void weak_and_strange_keys_are_refused(void **state) {
    EVP_PKEY *small = EVP_RSA_gen(1024), *koblitz = EVP_EC_gen("secp256k1"),
             *edwards = EVP_PKEY_Q_keygen(NULL, NULL, "ED448");
    struct bh_slice pems[] = {public_pem(small), public_pem(koblitz), public_pem(edwards),
                              private_pem(rsa_2048), private_pem(p256)};
    assert_pem_refused(pems[0], "2048");
    assert_pem_refused(pems[1], "P-256");
    assert_pem_refused(pems[2], "Ed25519");
    assert_pem_refused(pems[3], "PEM");
    assert_pem_refused(pems[4], "PEM");
    for (size_t i = 0; i < COUNT(pems); i++)
        test_exact_free(pems[i]);
    EVP_PKEY_free(small);
    EVP_PKEY_free(koblitz);
    EVP_PKEY_free(edwards);
}

static void damaged_pem_is_refused(void **state) {
    struct bh_slice pem = public_pem(p256);
    assert_pem_refused(bh_slice(NULL, 0), "PEM");
    assert_pem_refused(BH_SLICE("no key"), "PEM");
    assert_pem_refused(BH_SLICE("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
                       "PEM");
    assert_pem_refused(BH_SLICE("-----BEGIN PUBLIC KEY-----\nProc-Type: 4,ENCRYPTED\n"
                                "DEK-Info: AES-128-CBC,00000000000000000000000000000000\n\n"
                                "AAAAAAAAAAAAAAAAAAAAAA==\n-----END PUBLIC KEY-----\n"),
                       "PEM");
    for (size_t n = 0; n < pem.n - 1; n += 3)
        assert_pem_refused(bh_slice(pem.p, n), "PEM");
    test_exact_free(pem);
    char *huge = calloc(1, 100000);
    assert_pem_refused(bh_slice(huge, 100000), "PEM");
    free(huge);
}

/* The classic attack: the public key as the HMAC secret. */
static void a_public_key_is_no_secret(void **state) {
    struct bh_bytes token = {0};
    struct bh_slice pem = public_pem(rsa_2048);
    sign_hs256(BH_SLICE("{\"alg\":\"HS256\"}"), BH_SLICE("{}"), pem, &token);
    struct bh_jwt_rules rules = {.algs = BH_JWT_RS256 | BH_JWT_HS256, .now_ms = NOW};
    rules.key = key_from_pem(pem);
    assert_int_equal(verify(bh_bytes_slice(&token), &rules), BH_EDENIED);
    bh_jwt_key_free((struct bh_jwt_key *)rules.key);
    bh_bytes_free(&token);
}

static void the_empty_secret_signs_and_verifies_nothing(void **state) {
    struct bh_bytes token = {0};
    struct bh_jwt_key *key = bh_jwt_key_secret(bh_slice(NULL, 0));
    struct bh_jwt_rules rules = {.algs = BH_JWT_HS256, .key = key, .now_ms = NOW};
    sign_hs256(BH_SLICE("{\"alg\":\"HS256\"}"), BH_SLICE("{}"), bh_slice(NULL, 0), &token);
    assert_int_equal(verify(bh_bytes_slice(&token), &rules), BH_EDENIED);
    bh_bytes_clear(&token);
    assert_int_equal(bh_jwt_sign(BH_JWT_HS256, key, BH_SLICE("{}"), &token), BH_EINVAL);
    assert_int_equal(token.len, 0);
    bh_jwt_key_free(key);
    bh_jwt_key_free(NULL);
    bh_bytes_free(&token);
}

/* RFC 7518 section 3.2. What a short secret signs is refused although the signature is right. */
static void a_secret_is_at_least_as_long_as_the_hash(void **state) {
    static const struct {
        unsigned alg;
        size_t least;
    } cases[] = {{BH_JWT_HS256, 32}, {BH_JWT_HS384, 48}, {BH_JWT_HS512, 64}};
    char bytes[65], why[BH_JWT_WHY_MAX], lengths[64];
    memset(bytes, 'k', sizeof bytes);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        struct bh_jwt_key *key = bh_jwt_key_secret(bh_slice(bytes, n));
        struct bh_jwt_rules rules = {.algs = ~0u, .key = key, .now_ms = NOW};
        for (size_t i = 0; i < COUNT(cases); i++) {
            struct bh_bytes token = {0};
            bool enough = n >= cases[i].least;
            assert_int_equal(bh_jwt_sign(cases[i].alg, key, BH_SLICE("{}"), &token),
                             enough ? 0 : BH_EINVAL);
            if (enough)
                assert_int_equal(verify(bh_bytes_slice(&token), &rules), 0);
            assert_int_equal(bh_jwt_secret_check(n, cases[i].alg, why), enough ? 0 : BH_EINVAL);
            snprintf(lengths, sizeof lengths, "has %zu bytes; HS%zu needs at least %zu ", n,
                     8 * cases[i].least, cases[i].least);
            assert_true(enough || strstr(why, lengths));
            bh_bytes_free(&token);
        }
        bh_jwt_key_free(key);
    }
    struct bh_bytes token = {0};
    struct bh_jwt_key *key = bh_jwt_key_secret(bh_slice(bytes, 31));
    struct bh_jwt_rules rules = {.algs = BH_JWT_HS256, .key = key, .now_ms = NOW};
    sign_hs256(BH_SLICE("{\"alg\":\"HS256\"}"), BH_SLICE("{}"), bh_slice(bytes, 31), &token);
    assert_int_equal(verify(bh_bytes_slice(&token), &rules), BH_EDENIED);
    bh_jwt_key_free(key);
    bh_bytes_free(&token);
}

/* The one that needs most decides; other algorithms need no secret. */
static void a_secret_must_serve_all_algorithms(void **state) {
    char why[BH_JWT_WHY_MAX];
    assert_int_equal(bh_jwt_secret_check(40, BH_JWT_HS256 | BH_JWT_HS512 | BH_JWT_HS384, why),
                     BH_EINVAL);
    assert_non_null(strstr(why, "HS512 needs at least 64"));
    assert_int_equal(bh_jwt_secret_check(50, BH_JWT_HS256 | BH_JWT_HS384, why), 0);
    assert_int_equal(bh_jwt_secret_check(0, BH_JWT_RS256 | BH_JWT_ES512 | BH_JWT_EDDSA, why), 0);
    assert_int_equal(bh_jwt_secret_check(0, 0, why), 0);
}

static void es_signatures_have_exactly_their_size(void **state) {
    struct bh_bytes token = {0};
    struct bh_jwt_rules rules = {
        .algs = BH_JWT_ES256, .key = key_from_pem(public_pem(p256)), .now_ms = NOW};
    sign_with(p256, "{\"alg\":\"ES256\"}", "{}", "SHA256", 32, true, &token);
    assert_int_equal(verify(bh_bytes_slice(&token), &rules), BH_EDENIED); /* DER is not JWS */
    sign_with(p256, "{\"alg\":\"ES256\"}", "{}", "SHA256", 33, false, &token);
    assert_int_equal(verify(bh_bytes_slice(&token), &rules), BH_EDENIED);
    unsigned char zeros[66] = {0};
    for (size_t n = 0; n <= sizeof zeros; n++) {
        token.len = (size_t)((char *)memrchr(token.p, '.', token.len) - token.p) + 1;
        add_part(&token, bh_slice(zeros, n));
        assert_int_equal(verify(bh_bytes_slice(&token), &rules), BH_EDENIED);
    }
    bh_jwt_key_free((struct bh_jwt_key *)rules.key);
    bh_bytes_free(&token);
}

/* --- headers --- */

static const struct bh_slice secret = BH_SLICE(HS_SECRET);

static int verify_header(const char *header) {
    struct bh_bytes token = {0};
    struct bh_jwt_key *key = bh_jwt_key_secret(secret);
    struct bh_jwt_rules rules = {.algs = BH_JWT_HS256, .key = key, .now_ms = NOW};
    sign_hs256(bh_slice_cstr(header), BH_SLICE("{}"), secret, &token);
    int rc = verify(bh_bytes_slice(&token), &rules);
    bh_jwt_key_free(key);
    bh_bytes_free(&token);
    return rc;
}

static void headers(void **state) {
    assert_int_equal(verify_header("{\"alg\":\"HS256\"}"), 0);
    assert_int_equal(verify_header(" {\"typ\":\"JWT\",\"kid\":\"7\",\"alg\":\"\\u0048S256\"}\n"),
                     0);
    static const char *const denied[] = {
        "{}",
        "{\"alg\":\"none\"}",
        "{\"alg\":\"None\"}",
        "{\"alg\":\"\"}",
        "{\"alg\":\"hs256\"}",
        "{\"alg\":\"HS256 \"}",
        "{\"alg\":\"HS384\"}",
        "{\"alg\":\"RS256\"}",
        "{\"alg\":\"PS256\"}",
        "{\"alg\":null}",
        "{\"alg\":[\"HS256\"]}",
        "{\"alg\":256}",
        "{\"alg\":\"HS256\",\"crit\":[\"exp\"]}",
        "{\"alg\":\"HS256\",\"crit\":[]}",
        "{\"alg\":\"HS256\",\"crit\":null}",
        "{\"alg\":\"HS256\",\"b64\":false,\"cr\\u0069t\":[\"b64\"]}",
    };
    for (size_t i = 0; i < COUNT(denied); i++)
        assert_int_equal(verify_header(denied[i]), BH_EDENIED);
    static const char *const malformed[] = {
        "",
        "null",
        "\"HS256\"",
        "[{\"alg\":\"HS256\"}]",
        "{\"alg\":\"HS256\"",
        "{\"alg\":\"HS256\"}}",
        "{alg:\"HS256\"}",
        "{\"alg\":\"none\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"\\u0061lg\":\"HS256\"}",
        "{\"x\":1,\"alg\":\"HS256\",\"x\":1}",
    };
    for (size_t i = 0; i < COUNT(malformed); i++)
        assert_int_equal(verify_header(malformed[i]), BH_EPROTO);
}

static void an_unsigned_token_never_passes(void **state) {
    struct bh_jwt_key *key = bh_jwt_key_secret(secret);
    struct bh_jwt_rules rules = {.algs = ~0u, .key = key, .now_ms = NOW};
    assert_int_equal(verify(BH_SLICE("eyJhbGciOiJub25lIn0.e30."), &rules), BH_EDENIED);
    bh_jwt_key_free(key);
}

static void names_of_algorithms(void **state) {
    for (size_t i = 0; i < ALG_COUNT; i++)
        assert_int_equal(bh_jwt_alg_from_name(bh_slice_cstr(algs[i].name)), algs[i].id);
    assert_int_equal(bh_jwt_alg_from_name(BH_SLICE("none")), 0);
    assert_int_equal(bh_jwt_alg_from_name(BH_SLICE("HS25")), 0);
    assert_int_equal(bh_jwt_alg_from_name(bh_slice("HS256\0", 6)), 0);
    assert_int_equal(bh_jwt_alg_from_name(bh_slice(NULL, 0)), 0);
}

/* --- shape --- */

static void what_is_no_token(void **state) {
    static const char *const bad[] = {
        "",    ".",       "..",          "...",         "a",
        "a.b", "a.b.c.d", RFC_HS256 ".", "." RFC_HS256, "Bearer " RFC_HS256,
    };
    struct bh_jwt_rules rules = {
        .algs = BH_JWT_HS256, .key = rfc_secret(), .now_ms = 1300819000000};
    assert_int_equal(verify(BH_SLICE(RFC_HS256), &rules), 0);
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(verify(bh_slice_cstr(bad[i]), &rules), BH_EPROTO);
    assert_int_equal(verify(bh_slice(NULL, 0), &rules), BH_EPROTO);
    bh_jwt_key_free((struct bh_jwt_key *)rules.key);
}

static void every_changed_byte_and_every_cut_is_noticed(void **state) {
    struct bh_jwt_rules rules = {
        .algs = BH_JWT_HS256, .key = rfc_secret(), .now_ms = 1300819000000};
    size_t n = strlen(RFC_HS256);
    for (size_t i = 0; i < n; i++) {
        static const char others[] = "Ab0-_. =+/\n\xff";
        for (size_t k = 0; k < COUNT(others); k++) { /* its NUL too */
            char token[sizeof RFC_HS256] = RFC_HS256;
            if (token[i] == others[k])
                continue;
            token[i] = others[k];
            assert_int_not_equal(verify(bh_slice(token, n), &rules), 0);
        }
        assert_int_not_equal(verify(bh_slice(RFC_HS256, i), &rules), 0);
    }
    assert_int_not_equal(verify(BH_SLICE(RFC_HS256 "A"), &rules), 0);
    assert_int_not_equal(verify(BH_SLICE(RFC_HS256 "="), &rules), 0);
    assert_int_not_equal(verify(BH_SLICE(RFC_HS256 "\n"), &rules), 0);
    bh_jwt_key_free((struct bh_jwt_key *)rules.key);
}

static void the_size_is_bounded(void **state) {
    struct bh_jwt_key *key = bh_jwt_key_secret(secret);
    struct bh_jwt_rules rules = {.algs = BH_JWT_HS256, .key = key, .now_ms = NOW};
    struct bh_bytes token = {0}, claims = {0};
    for (size_t n = 12100; n < 12300; n++) {
        bh_bytes_clear(&token);
        bh_bytes_clear(&claims);
        bh_bytes_addf(&claims, "{\"a\":\"%0*d\"}", (int)n - 8, 0);
        assert_int_equal(bh_jwt_sign(BH_JWT_HS256, key, bh_bytes_slice(&claims), &token), 0);
        assert_int_equal(verify(bh_bytes_slice(&token), &rules),
                         token.len <= BH_JWT_MAX ? 0 : BH_EPROTO);
    }
    assert_true(token.len > BH_JWT_MAX);
    bh_bytes_free(&token);
    bh_bytes_free(&claims);
    bh_jwt_key_free(key);
}

/* --- claims --- */

static const char *claims_why; /* of the last token that was refused */

static int verify_claims(const char *claims, struct bh_jwt_rules rules) {
    struct bh_bytes token = {0};
    struct bh_jwt_key *key = bh_jwt_key_secret(secret);
    rules.algs = BH_JWT_HS256;
    rules.key = key;
    rules.now_ms = rules.now_ms ? rules.now_ms : NOW;
    sign_hs256(BH_SLICE("{\"alg\":\"HS256\"}"), bh_slice_cstr(claims), secret, &token);
    int rc = verify(bh_bytes_slice(&token), &rules);
    struct bh_bytes ignored = {0};
    bh_jwt_verify(bh_bytes_slice(&token), &rules, &ignored, &claims_why);
    bh_bytes_free(&ignored);
    bh_jwt_key_free(key);
    bh_bytes_free(&token);
    return rc;
}

#define CLAIMS(claims, ...) verify_claims(claims, (struct bh_jwt_rules){__VA_ARGS__})

static void times(void **state) {
    assert_int_equal(CLAIMS("{\"exp\":1700000001}", 0), 0);
    assert_int_equal(CLAIMS("{\"exp\":1700000000.5}", 0), 0);
    assert_int_equal(CLAIMS("{\"exp\":1.7000000005e9}", 0), 0);
    assert_int_equal(CLAIMS("{\"exp\":1700000000}", 0), BH_ETIMEDOUT);
    assert_int_equal(CLAIMS("{\"exp\":0}", 0), BH_ETIMEDOUT);
    assert_int_equal(CLAIMS("{\"exp\":-1e300}", 0), BH_ETIMEDOUT);
    assert_int_equal(CLAIMS("{\"exp\":1699999991}", .leeway_ms = 10000), 0);
    assert_int_equal(CLAIMS("{\"exp\":1699999990}", .leeway_ms = 10000), BH_ETIMEDOUT);
    assert_int_equal(CLAIMS("{}", .require_exp = true), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"exp\":1700000001}", .require_exp = true), 0);

    assert_int_equal(CLAIMS("{\"nbf\":1700000000}", 0), 0);
    assert_int_equal(CLAIMS("{\"nbf\":1700000001}", 0), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"nbf\":1700000010}", .leeway_ms = 10000), 0);
    assert_int_equal(CLAIMS("{\"nbf\":1700000011}", .leeway_ms = 10000), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"iat\":1700000000}", 0), 0);
    assert_int_equal(CLAIMS("{\"iat\":1700000001}", 0), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"iat\":1700000010}", .leeway_ms = 10000), 0);
    assert_int_equal(CLAIMS("{\"nbf\":1700000001,\"exp\":1}", 0), BH_EDENIED);
}

/* RFC 7519 section 2: a NumericDate may have a fraction. `time.time()` of an issuer with the same
 * clock is within the current millisecond. */
static void fractions_of_a_second(void **state) {
    const struct bh_jwt_rules at = {.now_ms = NOW + 250},
                              late = {.now_ms = NOW + 250, .leeway_ms = 500};
    static const char *const names[] = {"nbf", "iat"};
    char claims[64];
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(claims, sizeof claims, "{\"%s\":1700000000.25}", names[i]);
        assert_int_equal(verify_claims(claims, at), 0);
        snprintf(claims, sizeof claims, "{\"%s\":1700000000.250999}", names[i]);
        assert_int_equal(verify_claims(claims, at), 0);
        snprintf(claims, sizeof claims, "{\"%s\":1700000000.252}", names[i]);
        assert_int_equal(verify_claims(claims, at), BH_EDENIED);
        snprintf(claims, sizeof claims, "{\"%s\":1700000000.75}", names[i]);
        assert_int_equal(verify_claims(claims, at), BH_EDENIED);
        assert_int_equal(verify_claims(claims, late), 0);
        snprintf(claims, sizeof claims, "{\"%s\":1700000000.752}", names[i]);
        assert_int_equal(verify_claims(claims, late), BH_EDENIED);
    }
    assert_int_equal(verify_claims("{\"exp\":1700000000.5}", at), 0);
    assert_int_equal(verify_claims("{\"exp\":1700000000.25}", at), BH_ETIMEDOUT);
    assert_int_equal(verify_claims("{\"exp\":1700000000}", at), BH_ETIMEDOUT);
    assert_int_equal(verify_claims("{\"exp\":1700000000}", late), 0);
    assert_int_equal(verify_claims("{\"exp\":1699999999.75}", late), BH_ETIMEDOUT);
}

/* An issuer that writes milliseconds (Date.now()) is told so; the token would be valid for 55,000
 * years otherwise. */
static void times_in_milliseconds(void **state) {
    static const char *const names[] = {"exp", "nbf", "iat"};
    static const char *const values[] = {"1700000060000", "1e12", "1000000000000.5", "1e300"};
    char claims[64];
    for (size_t i = 0; i < COUNT(names); i++) {
        for (size_t k = 0; k < COUNT(values); k++) {
            snprintf(claims, sizeof claims, "{\"%s\":%s}", names[i], values[k]);
            assert_int_equal(CLAIMS(claims, 0), BH_EDENIED);
            assert_non_null(strstr(claims_why, "milliseconds"));
        }
    }
    assert_int_equal(CLAIMS("{\"exp\":999999999999}", 0), 0);
    assert_int_equal(CLAIMS("{\"exp\":-1700000060000}", 0), BH_ETIMEDOUT);
}

static void times_that_are_no_numbers(void **state) {
    static const char *const values[] = {"\"1900000000\"",
                                         "null",
                                         "true",
                                         "[1900000000]",
                                         "{}",
                                         "1e400",
                                         "\"\"",
                                         "1900000000000000000000000000000000000000000000000000000"
                                         "0000000000000"};
    static const char *const names[] = {"exp", "nbf", "iat"};
    for (size_t i = 0; i < COUNT(values); i++) {
        for (size_t k = 0; k < COUNT(names); k++) {
            char claims[160];
            snprintf(claims, sizeof claims, "{\"%s\":%s}", names[k], values[i]);
            assert_int_equal(CLAIMS(claims, 0), BH_EDENIED);
        }
    }
}

static void issuers(void **state) {
    assert_int_equal(CLAIMS("{\"iss\":\"me\"}", .issuer = "me"), 0);
    assert_int_equal(CLAIMS("{\"iss\":\"m\\u0065\"}", .issuer = "me"), 0);
    assert_int_equal(CLAIMS("{\"iss\":\"me\"}", 0), 0);
    assert_int_equal(CLAIMS("{\"iss\":\"Me\"}", .issuer = "me"), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"iss\":\"me\\u0000\"}", .issuer = "me"), BH_EDENIED);
    assert_int_equal(CLAIMS("{}", .issuer = "me"), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"iss\":[\"me\"]}", .issuer = "me"), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"iss\":1}", 0), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"iss\":null}", .issuer = ""), BH_EDENIED);
}

static void audiences(void **state) {
    assert_int_equal(CLAIMS("{\"aud\":\"bell\"}", .audience = "bell"), 0);
    assert_int_equal(CLAIMS("{\"aud\":[\"x\",\"bell\"]}", .audience = "bell"), 0);
    assert_int_equal(CLAIMS("{\"aud\":[\"x\",\"bell\"]}", 0), 0);
    assert_int_equal(CLAIMS("{\"aud\":\"bellhop\"}", .audience = "bell"), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"aud\":[]}", .audience = "bell"), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"aud\":[\"x\"]}", .audience = "bell"), BH_EDENIED);
    assert_int_equal(CLAIMS("{}", .audience = "bell"), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"aud\":[\"bell\",1]}", .audience = "bell"), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"aud\":[[\"bell\"]]}", .audience = "bell"), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"aud\":{\"bell\":\"bell\"}}", .audience = "bell"), BH_EDENIED);
    assert_int_equal(CLAIMS("{\"aud\":7}", 0), BH_EDENIED);
}

static void claims_are_one_object_without_twins(void **state) {
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "\"{}\"",
        "{\"a\":1",
        "{}{}",
        "{\"exp\":1900000000,\"exp\":1900000000}",
        "{\"exp\":1900000000,\"e\\u0078p\":1}",
        "{\"role\":\"user\",\"x\":0,\"role\":\"admin\"}",
        "{\"\":1,\"\":2}",
        "{\"a\":\"\xff\"}",
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(CLAIMS(bad[i], 0), BH_EPROTO);
    assert_int_equal(CLAIMS(" {\"sub\":9223372036854775807,\"a\":{\"b\":1},\"b\":1} ", 0), 0);
}

/* As many short names as a token can hold. */
static void many_claims_are_no_trouble(void **state) {
    struct bh_bytes claims = {0};
    bh_bytes_adds(&claims, "{");
    for (int i = 0; i < 1200; i++)
        bh_bytes_addf(&claims, "%s\"%d\":0", i ? "," : "", i);
    bh_bytes_add(&claims, bh_slice("}\0", 2));
    assert_int_equal(CLAIMS(claims.p, 0), 0);
    claims.len -= 2;
    bh_bytes_add(&claims, bh_slice(",\"7\":0}\0", 8));
    assert_int_equal(CLAIMS(claims.p, 0), BH_EPROTO);
    bh_bytes_free(&claims);
}

/* --- signing --- */

static void signs_what_it_verifies(void **state) {
    struct bh_jwt_key *key = bh_jwt_key_secret(secret);
    struct bh_bytes token = {0}, claims = {0};
    bh_bytes_adds(&token, "Bearer ");
    assert_int_equal(bh_jwt_sign(BH_JWT_HS384, key, BH_SLICE("{\"sub\":\"42\"}"), &token), 0);
    struct bh_jwt_rules rules = {.algs = BH_JWT_HS256 | BH_JWT_HS384, .key = key, .now_ms = NOW};
    assert_int_equal(bh_jwt_verify(bh_slice(token.p + 7, token.len - 7), &rules, &claims, NULL), 0);
    assert_slice(bh_bytes_slice(&claims), "{\"sub\":\"42\"}");
    bh_bytes_free(&claims);
    bh_bytes_free(&token);
    bh_jwt_key_free(key);
}

static void refuses_to_sign_nonsense(void **state) {
    struct bh_jwt_key *key = bh_jwt_key_secret(secret);
    struct bh_jwt_key *public = key_from_pem(public_pem(rsa_2048));
    struct bh_bytes token = {0};
    assert_int_equal(bh_jwt_sign(0, key, BH_SLICE("{}"), &token), BH_EINVAL);
    assert_int_equal(bh_jwt_sign(BH_JWT_HS256 | BH_JWT_HS384, key, BH_SLICE("{}"), &token),
                     BH_EINVAL);
    assert_int_equal(bh_jwt_sign(BH_JWT_RS256, key, BH_SLICE("{}"), &token), BH_EINVAL);
    assert_int_equal(bh_jwt_sign(BH_JWT_RS256, public, BH_SLICE("{}"), &token), BH_EINVAL);
    assert_int_equal(bh_jwt_sign(BH_JWT_HS256, public, BH_SLICE("{}"), &token), BH_EINVAL);
    assert_int_equal(bh_jwt_sign(BH_JWT_HS256, key, BH_SLICE("[]"), &token), BH_EINVAL);
    assert_int_equal(bh_jwt_sign(BH_JWT_HS256, key, BH_SLICE("{"), &token), BH_EINVAL);
    assert_int_equal(bh_jwt_sign(BH_JWT_HS256, key, bh_slice(NULL, 0), &token), BH_EINVAL);
    assert_int_equal(token.len, 0);
    bh_bytes_free(&token);
    bh_jwt_key_free(public);
    bh_jwt_key_free(key);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verifies_the_vectors_of_the_rfc),
        cmocka_unit_test(verifies_the_other_vectors_and_refuses_their_payload),
        cmocka_unit_test(each_algorithm_takes_only_its_own_tokens_and_keys),
        cmocka_unit_test(ps256_has_one_salt_length_and_one_hash),
        cmocka_unit_test(eddsa_signatures_cannot_be_changed),
        cmocka_unit_test(certificates_carry_keys_too),
        cmocka_unit_test(weak_and_strange_keys_are_refused),
        cmocka_unit_test(damaged_pem_is_refused),
        cmocka_unit_test(a_public_key_is_no_secret),
        cmocka_unit_test(the_empty_secret_signs_and_verifies_nothing),
        cmocka_unit_test(a_secret_is_at_least_as_long_as_the_hash),
        cmocka_unit_test(a_secret_must_serve_all_algorithms),
        cmocka_unit_test(es_signatures_have_exactly_their_size),
        cmocka_unit_test(headers),
        cmocka_unit_test(an_unsigned_token_never_passes),
        cmocka_unit_test(names_of_algorithms),
        cmocka_unit_test(what_is_no_token),
        cmocka_unit_test(every_changed_byte_and_every_cut_is_noticed),
        cmocka_unit_test(the_size_is_bounded),
        cmocka_unit_test(times),
        cmocka_unit_test(fractions_of_a_second),
        cmocka_unit_test(times_in_milliseconds),
        cmocka_unit_test(times_that_are_no_numbers),
        cmocka_unit_test(issuers),
        cmocka_unit_test(audiences),
        cmocka_unit_test(claims_are_one_object_without_twins),
        cmocka_unit_test(many_claims_are_no_trouble),
        cmocka_unit_test(signs_what_it_verifies),
        cmocka_unit_test(refuses_to_sign_nonsense),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
