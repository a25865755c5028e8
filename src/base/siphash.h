/* siphash.h - SipHash-1-3 (Aumasson, Bernstein), private to base: the hash of map.c; its unit test
 * compares it with another implementation. */
#ifndef BELLHOP_SRC_BASE_SIPHASH_H
#define BELLHOP_SRC_BASE_SIPHASH_H

#include "bellhop/base/slice.h"

#include <endian.h>

static inline uint64_t bh_siphash_load(const char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return le64toh(word);
}

static inline uint64_t bh_siphash_rotl(uint64_t x, int bits) {
    return x << bits | x >> (64 - bits);
}

static inline void bh_siphash_round(uint64_t v[4]) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = bh_siphash_rotl(v[1], 13) ^ v[0];
    v[3] = bh_siphash_rotl(v[3], 16) ^ v[2];
    v[0] = bh_siphash_rotl(v[0], 32) + v[3];
    v[2] += v[1];
    v[1] = bh_siphash_rotl(v[1], 17) ^ v[2];
    v[3] = bh_siphash_rotl(v[3], 21) ^ v[0];
    v[2] = bh_siphash_rotl(v[2], 32);
}

static inline void bh_siphash_block(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    bh_siphash_round(v);
    v[0] ^= word;
}

static inline uint64_t bh_siphash13(const uint64_t key[2], struct bh_slice s) {
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                     key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8)
        bh_siphash_block(v, bh_siphash_load(s.p + i));
    char tail[8] = {0};
    if (i < s.n)
        memcpy(tail, s.p + i, s.n - i);
    bh_siphash_block(v, bh_siphash_load(tail) | (uint64_t)s.n << 56);
    v[2] ^= 0xff;
    for (int round = 0; round < 3; round++)
        bh_siphash_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
