/* Compressed messages with plain zlib on the other side: what a client reads of ours, what it may
 * send, and what it must not. */
#include "bellhop/proto/ws_deflate.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/proto/ws_frame.h"
#include "proto_test.h"

#include <zlib.h>

#define TAIL "\x00\x00\xff\xff"

/* --- what is sent --- */

/* Something like JSON, which repeats itself. */
static void add_prose(struct bh_bytes *to, size_t n) {
    static const char *const words[] = {"{\"user\":", "\"notification\"", ",", "[1,2,3]", "true",
                                        "\"text\":",  "\"hello world\"",  "}", " 4711 ",  "null"};
    size_t end = to->len + n;
    while (to->len < end)
        bh_bytes_adds(to, words[test_random() % COUNT(words)]);
    to->len = end;
}

static void add_noise(struct bh_bytes *to, size_t n) {
    while (n--)
        bh_bytes_addc(to, (char)test_random());
}

/* --- the other side --- */

struct client {
    z_stream in, out;
};

static void client_init(struct client *c, unsigned in_bits, unsigned out_bits) {
    *c = (struct client){0};
    assert_int_equal(inflateInit2(&c->in, -(int)in_bits), Z_OK);
    assert_int_equal(deflateInit2(&c->out, 6, Z_DEFLATED, -(int)out_bits, 8, Z_DEFAULT_STRATEGY),
                     Z_OK);
}

static void client_deinit(struct client *c) {
    inflateEnd(&c->in);
    deflateEnd(&c->out);
}

/* The payload of a whole frame, whose header must be that of one compressed message. */
static struct bh_slice payload_of(const struct bh_buf *frame, uint8_t opcode) {
    unsigned char head[BH_WS_HEADER_OUT_MAX];
    for (size_t size = 2; size <= sizeof head; size++) {
        if (frame->len < size)
            break;
        size_t n = frame->len - size;
        if (bh_ws_header_encode(head, opcode, true, true, n) != size)
            continue;
        assert_memory_equal(frame->data, head, size);
        assert_int_equal(head[0], 0xc0 | opcode);
        return bh_slice(frame->data + size, n);
    }
    fail();
    return bh_slice(NULL, 0);
}

/* Inflates with `step` bytes of room at a time: zlib refuses a distance beyond its window only when
 * the output buffer does not hold it. False when it refuses. */
static bool client_reads(struct client *c, struct bh_slice payload, size_t step,
                         struct bh_bytes *out) {
    struct bh_bytes in = {0};
    bh_bytes_add(&in, payload);
    bh_bytes_add(&in, BH_SLICE(TAIL));
    c->in.next_in = (unsigned char *)in.p;
    c->in.avail_in = (unsigned)in.len;
    int r;
    do {
        bh_bytes_reserve(out, step);
        c->in.next_out = (unsigned char *)out->p + out->len;
        c->in.avail_out = (unsigned)step;
        r = inflate(&c->in, Z_SYNC_FLUSH);
        out->len += step - c->in.avail_out;
    } while (r == Z_OK && (c->in.avail_in || c->in.avail_out == 0));
    bool all = c->in.avail_in == 0;
    bh_bytes_free(&in);
    return all && (r == Z_OK || r == Z_BUF_ERROR);
}

/* The payload of a message from the client; `end` is zlib's flush. */
static void client_writes(struct client *c, struct bh_slice data, int end, struct bh_bytes *out) {
    c->out.next_in = (unsigned char *)data.p;
    c->out.avail_in = (unsigned)data.n;
    do {
        bh_bytes_reserve(out, 1000);
        c->out.next_out = (unsigned char *)out->p + out->len;
        c->out.avail_out = 1000;
        deflate(&c->out, end);
        out->len += 1000 - c->out.avail_out;
    } while (c->out.avail_out == 0);
    if (end == Z_FINISH) {
        bh_bytes_addc(out, '\0');
        deflateReset(&c->out);
    } else if (out->len == 0) {
        bh_bytes_addc(out, '\0'); /* flushed twice: zlib writes nothing */
    } else {
        assert_memory_equal(out->p + out->len - 4, TAIL, 4);
        out->len -= 4;
    }
}

/* --- out --- */

