/* envelope.c - encoding and decoding of the layout in the header. The bytes may come from a hostile
 * publisher: each length is checked before it is used. */
#include "bellhop/core/envelope.h"

#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/utf8.h"

#define KNOWN_FLAGS (BH_MESSAGE_ECHO | BH_MESSAGE_DEDUP)

static const char magic[4] = {0, 'b', 'h', '1'};

static void put_be(unsigned char *out, uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; i--, value >>= 8)
        out[i] = (unsigned char)value;
}

static uint64_t get_be(const unsigned char *in, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | in[i];
    return value;
}

static uint32_t ttl_left(const struct bh_message *m, uint64_t now_ms) {
    if (m->expires_ms == 0)
        return 0;
    if (m->expires_ms <= now_ms)
        return 1; /* 0 would mean no expiry */
    uint64_t left = m->expires_ms - now_ms;
    return left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
}

size_t bh_envelope_head(const struct bh_message *m, uint64_t now_ms, char *out) {
    unsigned char *h = (unsigned char *)out;
    memset(h, 0, BH_ENVELOPE_HEAD);
    memcpy(h, magic, sizeof magic);
    h[4] = m->kind;
    h[5] = m->opcode;
    h[6] = m->flags & KNOWN_FLAGS;
    h[7] = (unsigned char)m->origin.n;
    h[8] = (unsigned char)m->id.n;
    put_be(h + 10, m->filter.n, 2);
    put_be(h + 12, m->except, 8);
    put_be(h + 20, ttl_left(m, now_ms), 4);
    char *at = out + BH_ENVELOPE_HEAD;
    bh_slice_pack(&at, m->origin);
    bh_slice_pack(&at, m->id);
    bh_slice_pack(&at, m->filter);
    return bh_envelope_head_len(m);
}

static const char *read_head(struct bh_slice bytes, uint64_t now_ms, struct bh_message *m) {
    const unsigned char *h = (const unsigned char *)bytes.p;
    if (bytes.n < BH_ENVELOPE_HEAD)
        return "envelope: truncated head";
    m->kind = h[4];
    m->opcode = h[5];
    m->flags = h[6];
    size_t origin = h[7], id = h[8], filter = get_be(h + 10, 2);
    if (m->kind > BH_MESSAGE_DISCONNECT)
        return "envelope: unknown kind";
    if (m->opcode != BH_TEXT && m->opcode != BH_BINARY)
        return "envelope: unknown opcode";
    if ((m->flags & ~KNOWN_FLAGS) || h[9])
        return "envelope: unknown flags";
    if (bytes.n < BH_ENVELOPE_HEAD + origin + id + filter)
        return "envelope: truncated ids or filter";
    m->except = get_be(h + 12, 8);
    uint64_t ttl = get_be(h + 20, 4);
    m->expires_ms = ttl ? now_ms + ttl : 0;
    const char *at = bytes.p + BH_ENVELOPE_HEAD;
    m->origin = bh_slice(at, origin);
    m->id = bh_slice(at + origin, id);
    m->filter = bh_slice(at + origin + id, filter);
    m->payload = bh_slice(at + origin + id + filter, bytes.n - bh_envelope_head_len(m));
    if (bh_id_check(BH_ID_INSTANCE, m->origin, NULL))
        return "envelope: the origin is not a valid instance id";
    if (bh_id_check(BH_ID_MESSAGE, m->id, NULL))
        return "envelope: the message id is not a valid id";
    if (bh_filter_check(m->filter) || (filter && m->kind != BH_MESSAGE_DATA))
        return "envelope: malformed filter";
    if (m->opcode == BH_TEXT && !bh_utf8_valid(m->payload))
        return "envelope: the text payload is not valid UTF-8";
    return NULL;
}

int bh_envelope_open(const struct bh_topic *topic, struct bh_slice bytes, uint64_t now_ms,
                     struct bh_message **out, const char **why) {
    struct bh_message parts = {.topic = topic};
    if (bh_slice_starts(bytes, bh_slice(magic, sizeof magic))) {
        *why = read_head(bytes, now_ms, &parts);
        if (*why)
            return BH_EPROTO;
    } else {
        parts.kind = BH_MESSAGE_DATA;
        parts.flags = BH_MESSAGE_RAW;
        parts.opcode = bh_utf8_valid(bytes) ? BH_TEXT : BH_BINARY;
        parts.payload = bytes;
    }
    *out = bh_message_new(&parts);
    if (!*out) {
        *why = "no memory for a message of this size";
        return BH_ENOMEM;
    }
    return 0;
}
