/* envelope.c - encoding and decoding of the layout in the header. The bytes may come from a hostile
 * publisher: each length is checked before it is used. */
#include "bellhop/core/envelope.h"

#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/utf8.h"

#define PLAIN_FLAGS  (BH_MESSAGE_ECHO | BH_MESSAGE_DEDUP)
#define STREAM_FLAGS (PLAIN_FLAGS | BH_MESSAGE_POSITION | BH_MESSAGE_RAW)

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

static uint8_t known_flags(uint8_t flags) {
    return flags & (flags & BH_MESSAGE_POSITION ? STREAM_FLAGS : PLAIN_FLAGS);
}

static void put_fixed(const struct bh_message *m, uint64_t now_ms, uint8_t flags, char *out) {
    unsigned char *h = (unsigned char *)out;
    memset(h, 0, BH_ENVELOPE_HEAD);
    memcpy(h, magic, sizeof magic);
    h[4] = m->kind;
    h[5] = flags & BH_MESSAGE_RAW ? BH_BINARY : m->opcode;
    h[6] = flags;
    h[7] = (unsigned char)m->origin.n;
    h[8] = (unsigned char)m->id.n;
    put_be(h + 10, m->filter.n, 2);
    put_be(h + 12, m->except, 8);
    put_be(h + 20, ttl_left(m, now_ms), 4);
}

static size_t put_texts(const struct bh_message *m, const char *start, char *at) {
    bh_slice_pack(&at, m->origin);
    bh_slice_pack(&at, m->id);
    bh_slice_pack(&at, m->filter);
    return (size_t)(at - start);
}

size_t bh_envelope_head(const struct bh_message *m, uint64_t now_ms, char *out) {
    char *at = out + BH_ENVELOPE_HEAD;
    put_fixed(m, now_ms, known_flags(m->flags), out);
    if (m->flags & BH_MESSAGE_POSITION) {
        unsigned char *p = (unsigned char *)at;
        put_be(p, m->position.offset, 8);
        put_be(p + 8, m->position.epoch, 8);
        put_be(p + 16, m->stored_ms, 8);
        at += BH_ENVELOPE_POSITION;
    }
    return put_texts(m, out, at);
}

void bh_envelope_append_head(const struct bh_message *m, uint64_t now_ms, char *out) {
    put_fixed(m, now_ms, (m->flags & BH_MESSAGE_ECHO) | BH_MESSAGE_POSITION, out);
}

size_t bh_envelope_append_rest(const struct bh_message *m, char *out) {
    return put_texts(m, out, out);
}

/* "all", or offsets with a space between them. */
static bool is_purge(struct bh_slice payload) {
    struct bh_slice one;
    uint64_t offset;
    if (bh_slice_eq(payload, BH_SLICE("all")))
        return true;
    while (bh_slice_split(&payload, ' ', &one))
        if (bh_slice_u64(one, BH_POSITION_END - 1, &offset))
            return false;
    return true;
}

/* A PURGE of all may name no offset. */
static const char *read_position(const unsigned char *p, struct bh_message *m) {
    m->position.offset = get_be(p, 8);
    m->position.epoch = get_be(p + 8, 8);
    m->stored_ms = get_be(p + 16, 8);
    if (m->position.offset >= BH_POSITION_END || m->position.epoch >= BH_POSITION_END ||
        m->stored_ms >= BH_POSITION_END || m->position.epoch == 0 ||
        (m->position.offset == 0 && m->kind != BH_MESSAGE_PURGE))
        return "envelope: no valid position";
    return NULL;
}

/* What only an envelope of a stream may be. */
static const char *check_kind(const struct bh_message *m) {
    bool stream = m->flags & BH_MESSAGE_POSITION;
    switch (m->kind) {
    case BH_MESSAGE_DATA:
        return NULL;
    case BH_MESSAGE_DISCONNECT:
        return stream ? "envelope: a control message with a position" : NULL;
    case BH_MESSAGE_PURGE:
    case BH_MESSAGE_TOMBSTONE:
        return stream ? NULL : "envelope: no position";
    default:
        return "envelope: unknown kind";
    }
}