static void expect_read(struct client *c, struct bh_deflater *d, struct bh_slice data,
                        bool takeover) {
    struct bh_buf *frame = bh_deflater_frame(d, BH_WS_TEXT, data, takeover);
    assert_true(frame || !takeover);
    if (!frame)
        return;
    struct bh_slice payload = payload_of(frame, BH_WS_TEXT);
    assert_true(payload.n < data.n || takeover);
    struct bh_bytes read = {0};
    assert_true(client_reads(c, payload, data.n < 20000 ? 1 : 1 << 16, &read));
    assert_true(bh_slice_eq(bh_bytes_slice(&read), data));
    bh_bytes_free(&read);
    bh_buf_unref(frame);
    if (!takeover)
        inflateReset(&c->in);
}

/* Lengths of frames, of the deflater's chunks, of its window, of its pieces. */
static const size_t sizes[] = {1,     2,    3,    100,   125,   126,     127,   300,
                               1000,  4097, 9000, 16384, 70000, 1 << 20, 5,     400,
                               16000, 0,    0,    10,    0,     3 << 20, 65536, 1};

static void a_client_reads_what_we_write(void **state) {
    for (unsigned bits = 8; bits <= 15; bits++)
        for (int takeover = 0; takeover < 2; takeover++) {
            struct client c;
            client_init(&c, bits, 15);
            struct bh_deflater *d = bh_deflater_new(bits, 1 + bits % 9);
            for (size_t i = 0; i < COUNT(sizes); i++) {
                struct bh_bytes data = {0};
                if (sizes[i] > 1 << 20 && bits < 15)
                    continue; /* the largest takes a second */
                add_prose(&data, sizes[i] / 2);
                if (i % 3 == 0)
                    add_noise(&data, sizes[i] / 4);
                add_prose(&data, sizes[i] - data.len);
                expect_read(&c, d, bh_bytes_slice(&data), takeover);
                bh_bytes_free(&data);
            }
            bh_deflater_free(d);
            client_deinit(&c);
        }
}

/* Output ends at every place of a chunk, also exactly at its end. */
static void output_of_all_lengths(void **state) {
    struct client c;
    client_init(&c, 15, 15);
    struct bh_deflater *d = bh_deflater_new(15, 1);
    struct bh_bytes data = {0};
    add_noise(&data, 16300);
    for (int i = 0; i < 120; i++) {
        add_noise(&data, 1);
        struct bh_buf *frame = bh_deflater_frame(d, BH_WS_BINARY, bh_bytes_slice(&data), true);
        struct bh_bytes read = {0};
        assert_true(client_reads(&c, payload_of(frame, BH_WS_BINARY), 1 << 15, &read));
        assert_true(bh_slice_eq(bh_bytes_slice(&read), bh_bytes_slice(&data)));
        bh_bytes_free(&read);
        bh_buf_unref(frame);
        bh_deflater_reset(d);
    }
    bh_bytes_free(&data);
    bh_deflater_free(d);
    client_deinit(&c);
}

/* Noise that returns at this distance is shortened only by a deflater that can see it. */
static size_t length_with_echo(unsigned bits, size_t distance, unsigned reader_bits, bool *read) {
    struct bh_deflater *d = bh_deflater_new(bits, 9);
    struct client c;
    client_init(&c, reader_bits, 15);
    struct bh_bytes data = {0}, out = {0};
    add_noise(&data, distance);
    for (size_t i = 0; i < distance; i++)
        bh_bytes_addc(&data, data.p[i]);
    struct bh_buf *frame = bh_deflater_frame(d, BH_WS_TEXT, bh_bytes_slice(&data), true);
    size_t n = frame->len;
    *read = client_reads(&c, payload_of(frame, BH_WS_TEXT), 1, &out);
    bh_bytes_free(&out);
    bh_bytes_free(&data);
    bh_buf_unref(frame);
    bh_deflater_free(d);
    client_deinit(&c);
    return n;
}

static void the_window_is_kept(void **state) {
    bool read;
    for (unsigned bits = 8; bits <= 15; bits++) {
        size_t window = (size_t)1 << bits, inside = bits == 8 ? 240 : window - 300;
        assert_true(length_with_echo(bits, inside, bits, &read) < inside * 3 / 2);
        assert_true(read);
        assert_true(length_with_echo(bits, window + 10, bits, &read) > window * 2);
        assert_true(read);
        /* And a client with a smaller window would have noticed. */
        if (bits > 8) {
            length_with_echo(bits, window - 300 > window / 2 ? window - 300 : 240, bits - 1, &read);
            assert_int_equal(read, bits == 9);
        }
    }
}

