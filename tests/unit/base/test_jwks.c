/* Key sets: the vectors of RFC 7515, 7517 and 8037, generated keys, and every kind of invalid key.
 */
#include "bellhop/base/jwks.h"

#include "jwt_test.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#define BOTH(alg) ((alg) | BH_JWT_HS256)

/* --- sets --- */

static struct bh_jwks *parse(const char *text) {
    struct bh_slice exact = test_exact(bh_slice_cstr(text));
    struct bh_jwks *set = NULL;
    const char *why = NULL;
    if (bh_jwks_parse(exact, &set, &why))
        fail_msg("%s", why);
    assert_null(why);
    assert_int_equal(ERR_peek_error(), 0);
    test_exact_free(exact);
    return set;
}

static void assert_set_refused(struct bh_slice text, const char *word) {
    struct bh_slice exact = test_exact(text);
    struct bh_jwks *set = NULL;
    const char *why = NULL;
    assert_int_equal(bh_jwks_parse(exact, &set, &why), BH_EINVAL);
    assert_null(set);
    assert_non_null(strstr(why, word));
    assert_int_equal(bh_jwks_parse(exact, &set, NULL), BH_EINVAL);
    assert_int_equal(ERR_peek_error(), 0);
    test_exact_free(exact);
}

/* A set of this key alone skips it for this reason. */
static void assert_key_skipped(const char *jwk, const char *word) {
    char text[8192];
    const char *why = NULL;
    snprintf(text, sizeof text, "{\"keys\":[%s]}", jwk);
    struct bh_jwks *set = parse(text);
    assert_int_equal(bh_jwks_count(set), 0);
    assert_int_equal(bh_jwks_skipped(set, &why), 1);
    if (!strstr(why, word))
        fail_msg("%s: the reason is: %s", jwk, why);
    bh_jwks_free(set);
}

static int verify_with(struct bh_slice token, const struct bh_jwks *set, unsigned accepted) {
    struct bh_jwt_rules rules = {.algs = accepted, .keys = set, .now_ms = 1300819379000};
    return verify(token, &rules);
}

/* --- keys --- */

static void add_member(struct bh_bytes *jwk, const char *name, struct bh_slice bytes) {
    bh_bytes_addf(jwk, ",\"%s\":\"", name);
    add_part(jwk, bytes);
    bh_bytes_adds(jwk, "\"");
}

static void add_number(struct bh_bytes *jwk, const char *name, EVP_PKEY *pkey, const char *param,
                       size_t size) {
    unsigned char bytes[2048];
    BIGNUM *number = NULL;
    assert_int_equal(EVP_PKEY_get_bn_param(pkey, param, &number), 1);
    int n = BN_bn2binpad(number, bytes, (int)(size ? size : (size_t)BN_num_bytes(number)));
    assert_true(n > 0);
    add_member(jwk, name, bh_slice(bytes, (size_t)n));
    BN_free(number);
}

/* The public half as a JWK; `more` are further members, ",\"kid\":\"a\"". */
static void add_jwk(struct bh_bytes *out, EVP_PKEY *pkey, const char *more) {
    unsigned char x[32];
    size_t n = sizeof x, half = ((size_t)EVP_PKEY_get_bits(pkey) + 7) / 8;
    const char *crv = half == 32 ? "P-256" : half == 48 ? "P-384" : "P-521";
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        bh_bytes_adds(out, "{\"kty\":\"RSA\"");
        add_number(out, "n", pkey, OSSL_PKEY_PARAM_RSA_N, 0);
        add_number(out, "e", pkey, OSSL_PKEY_PARAM_RSA_E, 0);
        break;
    case EVP_PKEY_EC:
        bh_bytes_addf(out, "{\"kty\":\"EC\",\"crv\":\"%s\"", crv);
        add_number(out, "x", pkey, OSSL_PKEY_PARAM_EC_PUB_X, half);
        add_number(out, "y", pkey, OSSL_PKEY_PARAM_EC_PUB_Y, half);
        break;
    default:
        assert_int_equal(EVP_PKEY_get_raw_public_key(pkey, x, &n), 1);
        bh_bytes_adds(out, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"");
        add_member(out, "x", bh_slice(x, n));
    }
    bh_bytes_addf(out, "%s}", more);
}

