/* Messages from a Redis channel: an accepted envelope is written back to the same bytes, raw
 * payloads are unchanged, and channels and topics map one to one. */
#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/utf8.h"
#include "bellhop/core/envelope.h"
#include "fuzz.h"

#define NOW 1000

static void check_raw(const struct bh_message *m, struct bh_slice in) {
    CHECK(bh_slice_eq(m->payload, in));
    CHECK(m->id.n == 0 && m->origin.n == 0 && m->except == 0 && m->expires_ms == 0);
    CHECK(m->filter.n == 0);
    CHECK(m->kind == BH_MESSAGE_DATA);
    CHECK((m->opcode == BH_TEXT) == bh_utf8_valid(in));
}

/* This program could have built it, and it never matches an identity without its tags. */
static void check_filter(const struct bh_message *m) {
    const struct bh_identity nobody = {.tag_count = 0};
    struct bh_slice rest = m->filter;
    struct bh_buf *again = NULL;
    struct bh_tag pair;
    const char *why;
    CHECK(m->filter.n == 0 || m->kind == BH_MESSAGE_DATA);
    CHECK(bh_filter_matches(m->filter, &nobody) == (m->filter.n == 0));
    while (bh_filter_next(&rest, &pair))
        CHECK(bh_filter_add(&again, pair.name, pair.value, &why) == 0);
    CHECK(bh_slice_eq(bh_buf_slice(again), m->filter));
    bh_buf_unref(again);
}

/* Where there is a position, it is one; only there the ids may be missing. */
static void check_stream(const struct bh_message *m) {
    bool positioned = m->flags & BH_MESSAGE_POSITION;
    bool optional = m->flags & BH_MESSAGE_RAW || m->kind > BH_MESSAGE_DISCONNECT;
    CHECK(m->kind <= BH_MESSAGE_TOMBSTONE);
    CHECK(positioned ? m->kind != BH_MESSAGE_DISCONNECT : !optional);
    CHECK((m->position.epoch != 0) == positioned);
    CHECK(m->position.epoch < BH_POSITION_END && m->position.offset < BH_POSITION_END);
    CHECK(m->id.n == 0 ? optional : bh_id_check(BH_ID_MESSAGE, m->id, NULL) == 0);
    CHECK(m->origin.n == 0 ? optional : bh_id_check(BH_ID_INSTANCE, m->origin, NULL) == 0);
}

static void check_ours(const struct bh_message *m, struct bh_slice in) {
    struct bh_bytes again = {0};
    check_stream(m);
    CHECK(m->opcode == BH_BINARY || bh_utf8_valid(m->payload));
    check_filter(m);
    bh_bytes_reserve(&again, BH_ENVELOPE_HEAD_MAX);
    again.len = bh_envelope_head(m, NOW, again.p);
    bh_bytes_add(&again, m->payload);
    CHECK(bh_slice_eq(bh_bytes_slice(&again), in));
    bh_bytes_free(&again);
}

static void open_envelope(const struct bh_topic *topic, struct bh_slice in) {
    struct bh_message *m = NULL;
    const char *why = NULL;
    char *copy = fuzz_exact(in);
    int r = bh_envelope_open(topic, bh_slice(copy, in.n), NOW, &m, &why);
    free(copy);
    if (r) {
        CHECK(r == BH_EPROTO && why && !m);
        return;
    }
    CHECK(bh_slice_eq(bh_topic_name(m->topic), bh_topic_name(topic)));
    if (m->flags == BH_MESSAGE_RAW)
        check_raw(m, in);
    else
        check_ours(m, in);
    bh_message_unref(m);
}

/* The topic of a channel, or `all` when it is none. */
static struct bh_topic topic_of(struct bh_slice channel) {
    static const struct bh_slice prefix = BH_SLICE(BH_CHANNEL_PREFIX);
    struct bh_topic topic, same;
    char back[BH_CHANNEL_MAX + 1];
    if (bh_topic_from_channel(channel, prefix, &topic) == 0) {
        size_t n = bh_topic_to_channel(&topic, prefix, back);
        CHECK(n == strlen(back) && bh_slice_eq(bh_slice(back, n), channel));
        CHECK(bh_topic_parse(bh_topic_name(&topic), &same) == 0 && same.kind == topic.kind);
        return topic;
    }
    CHECK(bh_topic_make(BH_TOPIC_ALL, bh_slice(NULL, 0), &topic, NULL) == 0);
    return topic;
}

/* A length byte and a channel of that length, then the published bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size);
    struct bh_slice channel = fuzz_bytes(&in, fuzz_byte(&in));
    struct bh_topic topic = topic_of(channel);
    if (bh_topic_parse(channel, &topic) == 0)
        CHECK(bh_slice_eq(bh_topic_name(&topic), channel));
    else
        topic = topic_of(channel);
    open_envelope(&topic, in);
    return 0;
}
