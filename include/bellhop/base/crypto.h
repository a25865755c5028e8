/* crypto.h - random bytes, digests, base64 and hex. Thread: any.
 *
 * Errors: BH_EINVAL for an unknown digest, BH_EPROTO for malformed base64. */
#ifndef BELLHOP_BASE_CRYPTO_H
#define BELLHOP_BASE_CRYPTO_H

#include "bellhop/base/slice.h"

#define BH_DIGEST_MAX 64

/* Fills out with cryptographically strong random bytes; aborts if the system has none. */
void bh_random(void *out, size_t n);
/* Uniform in [0, bound), bound > 0; for jitter, not for keys. */
uint32_t bh_random_below(uint32_t bound);

/* name: md5 sha1 sha224 sha256 sha384 sha512. Returns the digest's length or BH_EINVAL. */
int bh_digest(const char *name, struct bh_slice data, unsigned char out[BH_DIGEST_MAX]);
int bh_hmac(const char *name, struct bh_slice key, struct bh_slice data,
            unsigned char out[BH_DIGEST_MAX]);

/* True when equal; the time depends on the lengths only. */
bool bh_equal_ct(struct bh_slice a, struct bh_slice b);

/* Base64. Encoded lengths: bh_base64_len(n) with padding; base64url is written without. */
size_t bh_base64_len(size_t n);
size_t bh_base64_encode(struct bh_slice data, char *out);
size_t bh_base64url_encode(struct bh_slice data, char *out);
/* Strict decoding: no blanks, correct padding (base64) or none (base64url), no stray bits. out must
 * hold 3 * (s.n + 3) / 4 bytes. Returns the length or BH_EPROTO. */
int bh_base64_decode(struct bh_slice s, unsigned char *out);
int bh_base64url_decode(struct bh_slice s, unsigned char *out);

void bh_hex_encode(struct bh_slice data, char *out); /* 2 * n bytes, lower case, no NUL */

#endif
