/* crypto.c - digests, random bytes and encodings.
 *
 * Digests, HMAC and randomness are OpenSSL's; the encodings are ours because EVP's decoder skips
 * blanks and accepts stray bits, and a signature must have one encoding only. */
#include "bellhop/base/crypto.h"

#include "bellhop/base/error.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM_BLOCK 1024
#define RANDOM_SMALL 64

/* Every message needs an id, and RAND_bytes takes microseconds per call: small draws are cut from a
 * block per thread, and the bytes handed out are wiped from it. */
static void draw_small(unsigned char *out, size_t n) {
    static _Thread_local unsigned char block[RANDOM_BLOCK];
    static _Thread_local size_t left;
    if (left < n) {
        if (RAND_bytes(block, sizeof block) != 1)
            abort();
        left = sizeof block;
    }
    left -= n;
    memcpy(out, block + left, n);
    OPENSSL_cleanse(block + left, n);
}

void bh_random(void *out, size_t n) {
    unsigned char *p = out;
    if (n <= RANDOM_SMALL) {
        draw_small(p, n);
        return;
    }
    while (n > 0) {
        int part = n > INT_MAX ? INT_MAX : (int)n;
        if (RAND_bytes(p, part) != 1)
            abort();
        p += part;
        n -= (size_t)part;
    }
}

uint32_t bh_random_below(uint32_t bound) {
    uint32_t draw, unfair = -bound % bound; /* 2^32 mod bound: lower draws bias the result */
    do
        bh_random(&draw, sizeof draw);
    while (draw < unfair);
    return draw % bound;
}

static struct {
    const char *name;
    EVP_MD *md;
} digests[] = {{"md5", NULL},    {"sha1", NULL},   {"sha224", NULL},
               {"sha256", NULL}, {"sha384", NULL}, {"sha512", NULL}};

#define DIGESTS (sizeof digests / sizeof *digests)

static void fetch_digests(void) {
    for (size_t i = 0; i < DIGESTS; i++)
        digests[i].md = EVP_MD_fetch(NULL, digests[i].name, NULL);
    ERR_clear_error(); /* of the digests that this OpenSSL lacks */
}

/* Fetched once and kept: looking one up among the providers costs more than a short digest, and
 * EVP_sha1() and the like are looked up again at each use. */
static const EVP_MD *find_digest(const char *name) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fetch_digests);
    for (size_t i = 0; i < DIGESTS; i++)
        if (strcmp(name, digests[i].name) == 0)
            return digests[i].md;
    return NULL;
}

/* OpenSSL reads through the pointers even of empty data. */
static const char *not_null(struct bh_slice s) {
    return s.p ? s.p : "";
}

/* A digest that this OpenSSL rejects (a FIPS provider has no md5) counts as unknown. */
static int length_or_error(bool good, unsigned length) {
    if (good)
        return (int)length;
    ERR_clear_error();
    return BH_EINVAL;
}

int bh_digest(const char *name, struct bh_slice data, unsigned char out[BH_DIGEST_MAX]) {
    const EVP_MD *md = find_digest(name);
    if (!md)
        return BH_EINVAL;
    unsigned length = 0;
    bool good = EVP_Digest(not_null(data), data.n, out, &length, md, NULL) == 1;
    return length_or_error(good, length);
}

int bh_hmac(const char *name, struct bh_slice key, struct bh_slice data,
            unsigned char out[BH_DIGEST_MAX]) {
    const EVP_MD *md = find_digest(name);
    if (!md || key.n > INT_MAX)
        return BH_EINVAL;
    unsigned length = 0;
    bool good = HMAC(md, not_null(key), (int)key.n, (const unsigned char *)not_null(data), data.n,
                     out, &length) != NULL;
    return length_or_error(good, length);
}

bool bh_equal_ct(struct bh_slice a, struct bh_slice b) {
    return a.n == b.n && CRYPTO_memcmp(not_null(a), not_null(b), a.n) == 0;
}

/* --- base64 --- */

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t bh_base64_len(size_t n) {
    return (n + 2) / 3 * 4;
}

/* Writes without padding. */
static size_t encode(struct bh_slice data, const char *alphabet, char *out) {
    const unsigned char *p = (const unsigned char *)data.p;
    char *o = out;
    size_t i = 0;
    for (; i + 3 <= data.n; i += 3) {
        uint32_t bits = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *o++ = alphabet[bits >> shift & 63];
    }
    size_t left = data.n - i;
    if (left > 0) {
        uint32_t bits = (uint32_t)p[i] << 16 | (left == 2 ? (uint32_t)p[i + 1] << 8 : 0);
        for (size_t k = 0; k <= left; k++)
            *o++ = alphabet[bits >> (18 - 6 * k) & 63];
    }
    return (size_t)(o - out);
}

size_t bh_base64_encode(struct bh_slice data, char *out) {
    size_t n = encode(data, base64_alphabet, out);
    while (n % 4)
        out[n++] = '=';
    return n;
}

size_t bh_base64url_encode(struct bh_slice data, char *out) {
    return encode(data, base64url_alphabet, out);
}

static int sextet(char c, const char *alphabet) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == alphabet[62] ? 62 : c == alphabet[63] ? 63 : -1;
}

/* Reads without padding. */
static int decode(struct bh_slice s, const char *alphabet, unsigned char *out) {
    if (s.n % 4 == 1 || s.n > INT_MAX)
        return BH_EPROTO;
    unsigned char *o = out;
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < s.n; i++) {
        int value = sextet(s.p[i], alphabet);
        if (value < 0)
            return BH_EPROTO;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            *o++ = (unsigned char)(bits >> have);
        }
    }
    if (bits & ((1u << have) - 1))
        return BH_EPROTO;
    return (int)(o - out);
}

int bh_base64_decode(struct bh_slice s, unsigned char *out) {
    if (s.n % 4 != 0)
        return BH_EPROTO;
    for (int pad = 0; pad < 2 && s.n > 0 && s.p[s.n - 1] == '='; pad++)
        s.n--;
    return decode(s, base64_alphabet, out);
}

int bh_base64url_decode(struct bh_slice s, unsigned char *out) {
    return decode(s, base64url_alphabet, out);
}

void bh_hex_encode(struct bh_slice data, char *out) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < data.n; i++) {
        unsigned char byte = (unsigned char)data.p[i];
        *out++ = digits[byte >> 4];
        *out++ = digits[byte & 15];
    }
}
