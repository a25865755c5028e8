/* jwks.h - JSON Web Key Sets (RFC 7517, 7518, 8037), for verifying tokens.
 *
 * A set is immutable: a changed text is parsed into a new set that replaces the old one. A key's
 * type decides which algorithms it serves, so no token can make an RSA key serve as an HMAC secret.
 * Thread: any. */
#ifndef BELLHOP_BASE_JWKS_H
#define BELLHOP_BASE_JWKS_H

#include "bellhop/base/jwt.h"

#define BH_JWKS_MAX      262144 /* bytes of text */
#define BH_JWKS_KEYS_MAX 100    /* in a text, usable or not */

/* {"keys":[...]}: RSA of 2048 to 8192 bits, EC on P-256/384/521, OKP Ed25519, oct. A key is
 * skipped, and counted, when it is not for verifying (use, key_ops, alg), its type is unknown, or a
 * member is wrong (RFC 7517 section 5). The whole set is rejected (BH_EINVAL, *why a constant
 * sentence) when it is not such an object, an object has two members of one name, or a bound is
 * exceeded. An empty set is valid and verifies nothing. Private parts of keys are not read. */
int bh_jwks_parse(struct bh_slice text, struct bh_jwks **set, const char **why);
void bh_jwks_free(struct bh_jwks *set);

size_t bh_jwks_count(const struct bh_jwks *set); /* usable keys */
/* How many keys were skipped; *why is the reason of the last one, or NULL. */
size_t bh_jwks_skipped(const struct bh_jwks *set, const char **why);

#endif
