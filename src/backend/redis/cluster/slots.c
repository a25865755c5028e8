/* slots.c - the slot of a key. */
#include "cluster/slots.h"

/* A tag is six letters of 'p' to 'w': every slot has one, which the test proves. */
#define TAG_BITS 18

/* CRC16/XMODEM (polynomial 0x1021, from 0), one byte a step. */
static unsigned crc16(struct bh_slice s) {
    uint16_t crc = 0;
    for (size_t i = 0; i < s.n; i++) {
        crc = (uint16_t)((crc >> 8 | crc << 8) ^ (unsigned char)s.p[i]);
        crc ^= (crc & 0xff) >> 4;
        crc ^= (uint16_t)(crc << 12);
        crc ^= (uint16_t)((crc & 0xff) << 5);
    }
    return crc;
}

struct bh_slice bh_redis_hash_tag(struct bh_slice key) {
    const char *open = key.n ? memchr(key.p, '{', key.n) : NULL;
    if (!open++)
        return key;
    const char *close = memchr(open, '}', (size_t)(key.p + key.n - open));
    return close && close > open ? bh_slice(open, (size_t)(close - open)) : key;
}

unsigned bh_redis_slot(struct bh_slice key) {
    return crc16(bh_redis_hash_tag(key)) % BH_REDIS_SLOTS;
}

static void flip(char *tag, unsigned bit) {
    tag[bit / 3] ^= (char)(1 << bit % 3);
}

/* A CRC is linear: to change one bit of a key of that length changes the same bits of its slot. So
 * all the tags are tried in the order of a Gray code, one bit after the other. */
bool bh_redis_slot_tag(bool (*wanted)(const void *ud, unsigned slot), const void *ud,
                       char tag[BH_REDIS_SLOT_TAG_MAX]) {
    memcpy(tag, "pppppp", sizeof "pppppp");
    unsigned first = bh_redis_slot(bh_slice_cstr(tag)), slot = first, flips[TAG_BITS];
    for (unsigned bit = 0; bit < TAG_BITS; bit++) {
        flip(tag, bit);
        flips[bit] = bh_redis_slot(bh_slice_cstr(tag)) ^ first;
        flip(tag, bit);
    }
    for (unsigned i = 1; !wanted(ud, slot); i++) {
        if (i >> TAG_BITS)
            return false;
        unsigned bit = (unsigned)__builtin_ctz(i);
        flip(tag, bit);
        slot ^= flips[bit];
    }
    return true;
}