static void takeover_makes_repetitions_short(void **state) {
    struct bh_deflater *d = bh_deflater_new(12, 6);
    struct bh_bytes data = {0};
    add_noise(&data, 500);
    struct bh_slice s = bh_bytes_slice(&data);
    struct bh_buf *first = bh_deflater_frame(d, BH_WS_BINARY, s, true);
    struct bh_buf *second = bh_deflater_frame(d, BH_WS_BINARY, s, true);
    bh_deflater_reset(d);
    struct bh_buf *fresh = bh_deflater_frame(d, BH_WS_BINARY, s, true);
    assert_true(first->len > 500);
    assert_true(second->len < 30);
    assert_true(bh_slice_eq(bh_buf_slice(first), bh_buf_slice(fresh)));
    bh_buf_unref(first);
    bh_buf_unref(second);
    bh_buf_unref(fresh);
    bh_bytes_free(&data);
    bh_deflater_free(d);
}

/* So that one frame may go to many; also after an aborted one. */
static void without_takeover_only_the_payload_counts(void **state) {
    struct bh_bytes prose = {0}, noise = {0};
    add_prose(&prose, 3000);
    add_noise(&noise, 40000);
    for (unsigned bits = 8; bits <= 15; bits++) {
        struct bh_deflater *d = bh_deflater_new(bits, 6), *other = bh_deflater_new(bits, 6);
        struct bh_buf *first = bh_deflater_frame(d, BH_WS_TEXT, bh_bytes_slice(&prose), false);
        assert_null(bh_deflater_frame(d, BH_WS_TEXT, bh_bytes_slice(&noise), false));
        struct bh_buf *taken = bh_deflater_frame(d, BH_WS_TEXT, bh_bytes_slice(&noise), true);
        struct bh_buf *second = bh_deflater_frame(d, BH_WS_TEXT, bh_bytes_slice(&prose), false);
        struct bh_buf *third = bh_deflater_frame(other, BH_WS_TEXT, bh_bytes_slice(&prose), false);
        assert_true(bh_slice_eq(bh_buf_slice(first), bh_buf_slice(second)));
        assert_true(bh_slice_eq(bh_buf_slice(first), bh_buf_slice(third)));
        bh_buf_unref(first);
        bh_buf_unref(taken);
        bh_buf_unref(second);
        bh_buf_unref(third);
        bh_deflater_free(d);
        bh_deflater_free(other);
    }
    bh_bytes_free(&prose);
    bh_bytes_free(&noise);
}

static void what_gets_no_smaller_goes_as_it_is(void **state) {
    struct bh_deflater *d = bh_deflater_new(15, 6);
    struct bh_bytes data = {0};
    unsigned smaller = 0;
    for (int n = 0; n < 40; n++) {
        bh_deflater_reset(d);
        struct bh_buf *full = bh_deflater_frame(d, BH_WS_TEXT, bh_bytes_slice(&data), true);
        struct bh_buf *frame = bh_deflater_frame(d, BH_WS_TEXT, bh_bytes_slice(&data), false);
        assert_int_equal(frame != NULL, payload_of(full, BH_WS_TEXT).n < data.len);
        assert_true(!frame || bh_slice_eq(bh_buf_slice(frame), bh_buf_slice(full)));
        smaller += frame != NULL;
        bh_buf_unref(full);
        bh_buf_unref(frame);
        bh_bytes_addc(&data, 'a');
    }
    assert_true(smaller > 25 && smaller < 36);
    bh_bytes_free(&data);
    bh_deflater_free(d);
}

static void empty_messages_are_one_byte(void **state) {
    struct bh_deflater *d = bh_deflater_new(15, 6);
    for (int i = 0; i < 3; i++) {
        struct bh_buf *frame = bh_deflater_frame(d, BH_WS_TEXT, bh_slice(NULL, 0), true);
        assert_int_equal(frame->len, 3);
        assert_memory_equal(frame->data, "\xc1\x01\x00", 3);
        bh_buf_unref(frame);
    }
    bh_deflater_free(d);
}