static void add_secret(struct bh_bytes *out, const char *more) {
    bh_bytes_adds(out, "{\"kty\":\"oct\"");
    add_member(out, "k", BH_SLICE(HS_SECRET));
    bh_bytes_addf(out, "%s}", more);
}

static struct bh_jwks *set_of(struct bh_bytes *keys) {
    struct bh_bytes text = {0};
    bh_bytes_addf(&text, "{\"keys\":[%.*s]}", BH_SLICE_ARG(bh_bytes_slice(keys)));
    bh_bytes_addc(&text, '\0');
    struct bh_jwks *set = parse(text.p);
    bh_bytes_free(&text);
    return set;
}

static struct bh_jwks *set_of_one(EVP_PKEY *pkey, const char *more) {
    struct bh_bytes jwk = {0};
    if (pkey)
        add_jwk(&jwk, pkey, more);
    else
        add_secret(&jwk, more);
    struct bh_jwks *set = set_of(&jwk);
    bh_bytes_free(&jwk);
    return set;
}

static size_t index_of(unsigned alg) {
    size_t i = 0;
    while (algs[i].id != alg)
        i++;
    return i;
}

/* Of a token of this algorithm and kid (NULL: none) under the set, every algorithm accepted. */
static int verify_made(unsigned alg, const char *kid, const struct bh_jwks *set) {
    struct bh_bytes token = {0};
    make_token(index_of(alg), kid, &token);
    int rc = verify_with(bh_bytes_slice(&token), set, ~0u);
    bh_bytes_free(&token);
    return rc;
}

/* --- vectors --- */

#define EC_7515                                                                                    \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","     \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\","                                       \
    "\"d\":\"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI\"}"
#define RSA_7515                                                                                   \
    "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-"   \
    "Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_"   \
    "7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3"  \
    "qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWy"  \
    "uXpoQ\",\"e\":\"AQAB\"}"
#define EC_7515_P521                                                                               \
    "{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5" \
    "EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk\",\"y\":\"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2" \
    "Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2\"}"
/* RFC 7517, appendix A.3: a key to wrap others with, and the secret of RFC 7515 A.1. */
#define OCT_7517                                                                                   \
    "{\"kty\":\"oct\",\"alg\":\"A128KW\",\"k\":\"GawgguFyGrWKav7AX4VKUg\"},"                       \
    "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS"  \
    "4hcgUuTwjAzZr1Z9CAow\",\"kid\":\"HMAC key used in JWS spec Appendix A.1 example\"}"
/* RFC 8037, appendix A.1. */
#define OKP_8037                                                                                   \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\","  \
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"

static void verifies_the_vectors_of_the_rfcs(void **state) {
    struct bh_jwks *set =
        parse("{\"keys\":[" EC_7515 "," OCT_7517 "," RSA_7515 "," EC_7515_P521 "," OKP_8037 "]}");
    const char *why;
    assert_int_equal(bh_jwks_count(set), 5);
    assert_int_equal(bh_jwks_skipped(set, &why), 1);
    assert_non_null(strstr(why, "alg"));
    const struct {
        const char *token;
        unsigned alg;
        int expected; /* BH_EPROTO: it signs plain words */
    } cases[] = {{RFC_HS256, BH_JWT_HS256, 0},
                 {RFC_RS256, BH_JWT_RS256, 0},
                 {RFC_ES256, BH_JWT_ES256, 0},
                 {RFC_ES512, BH_JWT_ES512, BH_EPROTO},
                 {RFC_EDDSA, BH_JWT_EDDSA, BH_EPROTO}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bh_slice token = bh_slice_cstr(cases[i].token);
        assert_int_equal(verify_with(token, set, cases[i].alg), cases[i].expected);
        assert_int_equal(verify_with(token, set, ~0u), cases[i].expected);
        assert_int_equal(verify_with(token, set, ~cases[i].alg), BH_EDENIED);
        struct bh_bytes forged = {0};
        bh_bytes_add(&forged, token);
        forged.p[forged.len - 5] ^= 1;
        assert_int_equal(verify_with(bh_bytes_slice(&forged), set, ~0u), BH_EDENIED);
        bh_bytes_free(&forged);
    }
    bh_jwks_free(set);
}

