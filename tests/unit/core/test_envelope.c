/* Envelopes: the layout byte for byte, encoding and decoding, and malformed input. */
#include "bellhop/core/envelope.h"

#include "bellhop/base/utf8.h"
#include "core_test.h"

#define NOW 1000

static const unsigned char golden[] = {
    0,   'b', 'h',  '1',                    /* magic */
    0,   2,   3,    2,    3,   0,   0,   0, /* kind, opcode, flags, lengths, reserved */
    1,   2,   3,    4,    5,   6,   7,   8, /* except */
    0,   0,   0x13, 0x88,                   /* ttl: 5000 */
    'i', '1', 'm',  '-',  '9', 'h', 'i', 0  /* origin, id, payload */
};

static int open_bytes(struct bh_slice bytes, struct bh_message **out) {
    struct bh_topic topic = test_topic("user:42");
    struct bh_slice exact = test_exact(bytes);
    const char *why = NULL;
    *out = NULL;
    int error = bh_envelope_open(&topic, exact, NOW, out, &why);
    test_exact_free(exact);
    if (error) {
        assert_null(*out);
        assert_non_null(why);
    } else {
        assert_non_null(*out);
        assert_slice(bh_topic_name((*out)->topic), "user:42");
    }
    return error;
}

static struct bh_message *golden_message(void) {
    struct bh_topic to = test_topic("user:42");
    struct bh_message parts = {.kind = BH_MESSAGE_DATA,
                               .opcode = BH_BINARY,
                               .flags = BH_MESSAGE_ECHO | BH_MESSAGE_DEDUP,
                               .topic = &to,
                               .except = UINT64_C(0x0102030405060708),
                               .expires_ms = NOW + 5000,
                               .id = BH_SLICE("m-9"),
                               .origin = BH_SLICE("i1"),
                               .payload = bh_slice("hi\0", 3)};
    return bh_message_new(&parts);
}

static void the_layout_is_the_headers(void **state) {
    char head[BH_ENVELOPE_HEAD_MAX];
    struct bh_message *m = golden_message();
    size_t n = bh_envelope_head(m, NOW, head);
    assert_int_equal(n, sizeof golden - 3);
    assert_memory_equal(head, golden, n);
    bh_message_unref(m);
}

static void opens_what_it_wrote(void **state) {
    struct bh_message *m;
    assert_int_equal(open_bytes(bh_slice(golden, sizeof golden), &m), 0);
    assert_int_equal(m->kind, BH_MESSAGE_DATA);
    assert_int_equal(m->opcode, BH_BINARY);
    assert_int_equal(m->flags, BH_MESSAGE_ECHO | BH_MESSAGE_DEDUP);
    assert_true(m->except == UINT64_C(0x0102030405060708));
    assert_int_equal(m->expires_ms, NOW + 5000);
    assert_slice(m->origin, "i1");
    assert_slice(m->id, "m-9");
    assert_int_equal(m->payload.n, 3);
    assert_memory_equal(m->payload.p, "hi\0", 3);
    bh_message_unref(m);
}

static void every_cut_in_the_head_is_refused_or_raw(void **state) {
    for (size_t n = 0; n <= sizeof golden; n++) {
        struct bh_message *m;
        int error = open_bytes(bh_slice(golden, n), &m);
        if (n < 4) { /* without the whole magic it is somebody's payload */
            assert_int_equal(error, 0);
            assert_int_equal(m->flags, BH_MESSAGE_RAW);
            assert_int_equal(m->payload.n, n);
        } else if (n < sizeof golden - 3) {
            assert_int_equal(error, BH_EPROTO);
        } else {
            assert_int_equal(error, 0);
            assert_int_equal(m->payload.n, n - (sizeof golden - 3));
        }
        bh_message_unref(m);
    }
}