/* --- in --- */

/* The next bytes of the payload lie elsewhere in each step. */
static int take_step(struct bh_inflater *i, struct bh_slice *rest, uint64_t limit,
                     struct bh_bytes *out) {
    struct bh_slice exact = test_exact(rest->n < 20000 ? *rest : bh_slice(rest->p, 20000));
    struct bh_slice left = exact;
    size_t before = out->len;
    int r = bh_inflater_step(i, &left, limit, out);
    assert_true(out->len - before <= BH_INFLATE_STEP);
    assert_true(left.n <= exact.n && left.p == exact.p + (exact.n - left.n));
    assert_true(r || rest->n == exact.n);
    *rest = bh_slice(rest->p + (exact.n - left.n), rest->n - (exact.n - left.n));
    test_exact_free(exact);
    return r;
}

static int read_exact(struct bh_inflater *i, struct bh_slice payload, uint64_t limit,
                      struct bh_bytes *out) {
    int r;
    bh_inflate_step_in(payload.n < 3000 && test_random() % 2 ? 1 + test_random() % 50 : 0);
    bh_inflater_begin(i);
    do
        r = take_step(i, &payload, limit, out);
    while (r == BH_INFLATE_AGAIN);
    assert_true(out->len <= limit && out->cap <= limit);
    assert_true(r || payload.n == 0);
    return r;
}

static void expect_message(struct bh_inflater *i, struct bh_slice payload,
                           struct bh_slice expected) {
    struct bh_bytes out = {0};
    assert_int_equal(read_exact(i, payload, expected.n, &out), 0);
    assert_true(bh_slice_eq(bh_bytes_slice(&out), expected));
    bh_bytes_free(&out);
}

static void expect_error(struct bh_inflater *i, struct bh_slice payload, int error) {
    struct bh_bytes out = {0};
    assert_int_equal(read_exact(i, payload, 1 << 20, &out), error);
    bh_bytes_free(&out);
}

static void we_read_what_a_client_writes(void **state) {
    for (unsigned bits = 8; bits <= 15; bits++)
        for (int takeover = 0; takeover < 2; takeover++) {
            struct client c;
            client_init(&c, 15, bits == 8 ? 9 : bits);
            struct bh_inflater *i = bh_inflater_new(bits, takeover);
            for (size_t k = 0; k < COUNT(sizes); k++) {
                struct bh_bytes data = {0}, payload = {0};
                if (sizes[k] > 1 << 20 && bits < 15)
                    continue;
                add_prose(&data, sizes[k]);
                if (k % 3 == 0)
                    add_noise(&data, sizes[k]);
                bool finish = k % 4 == 1;
                client_writes(&c, bh_bytes_slice(&data), finish ? Z_FINISH : Z_FULL_FLUSH,
                              &payload);
                if (!takeover)
                    deflateReset(&c.out);
                expect_message(i, bh_bytes_slice(&payload), bh_bytes_slice(&data));
                bh_bytes_free(&data);
                bh_bytes_free(&payload);
            }
            bh_inflater_free(i);
            client_deinit(&c);
        }
}

static void the_window_goes_on(void **state) {
    struct client c;
    client_init(&c, 15, 15);
    struct bh_inflater *i = bh_inflater_new(15, true);
    struct bh_bytes data = {0};
    add_noise(&data, 20000);
    for (int k = 0; k < 5; k++) {
        struct bh_bytes payload = {0};
        client_writes(&c, bh_bytes_slice(&data), Z_SYNC_FLUSH, &payload);
        assert_int_equal(payload.len<1000, k> 0);
        expect_message(i, bh_bytes_slice(&payload), bh_bytes_slice(&data));
        bh_bytes_free(&payload);
    }
    bh_bytes_free(&data);
    bh_inflater_free(i);
    client_deinit(&c);
}

