/* jwks.c - reading JSON Web Key Sets, and choosing among their keys.
 *
 * A set is made by another tool and may serve several purposes: keys that we cannot use are skipped
 * and counted, and only a text that is not a set is rejected. A set holds a handful of keys, so
 * they are in a flat array and a kid is found by comparing.
 *
 * Checks go in the order purpose, type, numbers. Every key is made by bh_jwt_key_public or
 * bh_jwt_key_secret, which decide the algorithms of its type. The set owns its keys; immutable once
 * parsed, any thread. */
#include "bellhop/base/jwks.h"

#include "jwt_key.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#define ED25519_BYTES     32
#define EXPONENT_BITS_MAX 64 /* larger ones only slow down verifying */

struct entry {
    struct bh_jwt_key *key;
    char *kid; /* NULL: none; it serves only tokens without kid */
    size_t kid_len;
};

struct bh_jwks {
    size_t count, skipped;
    const char *why; /* of the last skipped key */
    struct entry entries[BH_JWKS_KEYS_MAX];
};

/* --- members --- */

static bool string_member(struct bh_json_value jwk, const char *name, struct bh_json_value *value) {
    return bh_json_member(jwk, bh_slice_cstr(name), value) && value->type == BH_JSON_STRING;
}

/* Appends the bytes of a base64url member; false when it is missing or malformed. */
static bool bytes_member(struct bh_json_value jwk, const char *name, struct bh_bytes *bytes) {
    struct bh_json_value value;
    struct bh_bytes text = {0};
    if (!string_member(jwk, name, &value))
        return false;
    bh_json_string(value, &text);
    bool good = bh_jwt_decode(bh_bytes_slice(&text), bytes) == 0;
    bh_bytes_free(&text);
    return good && bytes->len > 0;
}

static BIGNUM *number_member(struct bh_json_value jwk, const char *name) {
    struct bh_bytes bytes = {0};
    BIGNUM *number = NULL;
    if (bytes_member(jwk, name, &bytes))
        number = BN_bin2bn((unsigned char *)bytes.p, (int)bytes.len, NULL);
    bh_bytes_free(&bytes);
    return number;
}

/* The algorithms that the key's `alg` allows. */
static unsigned algs_named(struct bh_json_value jwk) {
    struct bh_json_value alg;
    if (!bh_json_member(jwk, BH_SLICE("alg"), &alg))
        return ~0u;
    if (alg.type != BH_JSON_STRING)
        return 0;
    struct bh_bytes name = {0};
    bh_json_string(alg, &name);
    unsigned id = bh_jwt_alg_from_name(bh_bytes_slice(&name));
    bh_bytes_free(&name);
    return id;
}

/* --- types of keys: each reader returns the key, or NULL and a reason --- */

static EVP_PKEY *public_from(const char *type, OSSL_PARAM_BLD *build) {
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;
    if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1)
        EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return pkey;
}

/* Takes over pkey; for NULL the reason is left unchanged. */
static struct bh_jwt_key *key_from(EVP_PKEY *pkey, const char **why) {
    struct bh_jwt_key *key = NULL;
    if (pkey && bh_jwt_key_public(pkey, &key, why) != 0)
        EVP_PKEY_free(pkey);
    return key;
}

static bool is_valid_exponent(const BIGNUM *e) {
    return BN_is_odd(e) && !BN_is_one(e) && BN_num_bits(e) <= EXPONENT_BITS_MAX;
}