/* RFC 7517, appendix A.1: the EC key is for encryption, the RSA key for RS256. */
static void reads_the_public_keys_of_rfc_7517(void **state) {
    struct bh_jwks *set = parse(
        "{\"keys\":\n [\n  {\"kty\":\"EC\",\n   \"crv\":\"P-256\",\n"
        "   \"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\n"
        "   \"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\",\n"
        "   \"use\":\"enc\",\n   \"kid\":\"1\"},\n\n  {\"kty\":\"RSA\",\n"
        "   \"n\": "
        "\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR"
        "1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-"
        "65YG"
        "jQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-"
        "bFTWh"
        "AI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw\",\n"
        "   \"e\":\"AQAB\",\n   \"alg\":\"RS256\",\n   \"kid\":\"2011-04-29\"}\n ]\n}\n");
    const char *why;
    assert_int_equal(bh_jwks_count(set), 1);
    assert_int_equal(bh_jwks_skipped(set, &why), 1);
    assert_non_null(strstr(why, "use"));
    bh_jwks_free(set);
}

/* --- types and algorithms --- */

/* Each type of key alone in a set, with a token of each algorithm. */
static void each_type_serves_only_its_own_algorithms(void **state) {
    const struct {
        EVP_PKEY *pkey; /* NULL: the secret */
        unsigned serves;
    } types[] = {{NULL, BH_JWT_HS256 | BH_JWT_HS384 | BH_JWT_HS512},
                 {rsa_2048, BH_JWT_RS256 | BH_JWT_RS384 | BH_JWT_RS512 | BH_JWT_PS256},
                 {p256, BH_JWT_ES256},
                 {p384, BH_JWT_ES384},
                 {p521, BH_JWT_ES512},
                 {ed25519, BH_JWT_EDDSA}};
    for (size_t k = 0; k < COUNT(types); k++) {
        struct bh_jwks *set = set_of_one(types[k].pkey, "");
        assert_int_equal(bh_jwks_count(set), 1);
        for (size_t i = 0; i < ALG_COUNT; i++)
            assert_int_equal(verify_made(algs[i].id, NULL, set),
                             types[k].serves & algs[i].id ? 0 : BH_EDENIED);
        bh_jwks_free(set);
    }
}

/* The classic attack with a public key: its JWK as the secret. */
static void a_public_key_of_a_set_is_no_secret(void **state) {
    struct bh_bytes jwk = {0}, token = {0};
    add_jwk(&jwk, rsa_2048, "");
    struct bh_jwks *set = set_of(&jwk);
    struct bh_slice pem = public_pem(rsa_2048), secrets[] = {pem, bh_bytes_slice(&jwk)};
    for (size_t i = 0; i < COUNT(secrets); i++) {
        sign_hs256(BH_SLICE("{\"alg\":\"HS256\"}"), BH_SLICE("{}"), secrets[i], &token);
        assert_int_equal(verify_with(bh_bytes_slice(&token), set, BOTH(BH_JWT_RS256)), BH_EDENIED);
    }
    test_exact_free(pem);
    bh_jwks_free(set);
    bh_bytes_free(&token);
    bh_bytes_free(&jwk);
}

static void alg_narrows_a_key(void **state) {
    struct bh_jwks *set = set_of_one(rsa_2048, ",\"alg\":\"PS256\"");
    assert_int_equal(verify_made(BH_JWT_PS256, NULL, set), 0);
    assert_int_equal(verify_made(BH_JWT_RS256, NULL, set), BH_EDENIED);
    bh_jwks_free(set);
    set = set_of_one(NULL, ",\"alg\":\"HS512\"");
    assert_int_equal(verify_made(BH_JWT_HS512, NULL, set), 0);
    assert_int_equal(verify_made(BH_JWT_HS256, NULL, set), BH_EDENIED);
    bh_jwks_free(set);
}

