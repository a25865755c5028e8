/* jwt.c - verifying and signing compact JSON Web Signatures that carry claims.
 *
 * An algorithm is used only when the caller's rules, a key and the token's header all name it.
 * Checks go in the order shape, header, signature, claims: claims are read only once the signature
 * is known to be good. The algorithms and keys are in jwt_key.c, sets of keys in jwks.c. Stateless;
 * any thread. */
#include "bellhop/base/jwt.h"

#include "jwt_key.h"

#include "bellhop/base/error.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Anyone can send a token, so a token must not cost a signature check for every key of a set. */
#define TRIES_MAX 8

/* The year 33658. In milliseconds it is the year 2001, and issuers that write these are common. */
#define SECONDS_MAX 1e12

/* --- claims --- */

/* A NumericDate: absent, a time, not a finite number, or too large for seconds. */
enum date { DATE_NONE, DATE_GOOD, DATE_BAD, DATE_HUGE };

/* The claim has seconds, which may have a fraction (RFC 7519 section 2). */
static enum date read_date(struct bh_json_value claims, const char *name, double *ms) {
    struct bh_json_value value;
    if (!bh_json_member(claims, bh_slice_cstr(name), &value))
        return DATE_NONE;
    char text[64];
    if (value.type != BH_JSON_NUMBER || value.raw.n >= sizeof text)
        return DATE_BAD;
    memcpy(text, value.raw.p, value.raw.n);
    text[value.raw.n] = '\0';
    double seconds = strtod(text, NULL);
    if (!isfinite(seconds))
        return DATE_BAD;
    *ms = seconds * 1000;
    return seconds < SECONDS_MAX ? DATE_GOOD : DATE_HUGE;
}

static const char *issuer_error(struct bh_json_value claims, const char *issuer) {
    struct bh_json_value value;
    if (!bh_json_member(claims, BH_SLICE("iss"), &value))
        return issuer ? "the token names no issuer" : NULL;
    if (value.type != BH_JSON_STRING)
        return "the claim iss is not a string";
    if (issuer && !bh_jwt_string_equals(value, bh_slice_cstr(issuer)))
        return "the token is from another issuer";
    return NULL;
}

static const char *audience_error(struct bh_json_value claims, const char *audience) {
    struct bh_json_value aud, each;
    if (!bh_json_member(claims, BH_SLICE("aud"), &aud))
        return audience ? "the token names no audience" : NULL;
    if (aud.type != BH_JSON_STRING && aud.type != BH_JSON_ARRAY)
        return "the claim aud is neither a string nor an array of strings";
    struct bh_slice expected = bh_slice_cstr(audience);
    bool meant = !audience || bh_jwt_string_equals(aud, expected);
    for (size_t cursor = 0; bh_json_next(aud, &cursor, NULL, &each);) {
        if (each.type != BH_JSON_STRING)
            return "the claim aud is neither a string nor an array of strings";
        meant |= audience && bh_jwt_string_equals(each, expected);
    }
    return meant ? NULL : "the token is for another audience";
}

/* Expiry is checked last, so BH_ETIMEDOUT means that nothing else is wrong. The clock here has no
 * fractions of a millisecond, so those of nbf and iat are cut off: they may be of this one. */