/* A plain backend has no instance id, and need not give a message id; Redis' scripts have none. */
static const char *check_ids(const struct bh_message *m) {
    bool optional = m->flags & BH_MESSAGE_RAW || m->kind > BH_MESSAGE_DISCONNECT;
    if (!(optional && m->origin.n == 0) && bh_id_check(BH_ID_INSTANCE, m->origin, NULL))
        return "envelope: the origin is not a valid instance id";
    if (!(optional && m->id.n == 0) && bh_id_check(BH_ID_MESSAGE, m->id, NULL))
        return "envelope: the message id is not a valid id";
    return NULL;
}

static const char *check_payload(struct bh_message *m) {
    if (m->kind == BH_MESSAGE_TOMBSTONE && m->payload.n)
        return "envelope: a tombstone with a payload";
    if (m->kind == BH_MESSAGE_PURGE && !is_purge(m->payload))
        return "envelope: malformed list of offsets";
    if (m->flags & BH_MESSAGE_RAW)
        m->opcode = bh_utf8_valid(m->payload) ? BH_TEXT : BH_BINARY;
    else if (m->opcode == BH_TEXT && !bh_utf8_valid(m->payload))
        return "envelope: the text payload is not valid UTF-8";
    return NULL;
}

static const char *check_flags(const struct bh_message *m) {
    if (m->flags != known_flags(m->flags))
        return "envelope: unknown flags";
    bool raw = m->flags & BH_MESSAGE_RAW;
    if (m->opcode != BH_BINARY && (raw || m->opcode != BH_TEXT))
        return "envelope: unknown opcode";
    return raw && m->kind != BH_MESSAGE_DATA ? "envelope: unknown flags" : NULL;
}

/* The slices, and how long the head is before them. */
static const char *read_texts(struct bh_slice bytes, size_t head, struct bh_message *m) {
    const unsigned char *h = (const unsigned char *)bytes.p;
    size_t origin = h[7], id = h[8], filter = get_be(h + 10, 2);
    if (bytes.n < head + origin + id + filter)
        return "envelope: truncated ids or filter";
    const char *at = bytes.p + head;
    m->origin = bh_slice(at, origin);
    m->id = bh_slice(at + origin, id);
    m->filter = bh_slice(at + origin + id, filter);
    m->payload = bh_slice(at + origin + id + filter, bytes.n - (head + origin + id + filter));
    const char *why = check_ids(m);
    if (why)
        return why;
    if (bh_filter_check(m->filter) || (filter && m->kind != BH_MESSAGE_DATA))
        return "envelope: malformed filter";
    return check_payload(m);
}

static const char *read_head(struct bh_slice bytes, uint64_t now_ms, struct bh_message *m) {
    const unsigned char *h = (const unsigned char *)bytes.p;
    if (bytes.n < BH_ENVELOPE_HEAD)
        return "envelope: truncated head";
    m->kind = h[4];
    m->opcode = h[5];
    m->flags = h[6];
    const char *why = check_kind(m);
    if (!why)
        why = h[9] ? "envelope: unknown flags" : check_flags(m);
    if (why)
        return why;
    m->except = get_be(h + 12, 8);
    uint64_t ttl = get_be(h + 20, 4);
    m->expires_ms = ttl ? now_ms + ttl : 0;
    if (!(m->flags & BH_MESSAGE_POSITION))
        return read_texts(bytes, BH_ENVELOPE_HEAD, m);
    if (bytes.n < BH_ENVELOPE_HEAD + BH_ENVELOPE_POSITION)
        return "envelope: truncated head";
    why = read_position(h + BH_ENVELOPE_HEAD, m);
    return why ? why : read_texts(bytes, BH_ENVELOPE_HEAD + BH_ENVELOPE_POSITION, m);
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

void bh_envelope_set_age(struct bh_message *m, uint64_t age_ms) {
    if (m->expires_ms)
        m->expires_ms = m->expires_ms > age_ms ? m->expires_ms - age_ms : 1; /* 0: never */
}