static void use_and_key_ops_are_honoured(void **state) {
    static const char *const good[] = {"", ",\"use\":\"sig\"", ",\"key_ops\":[\"verify\"]",
                                       ",\"use\":\"sig\",\"key_ops\":[\"sign\",\"verify\"]"};
    static const char *const bad[] = {",\"use\":\"enc\"",
                                      ",\"use\":\"SIG\"",
                                      ",\"use\":null",
                                      ",\"use\":[\"sig\"]",
                                      ",\"key_ops\":[]",
                                      ",\"key_ops\":[\"encrypt\",\"sign\"]",
                                      ",\"key_ops\":\"verify\"",
                                      ",\"key_ops\":[[\"verify\"]]",
                                      ",\"key_ops\":{\"verify\":\"verify\"}",
                                      ",\"use\":\"enc\",\"key_ops\":[\"verify\"]",
                                      ",\"use\":\"sig\",\"key_ops\":[\"sign\"]"};
    for (size_t i = 0; i < COUNT(good); i++) {
        struct bh_jwks *set = set_of_one(p256, good[i]);
        assert_int_equal(verify_made(BH_JWT_ES256, NULL, set), 0);
        bh_jwks_free(set);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct bh_jwks *set = set_of_one(p256, bad[i]);
        assert_int_equal(bh_jwks_count(set), 0);
        assert_int_equal(verify_made(BH_JWT_ES256, NULL, set), BH_EDENIED);
        bh_jwks_free(set);
    }
}

/* --- choosing --- */

static void the_kid_picks(void **state) {
    EVP_PKEY *others[] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-256")};
    struct bh_bytes keys = {0};
    add_jwk(&keys, others[0], ",\"kid\":\"other\"");
    bh_bytes_addc(&keys, ',');
    add_jwk(&keys, p256, ",\"kid\":\"m\\u0069ne\"");
    bh_bytes_addc(&keys, ',');
    add_jwk(&keys, others[1], "");
    struct bh_jwks *set = set_of(&keys);
    assert_int_equal(bh_jwks_count(set), 3);
    assert_int_equal(verify_made(BH_JWT_ES256, "mine", set), 0);
    assert_int_equal(verify_made(BH_JWT_ES256, "\\u006dine", set), 0);
    assert_int_equal(verify_made(BH_JWT_ES256, NULL, set), 0);
    static const char *const wrong[] = {"other", "", "min", "minee", "MINE", "mine\\u0000"};
    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_int_equal(verify_made(BH_JWT_ES256, wrong[i], set), BH_EDENIED);
    bh_jwks_free(set);
    bh_bytes_free(&keys);
    EVP_PKEY_free(others[0]);
    EVP_PKEY_free(others[1]);
}

static void a_kid_must_be_a_string(void **state) {
    struct bh_jwks *set = set_of_one(p256, ",\"kid\":\"7\"");
    struct bh_bytes token = {0};
    static const char *const headers[] = {"{\"alg\":\"ES256\",\"kid\":7}",
                                          "{\"alg\":\"ES256\",\"kid\":null}",
                                          "{\"alg\":\"ES256\",\"kid\":[\"7\"]}"};
    for (size_t i = 0; i < COUNT(headers); i++) {
        sign_with(p256, headers[i], "{}", "SHA256", 32, false, &token);
        assert_int_equal(verify_with(bh_bytes_slice(&token), set, ~0u), BH_EDENIED);
    }
    bh_jwks_free(set);
    set = set_of_one(p256, ",\"kid\":7");
    assert_int_equal(bh_jwks_count(set), 0);
    bh_jwks_free(set);
    bh_bytes_free(&token);
}

