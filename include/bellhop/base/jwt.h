/* jwt.h - JSON Web Tokens (RFC 7515, 7519): verify and sign, compact serialisation only.
 *
 * The caller lists the algorithms it accepts; a token's own `alg` only selects among them, `none`
 * is never accepted, and each algorithm takes only its own type of key (an RSA public key never
 * serves as an HMAC secret: RFC 8725 section 3.1). A token over 16 KiB is rejected unread. Thread:
 * any; keys are immutable and not ref-counted: they must outlive their use. */
#ifndef BELLHOP_BASE_JWT_H
#define BELLHOP_BASE_JWT_H

#include "bellhop/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define BH_JWT_MAX 16384

enum bh_jwt_alg {
    BH_JWT_HS256 = 1 << 0,
    BH_JWT_HS384 = 1 << 1,
    BH_JWT_HS512 = 1 << 2,
    BH_JWT_RS256 = 1 << 3,
    BH_JWT_RS384 = 1 << 4,
    BH_JWT_RS512 = 1 << 5,
    BH_JWT_ES256 = 1 << 6,
    BH_JWT_ES384 = 1 << 7,
    BH_JWT_ES512 = 1 << 8,
    BH_JWT_PS256 = 1 << 9,
    BH_JWT_EDDSA = 1 << 10, /* Ed25519 only */
};

/* 0 for an unknown name. */
unsigned bh_jwt_alg_from_name(struct bh_slice name);

struct bh_jwt_key; /* an HMAC secret, or a public key */

/* The secret is copied. It serves each HS* whose hash is not longer than it: 32, 48 or 64 bytes
 * (RFC 7518 section 3.2). A shorter one serves no algorithm. */
struct bh_jwt_key *bh_jwt_key_secret(struct bh_slice secret);
/* Whether a secret of so many bytes serves each HS* of algs. 0; or BH_EINVAL with a sentence in
 * why, which names both lengths. */
#define BH_JWT_WHY_MAX 128
int bh_jwt_secret_check(size_t secret_len, unsigned algs, char why[BH_JWT_WHY_MAX]);
/* A PEM public key or certificate: RSA of 2048 to 8192 bits, EC P-256/384/521, or Ed25519.
 * 0, BH_EINVAL. */
int bh_jwt_key_pem(struct bh_slice pem, struct bh_jwt_key **key, const char **why);
void bh_jwt_key_free(struct bh_jwt_key *key);

struct bh_jwks; /* a set of keys: jwks.h */

struct bh_jwt_rules {
    unsigned algs; /* set of bh_jwt_alg; 0 accepts no token */
    /* Exactly one of the two. Of a set, the keys with the token's kid are tried; for a token
     * without kid, the first few keys that serve its algorithm. */
    const struct bh_jwt_key *key;
    const struct bh_jwks *keys;
    const char *issuer;   /* NULL: not checked; else `iss` must equal it */
    const char *audience; /* NULL: not checked; else `aud` must equal or contain it */
    int64_t leeway_ms;    /* for exp, nbf and iat */
    bool require_exp;
    int64_t now_ms; /* Unix time */
};

/* On success appends the claims' JSON text (an object, accepted by bh_json_check) to claims and
 * returns 0. Else BH_EPROTO (not a token), BH_EDENIED (signature, algorithm, claim) or BH_ETIMEDOUT
 * (expired); *why is a constant sentence that quotes nothing of the token. */
int bh_jwt_verify(struct bh_slice token, const struct bh_jwt_rules *rules, struct bh_bytes *claims,
                  const char **why);

/* Appends a token with the given claims text, signed with HS256/384/512. 0 or BH_EINVAL. */
int bh_jwt_sign(unsigned id, const struct bh_jwt_key *key, struct bh_slice claims,
                struct bh_bytes *out);

#endif