static int open_changed(struct bh_slice envelope, size_t at, unsigned char byte) {
    unsigned char bytes[256];
    struct bh_message *m;
    assert_true(envelope.n <= sizeof bytes);
    memcpy(bytes, envelope.p, envelope.n);
    bytes[at] = byte;
    int error = open_bytes(bh_slice(bytes, envelope.n), &m);
    bh_message_unref(m);
    return error;
}

/* The golden envelope with one byte changed. */
static int open_with(size_t at, unsigned char byte) {
    return open_changed(bh_slice(golden, sizeof golden), at, byte);
}

static void hostile_heads_are_refused(void **state) {
    assert_int_equal(open_with(4, 2), BH_EPROTO); /* kind */
    assert_int_equal(open_with(4, 255), BH_EPROTO);
    assert_int_equal(open_with(5, 0), BH_EPROTO); /* opcode */
    assert_int_equal(open_with(5, 3), BH_EPROTO);
    assert_int_equal(open_with(5, 8), BH_EPROTO); /* would be a close frame */
    assert_int_equal(open_with(6, BH_MESSAGE_RAW), BH_EPROTO);
    assert_int_equal(open_with(6, 0x80), BH_EPROTO);
    for (size_t at = 9; at < 12; at++)
        assert_int_equal(open_with(at, 1), BH_EPROTO);
    assert_int_equal(open_with(7, 0), BH_EPROTO);   /* no origin */
    assert_int_equal(open_with(8, 0), BH_EPROTO);   /* no id */
    assert_int_equal(open_with(7, 255), BH_EPROTO); /* longer than the bytes */
    assert_int_equal(open_with(8, 255), BH_EPROTO);
    assert_int_equal(open_with(8, 6), BH_EPROTO); /* a NUL of the payload is in the id */
    assert_int_equal(open_with(24, ':'), BH_EPROTO);
    assert_int_equal(open_with(26, '\n'), BH_EPROTO);
    assert_int_equal(open_with(26, 0xff), BH_EPROTO);
}

/* --- filters --- */

static const unsigned char filtered[] = {
    0,   'b', 'h',  '1',                                    /* magic */
    0,   2,   3,    2,    3,   0,   0,   12,                /* as above; the filter's length */
    1,   2,   3,    4,    5,   6,   7,   8,                 /* except */
    0,   0,   0x13, 0x88,                                   /* ttl: 5000 */
    'i', '1', 'm',  '-',  '9',                              /* origin, id */
    2,   0,   3,    'o',  's', 'i', 'o', 's', 1, 0, 0, 'x', /* {os = "ios", x = ""} */
    'h', 'i', 0                                             /* payload */
};
#define FILTER_AT 29

static void a_filter_lies_before_the_payload(void **state) {
    struct bh_message *m;
    char head[BH_ENVELOPE_HEAD_MAX];
    assert_int_equal(open_bytes(bh_slice(filtered, sizeof filtered), &m), 0);
    assert_int_equal(m->filter.n, 12);
    assert_memory_equal(m->filter.p, filtered + FILTER_AT, 12);
    assert_int_equal(m->payload.n, 3);
    assert_memory_equal(m->payload.p, "hi\0", 3);
    assert_int_equal(bh_envelope_head_len(m), sizeof filtered - 3);
    assert_int_equal(bh_envelope_head(m, NOW, head), sizeof filtered - 3);
    assert_memory_equal(head, filtered, sizeof filtered - 3);
    bh_message_unref(m);
    for (size_t n = 24; n < sizeof filtered - 3; n++)
        assert_int_equal(open_bytes(bh_slice(filtered, n), &m), BH_EPROTO);
}