static struct bh_jwt_key *read_rsa(struct bh_json_value jwk, const char **why) {
    BIGNUM *n = number_member(jwk, "n"), *e = number_member(jwk, "e");
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;
    *why = "an RSA key's n or e is missing or malformed";
    if (build && n && e && is_valid_exponent(e) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        pkey = public_from("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(e);
    BN_free(n);
    return key_from(pkey, why);
}

static const struct bh_jwt_algorithm *curve_member(struct bh_json_value jwk) {
    static const struct {
        const char *crv;
        unsigned alg;
    } curves[] = {{"P-256", BH_JWT_ES256}, {"P-384", BH_JWT_ES384}, {"P-521", BH_JWT_ES512}};
    struct bh_json_value crv;
    if (string_member(jwk, "crv", &crv))
        for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
            if (bh_jwt_string_equals(crv, bh_slice_cstr(curves[i].crv)))
                return bh_jwt_algorithm(curves[i].alg);
    return NULL;
}

/* OpenSSL rejects a point that is not on the curve. */
static EVP_PKEY *public_from_point(const char *curve, struct bh_slice point) {
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;
    if (build &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point.p, point.n) == 1)
        pkey = public_from("EC", build);
    OSSL_PARAM_BLD_free(build);
    return pkey;
}

static struct bh_jwt_key *read_ec(struct bh_json_value jwk, const char **why) {
    const struct bh_jwt_algorithm *alg = curve_member(jwk);
    *why = "an EC key must be on one of the curves P-256, P-384, P-521";
    if (!alg)
        return NULL;
    struct bh_bytes point = {0};
    EVP_PKEY *pkey = NULL;
    *why = "an EC key's x or y is missing, malformed, or not on its curve";
    bh_bytes_addc(&point, 4); /* uncompressed: both coordinates follow */
    if (bytes_member(jwk, "x", &point) && point.len == 1 + alg->bytes &&
        bytes_member(jwk, "y", &point) && point.len == 1 + 2 * alg->bytes)
        pkey = public_from_point(alg->curve, bh_bytes_slice(&point));
    bh_bytes_free(&point);
    return key_from(pkey, why);
}

static struct bh_jwt_key *read_okp(struct bh_json_value jwk, const char **why) {
    struct bh_json_value crv;
    struct bh_bytes x = {0};
    EVP_PKEY *pkey = NULL;
    *why = "an OKP key must be on the curve Ed25519";
    if (!string_member(jwk, "crv", &crv) || !bh_jwt_string_equals(crv, BH_SLICE("Ed25519")))
        return NULL;
    *why = "an OKP key's x is missing or malformed";
    if (bytes_member(jwk, "x", &x) && x.len == ED25519_BYTES)
        pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (unsigned char *)x.p, x.len);
    bh_bytes_free(&x);
    return key_from(pkey, why);
}

static struct bh_jwt_key *read_oct(struct bh_json_value jwk, const char **why) {
    struct bh_bytes k = {0};
    struct bh_jwt_key *key = NULL;
    *why = "an oct key's k is missing, empty or malformed";
    if (bytes_member(jwk, "k", &k))
        key = bh_jwt_key_secret(bh_bytes_slice(&k));
    OPENSSL_cleanse(k.p, k.len);
    bh_bytes_free(&k);
    unsigned wanted = algs_named(jwk) & BH_JWT_HS_ALGS;
    if (!key || !wanted || (bh_jwt_key_algs(key) & wanted))
        return key;
    *why = "an oct key is shorter than the hash: HS256 needs 32 bytes, HS384 48, HS512 64";
    bh_jwt_key_free(key);
    return NULL;
}

/* --- one key --- */

/* RFC 7517 sections 4.2 and 4.3: an absent member allows everything. */
static bool is_for_verifying(struct bh_json_value jwk) {
    struct bh_json_value use, ops, op;
    if (bh_json_member(jwk, BH_SLICE("use"), &use) && !bh_jwt_string_equals(use, BH_SLICE("sig")))
        return false;
    if (!bh_json_member(jwk, BH_SLICE("key_ops"), &ops))
        return true;
    if (ops.type == BH_JSON_ARRAY)
        for (size_t cursor = 0; bh_json_next(ops, &cursor, NULL, &op);)
            if (bh_jwt_string_equals(op, BH_SLICE("verify")))
                return true;
    return false;
}

static struct bh_jwt_key *read_type(struct bh_json_value jwk, const char **why) {
    static const struct {
        const char *kty;
        struct bh_jwt_key *(*read)(struct bh_json_value jwk, const char **why);
    } types[] = {{"RSA", read_rsa}, {"EC", read_ec}, {"OKP", read_okp}, {"oct", read_oct}};
    struct bh_json_value kty;
    *why = "a key has no known type (kty)";
    if (!string_member(jwk, "kty", &kty))
        return NULL;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (bh_jwt_string_equals(kty, bh_slice_cstr(types[i].kty)))
            return types[i].read(jwk, why);
    return NULL;
}