/* RFC 7692 section 7.2.3. */
static void the_examples_of_the_rfc(void **state) {
    static const struct {
        const char *p;
        size_t n;
    } hello[] = {
        {"\xf2\x48\xcd\xc9\xc9\x07\x00", 7},
        {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11},
        {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8},
        {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13},
    };
    struct bh_inflater *i = bh_inflater_new(15, true);
    for (size_t k = 0; k < COUNT(hello); k++) {
        expect_message(i, bh_slice(hello[k].p, hello[k].n), BH_SLICE("Hello"));
        expect_message(i, bh_slice("\xf2\x00\x11\x00\x00", 5), BH_SLICE("Hello"));
    }
    expect_message(i, bh_slice("\x00", 1), BH_SLICE(""));
    expect_message(i, bh_slice("\xf2\x00\x11\x00\x00", 5), BH_SLICE("Hello"));
    bh_inflater_free(i);

    i = bh_inflater_new(15, false);
    expect_message(i, bh_slice(hello[0].p, hello[0].n), BH_SLICE("Hello"));
    expect_error(i, bh_slice("\xf2\x00\x11\x00\x00", 5), BH_ENOTFOUND);
    expect_message(i, bh_slice(hello[2].p, hello[2].n), BH_SLICE("Hello"));
    bh_inflater_free(i);
}

/* Two messages with a final block each, put together, are one message. */
static void final_blocks_inside_a_message(void **state) {
    static const char two[] = "\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00"
                              "\xf2\x00\x11\x00";
    struct bh_inflater *i = bh_inflater_new(15, true);
    expect_message(i, bh_slice(two, sizeof two), BH_SLICE("HelloHelloHello"));
    /* The empty block at the end may be a final one too: 01 00 00 ff ff. */
    expect_message(i, bh_slice("\xf2\x00\x11\x80\x00", 5), BH_SLICE("Hello"));
    expect_message(i, bh_slice("\x01", 1), BH_SLICE(""));
    expect_message(i, bh_slice("\xf2\x00\x11\x00\x00", 5), BH_SLICE("Hello"));
    bh_inflater_free(i);
}

static void many_final_blocks(void **state) {
    struct bh_inflater *i = bh_inflater_new(15, true);
    struct bh_bytes payload = {0}, window = {0}, first = {0};
    struct client c;
    client_init(&c, 15, 15);
    add_noise(&window, 40000);
    client_writes(&c, bh_bytes_slice(&window), Z_FINISH, &first);
    expect_message(i, bh_bytes_slice(&first), bh_bytes_slice(&window));
    for (int k = 0; k < 100000; k++)
        bh_bytes_add(&payload, bh_slice("\x03\x00", 2));
    bh_bytes_addc(&payload, '\0');
    expect_message(i, bh_bytes_slice(&payload), BH_SLICE(""));
    /* The first three bytes of the earliest message: distance 32768. */
    expect_message(i, bh_slice("\x02\xde\xff\x0f\x00", 5), bh_slice(window.p + 40000 - 32768, 3));
    bh_bytes_free(&payload);
    bh_bytes_free(&first);
    bh_bytes_free(&window);
    client_deinit(&c);
    bh_inflater_free(i);
}

/* --- hostile --- */

static void bombs(void **state) {
    static const size_t inflated[] = {1, 255, 256, 1000, 16384, 16385, 32768, 100000, 5 << 20};
    struct client c;
    client_init(&c, 15, 15);
    struct bh_inflater *i = bh_inflater_new(15, false);
    for (size_t k = 0; k < COUNT(inflated); k++) {
        size_t n = inflated[k];
        struct bh_bytes zeros = {0}, payload = {0}, out = {0};
        test_repeat(&zeros, '\0', n);
        client_writes(&c, bh_bytes_slice(&zeros), Z_FULL_FLUSH, &payload);
        expect_message(i, bh_bytes_slice(&payload), bh_bytes_slice(&zeros));
        const size_t limits[] = {n - 1, n / 2, n / 1000, 0};
        for (size_t l = 0; l < COUNT(limits); l++) {
            assert_int_equal(read_exact(i, bh_bytes_slice(&payload), limits[l], &out), BH_ETOOBIG);
            bh_bytes_free(&out);
        }
        /* Memory follows the message, not the limit. */
        assert_int_equal(read_exact(i, bh_bytes_slice(&payload), UINT64_MAX, &out), 0);
        assert_true(out.len == n && out.cap <= 2 * n);
        bh_bytes_free(&out);
        bh_bytes_free(&zeros);
        bh_bytes_free(&payload);
    }
    bh_inflater_free(i);
    client_deinit(&c);
}