/* Versions without filters refuse anything but 0 in the bytes 9 to 11. */
static void what_knows_no_filters_refuses_it(void **state) {
    char head[BH_ENVELOPE_HEAD_MAX];
    struct bh_buf *filter = NULL;
    const char *why;
    struct bh_topic to = test_topic("all");
    struct bh_message parts = {.opcode = BH_TEXT, .topic = &to};
    for (int i = 0; i < BH_FILTER_TAGS_MAX; i++) {
        char name[BH_FILTER_NAME_MAX], value[BH_FILTER_VALUE_MAX];
        memset(name, 'a' + i, sizeof name);
        memset(value, 'v', sizeof value);
        size_t n = i == 0 ? 1 : sizeof name; /* from the shortest to the longest */
        assert_int_equal(bh_filter_add(&filter, bh_slice(name, n),
                                       bh_slice(value, i == 0 ? 0 : sizeof value), &why),
                         0);
        parts.filter = bh_buf_slice(filter);
        bh_envelope_head(&parts, NOW, head);
        assert_true(head[10] || head[11]);
    }
    bh_buf_unref(filter);
}

static int open_filtered_with(size_t at, unsigned char byte) {
    unsigned char bytes[sizeof filtered];
    struct bh_message *m;
    memcpy(bytes, filtered, sizeof filtered);
    bytes[at] = byte;
    int error = open_bytes(bh_slice(bytes, sizeof bytes), &m);
    bh_message_unref(m);
    return error;
}

static void hostile_filters_are_refused(void **state) {
    assert_int_equal(open_filtered_with(4, BH_MESSAGE_DISCONNECT), BH_EPROTO);
    assert_int_equal(open_filtered_with(10, 1), BH_EPROTO);
    for (int n = 1; n < 256; n++) /* but for the first pair alone and for both */
        assert_int_equal(open_filtered_with(11, (unsigned char)n),
                         n == 8 || n == 12 ? 0 : BH_EPROTO);
    assert_int_equal(open_filtered_with(FILTER_AT, 0), BH_EPROTO);
    assert_int_equal(open_filtered_with(FILTER_AT, 255), BH_EPROTO);
    assert_int_equal(open_filtered_with(FILTER_AT + 1, 1), BH_EPROTO);
    assert_int_equal(open_filtered_with(FILTER_AT + 2, 4), BH_EPROTO);
    assert_int_equal(open_filtered_with(FILTER_AT + 8, 0), BH_EPROTO);
    assert_int_equal(open_filtered_with(FILTER_AT + 10, 1), BH_EPROTO);
}

static void lengths_up_to_the_last_byte(void **state) {
    unsigned char bytes[BH_ENVELOPE_HEAD + 255 + 255] = {0, 'b', 'h', '1', 0, 1};
    memset(bytes + BH_ENVELOPE_HEAD, 'x', sizeof bytes - BH_ENVELOPE_HEAD);
    for (int origin = 0; origin <= 255; origin++) {
        for (int id = 0; id <= 255; id += 3) {
            bytes[7] = (unsigned char)origin;
            bytes[8] = (unsigned char)id;
            size_t n = (size_t)(BH_ENVELOPE_HEAD + origin + id);
            bool lawful = origin >= 1 && origin <= BH_ID_MAX && id >= 1 && id <= BH_MESSAGE_ID_MAX;
            struct bh_message *m;
            assert_int_equal(open_bytes(bh_slice(bytes, n), &m), lawful ? 0 : BH_EPROTO);
            bh_message_unref(m);
            if (origin + id) {
                assert_int_equal(open_bytes(bh_slice(bytes, n - 1), &m), BH_EPROTO);
            }
        }
    }
}

static void text_must_be_utf8(void **state) {
    unsigned char bytes[sizeof golden];
    struct bh_message *m;
    memcpy(bytes, golden, sizeof golden);
    bytes[5] = BH_TEXT;
    assert_int_equal(open_bytes(bh_slice(bytes, sizeof bytes), &m), 0);
    bh_message_unref(m);
    bytes[sizeof bytes - 1] = 0xc3;
    assert_int_equal(open_bytes(bh_slice(bytes, sizeof bytes), &m), BH_EPROTO);
    bytes[5] = BH_BINARY;
    assert_int_equal(open_bytes(bh_slice(bytes, sizeof bytes), &m), 0);
    bh_message_unref(m);
}

