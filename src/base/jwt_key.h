/* jwt_key.h - algorithms and keys, for the files jwt*.c and jwks.c; private to base. */
#ifndef BELLHOP_SRC_BASE_JWT_KEY_H
#define BELLHOP_SRC_BASE_JWT_KEY_H

#include "bellhop/base/crypto.h"
#include "bellhop/base/json.h"
#include "bellhop/base/jwks.h"

#include <openssl/evp.h>

#define BH_JWT_HS_ALGS (BH_JWT_HS256 | BH_JWT_HS384 | BH_JWT_HS512)

/* --- jwt_key.c --- */

struct bh_jwt_algorithm {
    enum bh_jwt_alg id;
    const char *name;
    const char *digest; /* NULL: the algorithm has its own */
    const char *curve;  /* OpenSSL's name; ES only */
    /* HS: the least bytes of a secret. ES: the bytes of r and of s, or of a coordinate. Else 0. */
    size_t bytes;
};

/* By a single bit of enum bh_jwt_alg; NULL for anything else. */
const struct bh_jwt_algorithm *bh_jwt_algorithm(unsigned id);

/* Takes over the key and returns 0; or BH_EINVAL with a reason in *why when it serves no algorithm.
 * The caller empties OpenSSL's error queue. */
int bh_jwt_key_public(EVP_PKEY *pkey, struct bh_jwt_key **key, const char **why);
unsigned bh_jwt_key_algs(const struct bh_jwt_key *key);
/* Restricts the key to these algorithms, while it is being made: a JWK may name its alg. */
void bh_jwt_key_restrict(struct bh_jwt_key *key, unsigned algs);

/* False also when the key does not serve the algorithm. */
bool bh_jwt_key_verifies(const struct bh_jwt_key *key, const struct bh_jwt_algorithm *alg,
                         struct bh_slice input, struct bh_slice signature);
/* The MAC's length, or BH_EINVAL. The key is a secret, the algorithm one of HS*. */
int bh_jwt_key_mac(const struct bh_jwt_key *key, const struct bh_jwt_algorithm *alg,
                   struct bh_slice input, unsigned char mac[BH_DIGEST_MAX]);

/* --- jwks.c --- */

/* The next key that serves the algorithm and has the token's kid (NULL: the token has none).
 * *cursor starts at 0; NULL at the end. */
const struct bh_jwt_key *bh_jwks_next(const struct bh_jwks *set, unsigned alg,
                                      const struct bh_slice *kid, size_t *cursor);

/* --- jwt_json.c --- */

/* True when no two members of the object have the same name. */
bool bh_jwt_distinct(struct bh_json_value object);
/* True when the text is one JSON object with distinct names. */
bool bh_jwt_object(struct bh_slice text, struct bh_json_value *object);
/* False also when it is not a string. */
bool bh_jwt_string_equals(struct bh_json_value string, struct bh_slice expected);
/* Appends base64url text of data, and the data of base64url text (BH_EPROTO: malformed). */
void bh_jwt_encode(struct bh_slice data, struct bh_bytes *out);
int bh_jwt_decode(struct bh_slice text, struct bh_bytes *out);

#endif