static void messages_that_end_too_early(void **state) {
    struct client c;
    client_init(&c, 15, 15);
    struct bh_inflater *i = bh_inflater_new(15, false);
    for (int kind = 0; kind < 4; kind++) {
        struct bh_bytes data = {0}, payload = {0};
        if (kind < 2)
            add_prose(&data, 700);
        else
            add_noise(&data, 700);
        client_writes(&c, bh_bytes_slice(&data), kind % 2 ? Z_FINISH : Z_FULL_FLUSH, &payload);
        for (size_t n = 0; n < payload.len; n++)
            if (n != 1 || payload.p[0] > 1) /* 00 and 01 are empty messages */
                expect_error(i, bh_slice(payload.p, n), BH_EPROTO);
        expect_message(i, bh_bytes_slice(&payload), bh_bytes_slice(&data));
        bh_bytes_free(&data);
        bh_bytes_free(&payload);
    }
    /* A stored block that takes the tail for its data. */
    expect_error(i, bh_slice("\x00\x05\x00\xfa\xffH", 6), BH_EPROTO);
    expect_error(i, bh_slice("\x01\x05\x00\xfa\xffH", 6), BH_EPROTO);
    bh_inflater_free(i);
    client_deinit(&c);
}

static void what_is_no_deflate(void **state) {
    static const struct {
        const char *p;
        size_t n;
    } bad[] = {
        {"", 0},
        {"\x06", 1},                                          /* a block of type 3 */
        {"\x07", 1},                                          /* also as the last */
        {"Hello, here is no compression", 29},                /* text */
        {"\x00\x05\x00\xfa\xfeHello\x00", 11},                /* LEN against NLEN */
        {"\xf2\x48\xcd\xc9\xc9\x07\x00\x00", 8},              /* one byte more */
        {"\xf2\x48\xcd\xc9\xc9\x07\x00\xff", 8},              /* that takes the tail for a length */
        {"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", 11}, /* the tail was left on */
        {"\xf3\x48\xcd\xc9\xc9\x07\x00", 7},                  /* no block after the final one */
        {"\xf3\x48\xcd\xc9\xc9\x07\x00garbage", 14},          /* nor here */
        {"\x01\x00\x00\xff\xff", 5},                          /* likewise */
        {"\x78\x9c\xf2\x48\xcd\xc9\xc9\x07\x00", 9},          /* zlib's own header */
        {"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x00", 11}, /* gzip's */
        {"\xfc\xff\xff\xff\xff\xff\xff\xff\x00", 9},          /* too many codes */
    };
    for (int takeover = 0; takeover < 2; takeover++)
        for (size_t k = 0; k < COUNT(bad); k++) {
            struct bh_inflater *i = bh_inflater_new(15, takeover);
            expect_error(i, bh_slice(bad[k].p, bad[k].n), BH_EPROTO);
            if (!takeover)
                expect_message(i, bh_slice("\xf2\x48\xcd\xc9\xc9\x07\x00", 7), BH_SLICE("Hello"));
            bh_inflater_free(i);
        }
}

static void what_refers_to_what_never_was(void **state) {
    for (int takeover = 0; takeover < 2; takeover++) {
        struct bh_inflater *i = bh_inflater_new(15, takeover);
        expect_error(i, bh_slice("\xf2\x00\x11\x00\x00", 5), BH_ENOTFOUND);
        bh_inflater_free(i);
    }
}

/* After any failure of a message, the next one of another client is read. */
static void mutated_messages(void **state) {
    struct client c;
    client_init(&c, 15, 15);
    struct bh_inflater *i = bh_inflater_new(15, false);
    struct bh_bytes data = {0}, payload = {0};
    add_prose(&data, 600);
    client_writes(&c, bh_bytes_slice(&data), Z_FULL_FLUSH, &payload);
    unsigned refused = 0;
    for (int round = 0; round < 5000; round++) {
        struct bh_bytes bad = {0}, out = {0};
        bh_bytes_add(&bad, bh_bytes_slice(&payload));
        for (unsigned flips = 1 + test_random() % 5; flips; flips--)
            bad.p[test_random() % bad.len] ^= (char)(1 << test_random() % 8);
        int r = read_exact(i, bh_bytes_slice(&bad), 800, &out);
        assert_true(r == 0 || r == BH_EPROTO || r == BH_ETOOBIG || r == BH_ENOTFOUND);
        refused += r != 0;
        if (round % 100 == 0)
            expect_message(i, bh_bytes_slice(&payload), bh_bytes_slice(&data));
        bh_bytes_free(&out);
        bh_bytes_free(&bad);
    }
    assert_true(refused > 1000);
    bh_bytes_free(&data);
    bh_bytes_free(&payload);
    bh_inflater_free(i);
    client_deinit(&c);
}

