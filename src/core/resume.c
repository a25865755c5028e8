/* resume.c - the text of where a client is in its streams. The bytes come from outside. */
#include "bellhop/core/resume.h"

#include "bellhop/base/error.h"

#define VERSION   "1."
#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* FNV-1a, then the finalizer of MurmurHash3: two names that differ in a byte differ everywhere. */
uint64_t bh_topic_hash(struct bh_slice name) {
    uint64_t h = FNV_BASIS;
    for (size_t i = 0; i < name.n; i++)
        h = (h ^ (unsigned char)name.p[i]) * FNV_PRIME;
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

static void write_hash(uint64_t hash, char out[BH_RESUME_HASH_LEN]) {
    for (int i = BH_RESUME_HASH_LEN - 1; i >= 0; i--, hash >>= 6)
        out[i] = alphabet[hash & 63];
}

static int read_hash(struct bh_slice text, uint64_t *out) {
    char again[BH_RESUME_HASH_LEN];
    if (text.n != BH_RESUME_HASH_LEN)
        return BH_EINVAL;
    *out = 0;
    for (size_t i = 0; i < text.n; i++) {
        const char *digit = memchr(alphabet, text.p[i], 64);
        if (!digit)
            return BH_EINVAL;
        *out = *out << 6 | (uint64_t)(digit - alphabet);
    }
    write_hash(*out, again); /* 11 digits hold two bits more than the hash */
    return memcmp(again, text.p, sizeof again) == 0 ? 0 : BH_EINVAL;
}

static int parse_topic(struct bh_slice text, struct bh_resume_topic *out) {
    struct bh_slice hash;
    if (!bh_slice_split(&text, ':', &hash) || read_hash(hash, &out->hash))
        return BH_EINVAL;
    return bh_position_parse(text, &out->position);
}

int bh_resume_parse(struct bh_slice text, struct bh_resume *out, const char **why) {
    struct bh_slice part;
    out->count = 0;
    if (text.n == 0)
        return 0;
    *why = "since: not an id that this server sends (the last `id` of a message)";
    if (!bh_slice_starts(text, BH_SLICE(VERSION)))
        return BH_EINVAL;
    text = bh_slice(text.p + sizeof VERSION - 1, text.n - (sizeof VERSION - 1));
    if (text.n == 0)
        return 0;
    while (bh_slice_split(&text, ',', &part)) {
        if (out->count == BH_RESUME_TOPICS_MAX || parse_topic(part, &out->topics[out->count]))
            return BH_EINVAL;
        if (bh_resume_find(out, out->topics[out->count].hash))
            return BH_EINVAL;
        out->count++;
    }
    return 0;
}

size_t bh_resume_format(const struct bh_resume *resume, char out[BH_RESUME_TEXT_MAX + 1]) {
    char *at = out;
    memcpy(at, VERSION, sizeof VERSION - 1);
    at += sizeof VERSION - 1;
    for (unsigned i = 0; i < resume->count; i++) {
        if (i > 0)
            *at++ = ',';
        write_hash(resume->topics[i].hash, at);
        at += BH_RESUME_HASH_LEN;
        *at++ = ':';
        at += bh_position_format(resume->topics[i].position, at);
    }
    *at = '\0';
    return (size_t)(at - out);
}

const struct bh_position *bh_resume_find(const struct bh_resume *resume, uint64_t hash) {
    for (unsigned i = 0; i < resume->count; i++)
        if (resume->topics[i].hash == hash)
            return &resume->topics[i].position;
    return NULL;
}