/* Keys of different types may share a kid, and so may several of one type. */
static void keys_may_share_a_kid(void **state) {
    EVP_PKEY *old = EVP_EC_gen("P-256");
    struct bh_bytes keys = {0};
    add_jwk(&keys, rsa_2048, ",\"kid\":\"a\"");
    bh_bytes_addc(&keys, ',');
    add_jwk(&keys, old, ",\"kid\":\"a\"");
    bh_bytes_addc(&keys, ',');
    add_jwk(&keys, p256, ",\"kid\":\"a\"");
    struct bh_jwks *set = set_of(&keys);
    assert_int_equal(verify_made(BH_JWT_ES256, "a", set), 0);
    assert_int_equal(verify_made(BH_JWT_RS256, "a", set), 0);
    assert_int_equal(verify_made(BH_JWT_ES384, "a", set), BH_EDENIED);
    bh_jwks_free(set);
    bh_bytes_free(&keys);
    EVP_PKEY_free(old);
}

/* Without kid at most eight keys of the type are tried; others do not count. */
static void tries_are_bounded(void **state) {
    struct bh_bytes keys = {0};
    add_jwk(&keys, ed25519, "");
    bh_bytes_addc(&keys, ',');
    for (int i = 1; i <= 8; i++) {
        EVP_PKEY *other = EVP_EC_gen("P-256");
        struct bh_bytes with = {0};
        char kid[32];
        snprintf(kid, sizeof kid, ",\"kid\":\"%d\"", i);
        bh_bytes_add(&with, bh_bytes_slice(&keys));
        add_jwk(&with, p256, ",\"kid\":\"mine\"");
        struct bh_jwks *set = set_of(&with);
        assert_int_equal(verify_made(BH_JWT_ES256, NULL, set), 0);
        bh_jwks_free(set);
        bh_bytes_free(&with);
        add_jwk(&keys, other, kid);
        bh_bytes_addc(&keys, ',');
        EVP_PKEY_free(other);
    }
    add_jwk(&keys, p256, ",\"kid\":\"mine\"");
    struct bh_jwks *set = set_of(&keys);
    assert_int_equal(verify_made(BH_JWT_ES256, NULL, set), BH_EDENIED);
    assert_int_equal(verify_made(BH_JWT_ES256, "mine", set), 0);
    bh_jwks_free(set);
    bh_bytes_free(&keys);
}

/* --- what is no key --- */

/* 32 bytes, and one less. */
#define K32 "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
#define K31 "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZQ"

static void unusable_keys_are_skipped(void **state) {
    static const struct {
        const char *jwk, *word;
    } cases[] = {
        {"{}", "kty"},
        {"{\"kty\":\"rsa\"}", "kty"},
        {"{\"kty\":7}", "kty"},
        {"{\"kty\":\"AKP\",\"alg\":\"ML-DSA-44\",\"pub\":\"AA\"}", "kty"},
        {"{\"kty\":\"RSA\",\"e\":\"AQAB\"}", "n or e"},
        {"{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"}", "n or e"},
        {"{\"kty\":\"RSA\",\"n\":\"AQAB\"}", "n or e"},
        {"{\"kty\":\"RSA\",\"n\":65537,\"e\":\"AQAB\"}", "n or e"},
        {"{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", "2048"},
        {"{\"kty\":\"EC\",\"x\":\"AA\",\"y\":\"AA\"}", "P-256"},
        {"{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}", "P-256"},
        {"{\"kty\":\"EC\",\"crv\":\"Ed25519\",\"x\":\"AA\",\"y\":\"AA\"}", "P-256"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\"}", "x or y"},
        {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}", "x or y"},
        {"{\"kty\":\"OKP\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}", "Ed25519"},
        {"{\"kty\":\"OKP\",\"crv\":\"X25519\","
         "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
         "Ed25519"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}", "x is"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg\"}", "x is"},
        {"{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
         "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"}",
         "x is"},
        {"{\"kty\":\"oct\"}", "k is"},
        {"{\"kty\":\"oct\",\"k\":\"\"}", "k is"},
        {"{\"kty\":\"oct\",\"k\":\"A\"}", "k is"},
        {"{\"kty\":\"oct\",\"k\":\"A+\"}", "k is"},
        {"{\"kty\":\"oct\",\"k\":\"" K31 "\"}", "shorter"},
        {"{\"kty\":\"oct\",\"k\":\"" K32 "\",\"alg\":\"HS384\"}", "shorter"},
        {"{\"kty\":\"oct\",\"k\":\"" K32 "\",\"alg\":\"HS512\"}", "shorter"},
        {"{\"kty\":\"oct\",\"k\":\"" K32 "\",\"alg\":\"RS256\"}", "alg"},
        {"{\"kty\":\"oct\",\"k\":\"" K32 "\",\"alg\":\"none\"}", "alg"},
        {"{\"kty\":\"oct\",\"k\":\"" K32 "\",\"alg\":null}", "alg"},
        {"{\"kty\":\"oct\",\"k\":\"" K32 "\",\"kid\":null}", "kid"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_key_skipped(cases[i].jwk, cases[i].word);
}