static struct bh_jwt_key *read_key(struct bh_json_value jwk, const char **why) {
    *why = "a key is not for verifying signatures (use, key_ops)";
    if (!is_for_verifying(jwk))
        return NULL;
    struct bh_jwt_key *key = read_type(jwk, why);
    if (!key)
        return NULL;
    bh_jwt_key_restrict(key, algs_named(jwk));
    if (bh_jwt_key_algs(key))
        return key;
    *why = "a key's algorithm (alg) is not supported, or does not fit its type";
    bh_jwt_key_free(key);
    return NULL;
}

/* --- sets --- */

static void add_key(struct bh_jwks *set, struct bh_json_value jwk) {
    struct bh_json_value kid;
    const char *why = "a key's kid is not a string";
    bool named = bh_json_member(jwk, BH_SLICE("kid"), &kid);
    struct bh_jwt_key *key = named && kid.type != BH_JSON_STRING ? NULL : read_key(jwk, &why);
    if (!key) {
        set->skipped++;
        set->why = why;
        return;
    }
    struct entry *entry = &set->entries[set->count++];
    *entry = (struct entry){.key = key};
    if (named) {
        struct bh_bytes text = {0};
        bh_json_string(kid, &text);
        entry->kid = bh_strndup(text.p, text.len);
        entry->kid_len = text.len;
        bh_bytes_free(&text);
    }
}

static const char *read_keys(struct bh_jwks *set, struct bh_json_value keys) {
    struct bh_json_value jwk;
    for (size_t cursor = 0, n = 0; bh_json_next(keys, &cursor, NULL, &jwk); n++) {
        if (n == BH_JWKS_KEYS_MAX)
            return "the key set has more than 100 keys";
        if (jwk.type != BH_JSON_OBJECT || !bh_jwt_distinct(jwk))
            return "a key of the set is not an object, or has two members of one name";
        add_key(set, jwk);
    }
    return NULL;
}

static const char *read_set(struct bh_jwks *set, struct bh_slice text) {
    struct bh_json_value root, keys;
    if (text.n > BH_JWKS_MAX)
        return "the key set is larger than 256 KiB";
    if (!bh_jwt_object(text, &root))
        return "the key set is not a JSON object";
    if (!bh_json_member(root, BH_SLICE("keys"), &keys) || keys.type != BH_JSON_ARRAY)
        return "the key set has no array `keys`";
    return read_keys(set, keys);
}

int bh_jwks_parse(struct bh_slice text, struct bh_jwks **set, const char **why) {
    struct bh_jwks *made = bh_calloc(1, sizeof *made);
    const char *bad = read_set(made, text);
    ERR_clear_error(); /* the TLS code of this thread reads the queue */
    if (bad) {
        bh_jwks_free(made);
        if (why)
            *why = bad;
        return BH_EINVAL;
    }
    *set = made;
    return 0;
}

void bh_jwks_free(struct bh_jwks *set) {
    for (size_t i = 0; set && i < set->count; i++) {
        bh_jwt_key_free(set->entries[i].key);
        bh_free(set->entries[i].kid);
    }
    bh_free(set);
}

size_t bh_jwks_count(const struct bh_jwks *set) {
    return set->count;
}

size_t bh_jwks_skipped(const struct bh_jwks *set, const char **why) {
    if (why)
        *why = set->why;
    return set->skipped;
}

const struct bh_jwt_key *bh_jwks_next(const struct bh_jwks *set, unsigned alg,
                                      const struct bh_slice *kid, size_t *cursor) {
    while (*cursor < set->count) {
        const struct entry *e = &set->entries[(*cursor)++];
        bool named = !kid || (e->kid && bh_slice_eq(*kid, bh_slice(e->kid, e->kid_len)));
        if (named && (bh_jwt_key_algs(e->key) & alg))
            return e->key;
    }
    return NULL;
}