static int check_times(struct bh_json_value claims, const struct bh_jwt_rules *rules,
                       const char **why) {
    double exp = 0, nbf = 0, iat = 0, now = (double)rules->now_ms;
    double leeway = (double)rules->leeway_ms;
    enum date has_exp = read_date(claims, "exp", &exp), has_nbf = read_date(claims, "nbf", &nbf),
              has_iat = read_date(claims, "iat", &iat);
    if (has_exp == DATE_BAD || has_nbf == DATE_BAD || has_iat == DATE_BAD)
        *why = "one of the claims exp, nbf, iat is not a number";
    else if (has_exp == DATE_HUGE || has_nbf == DATE_HUGE || has_iat == DATE_HUGE)
        *why = "one of the claims exp, nbf, iat is too large: they are in Unix seconds, not in "
               "milliseconds";
    else if (rules->require_exp && has_exp == DATE_NONE)
        *why = "the token has no exp claim, which is required";
    else if (has_nbf && floor(nbf) > now + leeway)
        *why = "the token is not valid yet";
    else if (has_iat && floor(iat) > now + leeway)
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
    *why = issuer_error(claims, rules->issuer);
    if (!*why)
        *why = audience_error(claims, rules->audience);
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

/* The header: how the token is signed and, optionally, by which key. */
struct header {
    const struct bh_jwt_algorithm *alg;
    bool has_kid;
    struct bh_bytes kid;
};

static const char *read_alg(struct bh_json_value object, const struct bh_jwt_rules *rules,
                            struct header *header) {
    struct bh_json_value value;
    if (bh_json_member(object, BH_SLICE("crit"), &value))
        return "the token requires an extension (crit) that is not supported";
    if (!bh_json_member(object, BH_SLICE("alg"), &value) || value.type != BH_JSON_STRING)
        return "the token names no algorithm";
    struct bh_bytes name = {0};
    bh_json_string(value, &name);
    unsigned id = bh_jwt_alg_from_name(bh_bytes_slice(&name));
    bh_bytes_free(&name);
    if (!(id & rules->algs))
        return "the token's algorithm is not accepted";
    header->alg = bh_jwt_algorithm(id);
    return NULL;
}

static const char *read_kid(struct bh_json_value object, struct header *header) {
    struct bh_json_value value;
    header->has_kid = bh_json_member(object, BH_SLICE("kid"), &value);
    if (!header->has_kid)
        return NULL;
    if (value.type != BH_JSON_STRING)
        return "the token's kid is not a string";
    bh_json_string(value, &header->kid);
    return NULL;
}

static const char *set_error(const struct parts *parts, struct bh_slice signature,
                             const struct header *header, const struct bh_jwks *keys) {
    struct bh_slice kid = bh_bytes_slice(&header->kid);
    const struct bh_jwt_key *key;
    size_t cursor = 0, tries = 0;
    while (tries < TRIES_MAX &&
           (key = bh_jwks_next(keys, header->alg->id, header->has_kid ? &kid : NULL, &cursor))) {
        if (bh_jwt_key_verifies(key, header->alg, parts->input, signature))
            return NULL;
        tries++;
    }
    return tries ? "the token's signature is not valid"
                 : "no key of the set has the token's kid and algorithm";
}

static const char *signature_error(const struct parts *parts, struct bh_slice signature,
                                   const struct header *header, const struct bh_jwt_rules *rules) {
    if (rules->keys)
        return set_error(parts, signature, header, rules->keys);
    if (!(bh_jwt_key_algs(rules->key) & header->alg->id))
        return "the key does not fit the token's algorithm";
    return bh_jwt_key_verifies(rules->key, header->alg, parts->input, signature)
               ? NULL
               : "the token's signature is not valid";
}

static const char *header_error(struct bh_json_value object, const struct parts *parts,
                                const struct bh_jwt_rules *rules) {
    struct header header = {0};
    struct bh_bytes signature = {0};
    const char *why = read_alg(object, rules, &header);
    if (!why && rules->keys)
        why = read_kid(object, &header);
    if (!why)
        why = bh_jwt_decode(parts->signature, &signature)
                  ? "the token's signature is not valid"
                  : signature_error(parts, bh_bytes_slice(&signature), &header, rules);
    bh_bytes_free(&signature);
    bh_bytes_free(&header.kid);
    return why;
}

/* Decodes a part of the token into text; true when it is a JSON object with distinct names. */
static bool decode_object(struct bh_slice part, struct bh_bytes *text,
                          struct bh_json_value *object) {
    return bh_jwt_decode(part, text) == 0 && bh_jwt_object(bh_bytes_slice(text), object);
}

static int check_signature(const struct parts *parts, const struct bh_jwt_rules *rules,
                           const char **why) {
    struct bh_bytes text = {0};
    struct bh_json_value object;
    int rc = BH_EPROTO;
    *why = "the token's header is malformed";
    if (decode_object(parts->header, &text, &object)) {
        *why = header_error(object, parts, rules);
        rc = *why ? BH_EDENIED : 0;
    }
    bh_bytes_free(&text);
    return rc;
}

static int verify(struct bh_slice token, const struct bh_jwt_rules *rules, struct bh_bytes *text,
                  const char **why) {
    struct parts parts;
    *why = "not a token: it must have three parts separated by dots";
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

int bh_jwt_sign(unsigned id, const struct bh_jwt_key *key, struct bh_slice claims,
                struct bh_bytes *out) {
    const struct bh_jwt_algorithm *alg = bh_jwt_algorithm(id);
    if (!alg || !(id & bh_jwt_key_algs(key) & BH_JWT_HS_ALGS) || bh_json_check(claims, NULL) != 0 ||
        bh_json_root(claims).type != BH_JSON_OBJECT)
        return BH_EINVAL;
    char header[64];
    int header_len = snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\"}", alg->name);
    size_t start = out->len;
    bh_jwt_encode(bh_slice(header, (size_t)header_len), out);
    bh_bytes_addc(out, '.');
    bh_jwt_encode(claims, out);
    unsigned char mac[BH_DIGEST_MAX];
    int mac_len = bh_jwt_key_mac(key, alg, bh_slice(out->p + start, out->len - start), mac);
    bh_bytes_addc(out, '.');
    bh_jwt_encode(bh_slice(mac, (size_t)mac_len), out);
    return 0;
}