static void coordinates_have_their_full_size_and_name_a_point(void **state) {
    static const struct {
        const char *x, *y;
    } bad[] = {
        {"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
         "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}, /* not on the curve */
        {"AH_Nzidw9sRdQYPL7m_bS3tYBzM1e-nvE7rPbjx70VRF",
         "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}, /* a zero in front */
        {"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEXH",
         "8UTNG72bfocs3-257rn0s2ldbqkLJK2KRiMohYjlrQ"}, /* a byte on the wrong side */
        {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
    };
    char jwk[512];
    for (size_t i = 0; i < COUNT(bad); i++) {
        snprintf(jwk, sizeof jwk, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"}",
                 bad[i].x, bad[i].y);
        assert_key_skipped(jwk, "curve");
    }
}

/* An RSA key with a modulus of so many bits (odd, of unknown factors). */
static void add_modulus(struct bh_bytes *jwk, size_t bits, const char *e) {
    unsigned char n[1100];
    size_t size = (bits + 7) / 8;
    memset(n, 0xa5, size);
    n[0] = (unsigned char)(1u << (bits - 1) % 8);
    bh_bytes_clear(jwk);
    bh_bytes_adds(jwk, "{\"kty\":\"RSA\"");
    add_member(jwk, "n", bh_slice(n, size));
    bh_bytes_addf(jwk, ",\"e\":\"%s\"}", e);
    bh_bytes_addc(jwk, '\0');
    jwk->len--;
}

static void rsa_keys_have_bounds(void **state) {
    static const size_t good[] = {2048, 3072, 8192}, bad[] = {512, 1024, 2047, 8193, 8800};
    static const char *const exponents[] = {"AA", "AQ", "Ag", "AAAB", "AQAA", "AQAAAAAAAAAB"};
    struct bh_bytes jwk = {0};
    for (size_t i = 0; i < COUNT(good); i++) {
        add_modulus(&jwk, good[i], "AQAB");
        struct bh_jwks *set = set_of(&jwk);
        assert_int_equal(bh_jwks_count(set), 1);
        assert_int_equal(verify_made(BH_JWT_RS256, NULL, set), BH_EDENIED);
        assert_int_equal(verify_made(BH_JWT_PS256, NULL, set), BH_EDENIED);
        bh_jwks_free(set);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        add_modulus(&jwk, bad[i], "AQAB");
        assert_key_skipped(jwk.p, "2048");
    }
    for (size_t i = 0; i < COUNT(exponents); i++) {
        add_modulus(&jwk, 2048, exponents[i]);
        assert_key_skipped(jwk.p, "n or e");
    }
    bh_bytes_free(&jwk);
}

/* --- what is no set --- */

static void invalid_sets(void **state) {
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"", "object"},
        {"keys", "object"},
        {"null", "object"},
        {"[]", "object"},
        {"[{\"kty\":\"oct\",\"k\":\"AQAB\"}]", "object"},
        {"{\"keys\":[]", "object"},
        {"{\"keys\":[]}}", "object"},
        {"{\"keys\":[],\"keys\":[]}", "object"},
        {"{\"keys\":[],\"k\\u0065ys\":[]}", "object"},
        {"{}", "keys"},
        {"{\"kty\":\"oct\",\"k\":\"AQAB\"}", "keys"},
        {"{\"Keys\":[]}", "keys"},
        {"{\"keys\":null}", "keys"},
        {"{\"keys\":{}}", "keys"},
        {"{\"keys\":[null]}", "key of the set"},
        {"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AQAB\"},[]]}", "key of the set"},
        {"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AQAB\",\"k\":\"AQAC\"}]}", "key of the set"},
        {"{\"keys\":[{\"kty\":\"AKP\",\"x\":1,\"x\":1}]}", "key of the set"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_set_refused(bh_slice_cstr(cases[i].text), cases[i].word);
    assert_set_refused(bh_slice(NULL, 0), "object");
    struct bh_slice whole = BH_SLICE("{\"keys\":[" RSA_7515 "," OKP_8037 "]}");
    for (size_t n = 0; n < whole.n; n++)
        assert_set_refused(bh_slice(whole.p, n), "object");
}

static void an_empty_set_verifies_nothing(void **state) {
    struct bh_jwks *set = parse(" {\"keys\":[],\"more\":{}} ");
    const char *why = "before";
    assert_int_equal(bh_jwks_count(set), 0);
    assert_int_equal(bh_jwks_skipped(set, &why), 0);
    assert_null(why);
    for (size_t i = 0; i < ALG_COUNT; i++)
        assert_int_equal(verify_made(algs[i].id, NULL, set), BH_EDENIED);
    assert_int_equal(verify_with(BH_SLICE("eyJhbGciOiJub25lIn0.e30."), set, ~0u), BH_EDENIED);
    bh_jwks_free(set);
    bh_jwks_free(NULL);
}

static void sets_are_bounded(void **state) {
    struct bh_bytes keys = {0}, text = {0};
    for (int i = 0; i < BH_JWKS_KEYS_MAX; i++) {
        if (i)
            bh_bytes_addc(&keys, ',');
        if (i % 2)
            bh_bytes_adds(&keys, "{\"kty\":\"unknown\"}");
        else
            bh_bytes_addf(&keys, "{\"kty\":\"oct\",\"k\":\"" K32 "\",\"kid\":\"%d\"}", i);
    }
    struct bh_jwks *set = set_of(&keys);
    assert_int_equal(bh_jwks_count(set), BH_JWKS_KEYS_MAX / 2);
    assert_int_equal(bh_jwks_skipped(set, NULL), BH_JWKS_KEYS_MAX / 2);
    bh_jwks_free(set);
    bh_bytes_addf(&text, "{\"keys\":[%.*s,{}]}", BH_SLICE_ARG(bh_bytes_slice(&keys)));
    assert_set_refused(bh_bytes_slice(&text), "100");

    bh_bytes_clear(&text);
    bh_bytes_addf(&text, "{\"keys\":[]%*s}", BH_JWKS_MAX - 11, "");
    assert_int_equal(text.len, BH_JWKS_MAX);
    assert_int_equal(bh_jwks_parse(bh_bytes_slice(&text), &set, NULL), 0);
    bh_jwks_free(set);
    bh_bytes_addc(&text, '\n');
    assert_set_refused(bh_bytes_slice(&text), "256");
    bh_bytes_free(&text);
    bh_bytes_free(&keys);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verifies_the_vectors_of_the_rfcs),
        cmocka_unit_test(reads_the_public_keys_of_rfc_7517),
        cmocka_unit_test(each_type_serves_only_its_own_algorithms),
        cmocka_unit_test(a_public_key_of_a_set_is_no_secret),
        cmocka_unit_test(alg_narrows_a_key),
        cmocka_unit_test(use_and_key_ops_are_honoured),
        cmocka_unit_test(the_kid_picks),
        cmocka_unit_test(a_kid_must_be_a_string),
        cmocka_unit_test(keys_may_share_a_kid),
        cmocka_unit_test(tries_are_bounded),
        cmocka_unit_test(unusable_keys_are_skipped),
        cmocka_unit_test(coordinates_have_their_full_size_and_name_a_point),
        cmocka_unit_test(rsa_keys_have_bounds),
        cmocka_unit_test(invalid_sets),
        cmocka_unit_test(an_empty_set_verifies_nothing),
        cmocka_unit_test(sets_are_bounded),
    };
    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