static void raw_payloads_stay_as_they_are(void **state) {
    static const struct {
        struct bh_slice bytes;
        enum bh_opcode opcode;
    } raw[] = {
        {{"", 0}, BH_TEXT},           {{"{\"n\":1}", 7}, BH_TEXT}, {{"caf\xc3\xa9", 5}, BH_TEXT},
        {{"\xff\xfe", 2}, BH_BINARY}, {{"bh1", 3}, BH_TEXT},       {{"\0bh", 3}, BH_TEXT},
        {{"\0bh2....", 8}, BH_TEXT},
    };
    for (size_t i = 0; i < COUNT(raw); i++) {
        struct bh_message *m;
        assert_int_equal(open_bytes(raw[i].bytes, &m), 0);
        assert_int_equal(m->kind, BH_MESSAGE_DATA);
        assert_int_equal(m->opcode, raw[i].opcode);
        assert_int_equal(m->flags, BH_MESSAGE_RAW);
        assert_int_equal(m->id.n + m->origin.n, 0);
        assert_true(m->except == 0 && m->expires_ms == 0);
        assert_true(bh_slice_eq(m->payload, raw[i].bytes));
        bh_message_unref(m);
    }
}

static uint32_t ttl_of(uint64_t expires_ms, uint64_t now_ms) {
    char head[BH_ENVELOPE_HEAD_MAX];
    struct bh_message *m = golden_message();
    m->expires_ms = expires_ms;
    bh_envelope_head(m, now_ms, head);
    bh_message_unref(m);
    const unsigned char *ttl = (unsigned char *)head + 20;
    return (uint32_t)ttl[0] << 24 | (uint32_t)ttl[1] << 16 | (uint32_t)ttl[2] << 8 | ttl[3];
}

static void the_ttl_is_what_is_left(void **state) {
    assert_int_equal(ttl_of(0, NOW), 0);
    assert_int_equal(ttl_of(NOW + 1, NOW), 1);
    assert_int_equal(ttl_of(NOW, NOW), 1); /* 0 would mean no expiry */
    assert_int_equal(ttl_of(1, NOW), 1);
    assert_int_equal(ttl_of(NOW + UINT64_C(0x100000000), NOW), UINT32_MAX);
}

static void the_raw_flag_stays_at_home(void **state) {
    char head[BH_ENVELOPE_HEAD_MAX];
    struct bh_message *m = golden_message();
    m->flags |= BH_MESSAGE_RAW;
    bh_envelope_head(m, NOW, head);
    assert_int_equal(head[6], BH_MESSAGE_ECHO | BH_MESSAGE_DEDUP);
    bh_message_unref(m);
}

/* --- streams --- */

static const unsigned char stored[] = {
    0,   'b', 'h',  '1',                       /* magic */
    0,   2,   9,    2,    3,    0,    0,    0, /* POSITION and ECHO */
    1,   2,   3,    4,    5,    6,    7,    8, /* except */
    0,   0,   0x13, 0x88,                      /* ttl: 5000 */
    0,   0,   0,    0,    0,    0,    1,    2, /* offset: 258 */
    0,   6,   0x0a, 0x24, 0x18, 0x1e, 0x40, 3, /* epoch */
    0,   0,   1,    0x8b, 0xcf, 0xe5, 0x68, 4, /* time */
    'i', '1', 'm',  '-',  '9',  'h',  'i',  0  /* origin, id, payload */
};
#define STORED_HEAD  (sizeof stored - 3)
#define POSITION_AT  24
#define STORED_EPOCH UINT64_C(0x00060a24181e4003)
#define STORED_MS    UINT64_C(0x0000018bcfe56804)

