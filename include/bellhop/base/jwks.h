/* jwks.h - JSON Web Key Sets (RFC 7517, 7518, 8037), for verifying tokens.
 *
 * A set is immutable: a changed one is parsed anew and takes the old one's place. Each key knows
 * by its kind which algorithms it may serve, so nothing in a token can make an RSA key a secret.
 * Thread: any. */
#ifndef BELLHOP_BASE_JWKS_H
#define BELLHOP_BASE_JWKS_H

#include "bellhop/base/jwt.h"

#define BH_JWKS_MAX      262144 /* bytes of text */
#define BH_JWKS_KEYS_MAX 100    /* in a text, usable or not */

/* {"keys":[...]}: RSA of 2048 to 8192 bits, EC on P-256/384/521, OKP Ed25519, oct. A key is left
 * out, and counted, when it is not for verifying (use, key_ops, alg), of a kind unknown here, or
 * its members are wrong (section 5 of RFC 7517 wants it so). The set as a whole is refused
 * (BH_EINVAL, *why a constant sentence) when it is no such object, a name occurs twice in an
 * object, or it is beyond the bounds. A set may be empty: it verifies nothing. Private parts of
 * keys are not read. */
int bh_jwks_parse(struct bh_slice text, struct bh_jwks **set, const char **why);
void bh_jwks_free(struct bh_jwks *set);

size_t bh_jwks_count(const struct bh_jwks *set); /* the keys that can be used */
/* How many were left out; *why is the reason of the last of them, or NULL. */
size_t bh_jwks_skipped(const struct bh_jwks *set, const char **why);

#endif