/* --- memory --- */

static void without_memory_to_begin(void **state) {
    struct bh_deflater *d = NULL;
    struct bh_inflater *i = NULL;
    unsigned refusals = 0;
    for (; !d; refusals++) {
        bh_mem_fail_nth(refusals + 1);
        d = bh_deflater_new(12, 6);
    }
    assert_true(refusals > 2);
    bh_mem_fail_nth(1);
    assert_null(bh_inflater_new(15, true));
    bh_mem_fail_nth(0);
    i = bh_inflater_new(15, true);
    assert_non_null(i);
    bh_deflater_free(d);
    bh_inflater_free(i);
    bh_deflater_free(NULL);
    bh_inflater_free(NULL);
}

/* Each allocation fails in turn; the client continues without the unsent message. */
static void without_memory_for_a_frame(void **state) {
    for (int takeover = 0; takeover < 2; takeover++) {
        struct client c;
        client_init(&c, 15, 15);
        struct bh_deflater *d = bh_deflater_new(15, 6);
        struct bh_bytes data = {0};
        add_noise(&data, 60000);
        add_prose(&data, 60000);
        struct bh_buf *frame = NULL;
        unsigned nth = 0;
        while (!frame) {
            expect_read(&c, d, bh_bytes_slice(&data), takeover);
            bh_mem_fail_nth(++nth);
            frame = bh_deflater_frame(d, BH_WS_TEXT, bh_bytes_slice(&data), takeover);
            bh_mem_fail_nth(0);
        }
        assert_true(nth > 3);
        bh_buf_unref(frame);
        bh_bytes_free(&data);
        bh_deflater_free(d);
        client_deinit(&c);
    }
}

static void without_memory_for_a_message(void **state) {
    struct client c;
    client_init(&c, 15, 15);
    struct bh_bytes data = {0}, payload = {0};
    add_prose(&data, 100000);
    client_writes(&c, bh_bytes_slice(&data), Z_FULL_FLUSH, &payload);
    int r = BH_ENOMEM;
    unsigned nth = 0;
    while (r == BH_ENOMEM) {
        struct bh_inflater *i = bh_inflater_new(15, false); /* its window comes with its use */
        struct bh_bytes out = {0};
        bh_mem_fail_nth(++nth);
        r = read_exact(i, bh_bytes_slice(&payload), 1 << 20, &out);
        bh_mem_fail_nth(0);
        bh_bytes_free(&out);
        expect_message(i, bh_bytes_slice(&payload), bh_bytes_slice(&data));
        bh_inflater_free(i);
    }
    assert_int_equal(r, 0);
    assert_true(nth > 3);
    bh_bytes_free(&data);
    bh_bytes_free(&payload);
    client_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_reads_what_we_write),
        cmocka_unit_test(output_of_all_lengths),
        cmocka_unit_test(the_window_is_kept),
        cmocka_unit_test(takeover_makes_repetitions_short),
        cmocka_unit_test(without_takeover_only_the_payload_counts),
        cmocka_unit_test(what_gets_no_smaller_goes_as_it_is),
        cmocka_unit_test(empty_messages_are_one_byte),
        cmocka_unit_test(we_read_what_a_client_writes),
        cmocka_unit_test(the_window_goes_on),
        cmocka_unit_test(the_examples_of_the_rfc),
        cmocka_unit_test(final_blocks_inside_a_message),
        cmocka_unit_test(many_final_blocks),
        cmocka_unit_test(bombs),
        cmocka_unit_test(messages_that_end_too_early),
        cmocka_unit_test(what_is_no_deflate),
        cmocka_unit_test(what_refers_to_what_never_was),
        cmocka_unit_test(mutated_messages),
        cmocka_unit_test(without_memory_to_begin),
        cmocka_unit_test(without_memory_for_a_frame),
        cmocka_unit_test(without_memory_for_a_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