/* Of kind, flags and lengths as given, with the position of `stored`, then `rest`. */
static int open_stored(uint8_t kind, uint8_t opcode, uint8_t flags, const char *origin,
                       const char *id, struct bh_slice payload, struct bh_message **out) {
    char bytes[256] = {0, 'b', 'h', '1', (char)kind, (char)opcode, (char)flags};
    char *at = bytes + BH_ENVELOPE_HEAD;
    bytes[7] = (char)strlen(origin);
    bytes[8] = (char)strlen(id);
    if (flags & BH_MESSAGE_POSITION)
        bh_slice_pack(&at, bh_slice(stored + POSITION_AT, BH_ENVELOPE_POSITION));
    bh_slice_pack(&at, bh_slice_cstr(origin));
    bh_slice_pack(&at, bh_slice_cstr(id));
    bh_slice_pack(&at, payload);
    return open_bytes(bh_slice(bytes, (size_t)(at - bytes)), out);
}

static void a_position_lies_behind_the_head(void **state) {
    struct bh_message *m;
    char head[BH_ENVELOPE_HEAD_MAX];
    assert_int_equal(open_bytes(bh_slice(stored, sizeof stored), &m), 0);
    assert_int_equal(m->flags, BH_MESSAGE_POSITION | BH_MESSAGE_ECHO);
    assert_int_equal(m->position.offset, 258);
    assert_true(m->position.epoch == STORED_EPOCH && m->stored_ms == STORED_MS);
    assert_int_equal(m->expires_ms, NOW + 5000);
    assert_slice(m->origin, "i1");
    assert_slice(m->id, "m-9");
    assert_int_equal(m->payload.n, 3);
    assert_int_equal(bh_envelope_head_len(m), STORED_HEAD);
    assert_int_equal(bh_envelope_head(m, NOW, head), STORED_HEAD);
    assert_memory_equal(head, stored, STORED_HEAD);
    bh_message_unref(m);
    for (size_t n = 4; n < STORED_HEAD; n++)
        assert_int_equal(open_bytes(bh_slice(stored, n), &m), BH_EPROTO);
}

/* The script inserts the position. */
static void an_append_has_the_flag_and_no_position(void **state) {
    char whole[BH_ENVELOPE_HEAD_MAX];
    struct bh_message *m = golden_message(); /* ECHO and DEDUP */
    bh_envelope_append_head(m, NOW, whole);
    memcpy(whole + POSITION_AT, stored + POSITION_AT, BH_ENVELOPE_POSITION);
    size_t n = bh_envelope_append_rest(m, whole + POSITION_AT + BH_ENVELOPE_POSITION);
    assert_int_equal(n, bh_envelope_append_rest_len(m));
    assert_int_equal(POSITION_AT + BH_ENVELOPE_POSITION + n, STORED_HEAD);
    assert_memory_equal(whole, stored, STORED_HEAD);
    bh_message_unref(m);
}

static int open_stored_with(size_t at, unsigned char byte) {
    return open_changed(bh_slice(stored, sizeof stored), at, byte);
}

static void hostile_positions_are_refused(void **state) {
    for (size_t number = 0; number < 3; number++) {
        assert_int_equal(open_stored_with(POSITION_AT + 8 * number, 1), BH_EPROTO);
        assert_int_equal(open_stored_with(POSITION_AT + 8 * number + 1, 0x20), BH_EPROTO);
        assert_int_equal(open_stored_with(POSITION_AT + 8 * number + 1, 0x1f), 0);
    }
    unsigned char zero[sizeof stored];
    struct bh_message *m;
    memcpy(zero, stored, sizeof zero);
    memset(zero + POSITION_AT, 0, 8);
    assert_int_equal(open_bytes(bh_slice(zero, sizeof zero), &m), BH_EPROTO); /* offset 0 */
    memcpy(zero, stored, sizeof zero);
    memset(zero + POSITION_AT + 8, 0, 8);
    assert_int_equal(open_bytes(bh_slice(zero, sizeof zero), &m), BH_EPROTO); /* epoch 0 */
}

/* Text when it is one, without origin, with an id or without; only beside a position. */
static void a_plain_backend_may_leave_out_the_ids(void **state) {
    const uint8_t raw = BH_MESSAGE_POSITION | BH_MESSAGE_RAW;
    const struct bh_slice text = BH_SLICE("{}"), binary = BH_SLICE("\xff");
    char head[BH_ENVELOPE_HEAD_MAX];
    struct bh_message *m;
    assert_int_equal(open_stored(BH_MESSAGE_DATA, 2, raw, "", "", text, &m), 0);
    assert_int_equal(m->opcode, BH_TEXT);
    assert_int_equal(m->flags, raw);
    bh_envelope_head(m, NOW, head);
    assert_int_equal(head[5], 2);
    assert_int_equal(head[6], raw);
    bh_message_unref(m);
    assert_int_equal(open_stored(BH_MESSAGE_DATA, 2, raw, "", "id-1", binary, &m), 0);
    assert_int_equal(m->opcode, BH_BINARY);
    assert_slice(m->id, "id-1");
    bh_message_unref(m);
    assert_int_equal(open_stored(BH_MESSAGE_DATA, 2, raw, "", "a b", text, &m), BH_EPROTO);
    assert_int_equal(open_stored(BH_MESSAGE_DATA, 2, raw, "a b", "", text, &m), BH_EPROTO);
    assert_int_equal(open_stored(BH_MESSAGE_DATA, 1, raw, "", "", text, &m), BH_EPROTO);
    assert_int_equal(open_stored(BH_MESSAGE_DATA, 2, BH_MESSAGE_RAW, "i", "m", text, &m),
                     BH_EPROTO);
    assert_int_equal(open_stored(BH_MESSAGE_DATA, 2, BH_MESSAGE_POSITION, "", "", text, &m),
                     BH_EPROTO);
}

static void removals_have_a_position_and_no_ids(void **state) {
    static const char *const good[] = {"all", "5", "5 9", "1 2 3 9007199254740991"};
    static const char *const bad[] = {
        "", "al", "all ", "5  9", "5 ", " 5", "-1", "9007199254740992", "5,9"};
    const struct bh_slice none = BH_SLICE("");
    struct bh_message *m;
    assert_int_equal(open_stored(BH_MESSAGE_TOMBSTONE, 2, BH_MESSAGE_POSITION, "", "", none, &m),
                     0);
    assert_int_equal(m->position.offset, 258);
    bh_message_unref(m);
    assert_int_equal(
        open_stored(BH_MESSAGE_TOMBSTONE, 2, BH_MESSAGE_POSITION, "", "", BH_SLICE("x"), &m),
        BH_EPROTO);
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_int_equal(open_stored(BH_MESSAGE_PURGE, 2, BH_MESSAGE_POSITION, "", "",
                                     bh_slice_cstr(good[i]), &m),
                         0);
        assert_slice(m->payload, good[i]);
        bh_message_unref(m);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(open_stored(BH_MESSAGE_PURGE, 2, BH_MESSAGE_POSITION, "", "",
                                     bh_slice_cstr(bad[i]), &m),
                         BH_EPROTO);
    for (uint8_t kind = BH_MESSAGE_PURGE; kind <= BH_MESSAGE_TOMBSTONE; kind++)
        assert_int_equal(open_stored(kind, 2, 0, "", "", none, &m), BH_EPROTO);
}

/* GAP and REWOUND are told by the bus of this instance alone. */
static void other_kinds_are_refused_with_a_position(void **state) {
    struct bh_message *m;
    for (int kind = BH_MESSAGE_GAP; kind < 256; kind++)
        assert_int_equal(
            open_stored((uint8_t)kind, 2, BH_MESSAGE_POSITION, "i", "m", BH_SLICE(""), &m),
            BH_EPROTO);
    assert_int_equal(
        open_stored(BH_MESSAGE_DISCONNECT, 1, BH_MESSAGE_POSITION, "i", "m", BH_SLICE("1000"), &m),
        BH_EPROTO);
}

static uint64_t expires_at_age(uint64_t age_ms) {
    struct bh_message *m;
    assert_int_equal(open_bytes(bh_slice(stored, sizeof stored), &m), 0);
    bh_envelope_set_age(m, age_ms);
    uint64_t expires_ms = m->expires_ms;
    bh_message_unref(m);
    return expires_ms;
}

static void the_ttl_counts_from_the_append(void **state) {
    assert_int_equal(expires_at_age(0), NOW + 5000);
    assert_int_equal(expires_at_age(4000), NOW + 1000);
    assert_int_equal(expires_at_age(NOW + 5000), 1);
    assert_int_equal(expires_at_age(UINT64_MAX), 1);
    struct bh_message *m;
    assert_int_equal(
        open_stored(BH_MESSAGE_DATA, 1, BH_MESSAGE_POSITION, "i", "m", BH_SLICE("x"), &m), 0);
    bh_envelope_set_age(m, 9999);
    assert_int_equal(m->expires_ms, 0);
    bh_message_unref(m);
}

static void lack_of_memory_is_told(void **state) {
    struct bh_message *m;
    bh_mem_fail_nth(1);
    assert_int_equal(open_bytes(bh_slice(golden, sizeof golden), &m), BH_ENOMEM);
    bh_mem_fail_nth(0);
}

static void random_bytes_never_break_a_promise(void **state) {
    for (int round = 0; round < 200000; round++) {
        unsigned char bytes[96];
        size_t n = test_random() % sizeof bytes;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (unsigned char)test_random();
        const struct bh_slice valid[] = {bh_slice(golden, sizeof golden),
                                         bh_slice(filtered, sizeof filtered),
                                         bh_slice(stored, sizeof stored)};
        struct bh_slice near = valid[round % 3]; /* most of it is valid */
        if (round % 4)
            memcpy(bytes, near.p, n < near.n ? n : near.n);
        if (round % 4 && n)
            bytes[test_random() % n] = (unsigned char)test_random();
        struct bh_message *m;
        if (open_bytes(bh_slice(bytes, n), &m))
            continue;
        assert_true(m->opcode == BH_TEXT || m->opcode == BH_BINARY);
        assert_true(m->opcode == BH_BINARY || bh_utf8_valid(m->payload));
        assert_true(m->id.n <= BH_MESSAGE_ID_MAX && m->origin.n <= BH_ID_MAX);
        assert_int_equal(bh_filter_check(m->filter), 0);
        if (m->flags != BH_MESSAGE_RAW) {
            char again[BH_ENVELOPE_HEAD_MAX];
            size_t head = bh_envelope_head(m, NOW, again);
            assert_int_equal(head + m->payload.n, n);
            assert_memory_equal(again, bytes, head);
        }
        bh_message_unref(m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_layout_is_the_headers),
        cmocka_unit_test(opens_what_it_wrote),
        cmocka_unit_test(every_cut_in_the_head_is_refused_or_raw),
        cmocka_unit_test(hostile_heads_are_refused),
        cmocka_unit_test(a_filter_lies_before_the_payload),
        cmocka_unit_test(what_knows_no_filters_refuses_it),
        cmocka_unit_test(hostile_filters_are_refused),
        cmocka_unit_test(lengths_up_to_the_last_byte),
        cmocka_unit_test(text_must_be_utf8),
        cmocka_unit_test(raw_payloads_stay_as_they_are),
        cmocka_unit_test(the_ttl_is_what_is_left),
        cmocka_unit_test(the_raw_flag_stays_at_home),
        cmocka_unit_test(a_position_lies_behind_the_head),
        cmocka_unit_test(an_append_has_the_flag_and_no_position),
        cmocka_unit_test(hostile_positions_are_refused),
        cmocka_unit_test(a_plain_backend_may_leave_out_the_ids),
        cmocka_unit_test(removals_have_a_position_and_no_ids),
        cmocka_unit_test(other_kinds_are_refused_with_a_position),
        cmocka_unit_test(the_ttl_counts_from_the_append),
        cmocka_unit_test(lack_of_memory_is_told),
        cmocka_unit_test(random_bytes_never_break_a_promise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
