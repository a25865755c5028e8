/* Frame headers in every form, valid or not, the mask at every alignment, the close codes. */
#include "bellhop/proto/ws_frame.h"

#include "bellhop/base/error.h"
#include "proto_test.h"

static const uint8_t key[4] = {0x11, 0x22, 0x33, 0x44};

/* A client's header, in any length form, shortest or not. */
static size_t client_header(unsigned char *out, uint8_t first, unsigned form, uint64_t length) {
    size_t width = form == 126 ? 2 : form == 127 ? 8 : 0;
    out[0] = first;
    out[1] = (unsigned char)(0x80 | (width ? form : length));
    for (size_t i = 0; i < width; i++)
        out[2 + i] = (unsigned char)(length >> 8 * (width - 1 - i));
    memcpy(out + 2 + width, key, 4);
    return 2 + width + 4;
}

/* Decodes from a block of exactly n bytes. */
static int decode(const unsigned char *p, size_t n, bool rsv1, struct bh_ws_header *h) {
    const char *why = NULL;
    struct bh_slice exact = test_exact(bh_slice(p, n));
    int r = bh_ws_header_decode(exact, rsv1, h, &why);
    test_exact_free(exact);
    assert_int_equal(r == BH_EPROTO, why != NULL);
    return r;
}

/* The number of bytes after which the header is refused, 0 when it never is. */
static size_t refused_after(const unsigned char *p, size_t n, bool rsv1) {
    struct bh_ws_header h;
    for (size_t i = 0; i <= n; i++)
        if (decode(p, i, rsv1, &h) == BH_EPROTO)
            return i;
    return 0;
}

static void lengths_in_their_shortest_form(void **state) {
    static const uint64_t lengths[] = {0,   1,     20,    124,   125,     126,        127,      255,
                                       256, 65534, 65535, 65536, 1 << 20, UINT32_MAX, INT64_MAX};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        unsigned form = lengths[i] <= 125 ? 0 : lengths[i] <= 65535 ? 126 : 127;
        unsigned char p[BH_WS_HEADER_MAX];
        size_t size = client_header(p, 0x82, form, lengths[i]);
        struct bh_ws_header h;
        for (size_t n = 0; n < size; n++)
            assert_int_equal(decode(p, n, false, &h), 0);
        assert_int_equal(decode(p, size, false, &h), size);
        assert_true(h.length == lengths[i]);
        assert_int_equal(h.size, size);
        assert_int_equal(h.opcode, BH_WS_BINARY);
        assert_true(h.fin);
        assert_false(h.rsv1);
        assert_memory_equal(h.mask, key, 4);
    }
}

static void lengths_in_a_longer_form_are_refused(void **state) {
    unsigned char p[BH_WS_HEADER_MAX];
    for (uint64_t length = 0; length <= 125; length++)
        assert_int_equal(refused_after(p, client_header(p, 0x82, 126, length), false), 4);
    static const uint64_t short_ones[] = {0, 125, 126, 65535};
    for (size_t i = 0; i < COUNT(short_ones); i++)
        assert_int_equal(refused_after(p, client_header(p, 0x82, 127, short_ones[i]), false), 10);
}

static void lengths_over_63_bits_are_refused_at_their_first_byte(void **state) {
    unsigned char p[BH_WS_HEADER_MAX];
    assert_int_equal(refused_after(p, client_header(p, 0x82, 127, UINT64_MAX), false), 3);
    assert_int_equal(refused_after(p, client_header(p, 0x82, 127, 1ull << 63), false), 3);
}

/* What RFC 6455 says about the first byte. */
static bool first_is_good(unsigned first, bool rsv1) {
    unsigned opcode = first & 0x0f;
    bool control = opcode >= 8;
    if ((first & 0x30) || (opcode >= 3 && opcode <= 7) || opcode >= 11)
        return false;
    if (control && !(first & 0x80))
        return false;
    return !(first & 0x40) || (rsv1 && (opcode == 1 || opcode == 2));
}

static void every_first_byte(void **state) {
    for (unsigned first = 0; first < 256; first++)
        for (int rsv1 = 0; rsv1 < 2; rsv1++) {
            unsigned char p[BH_WS_HEADER_MAX];
            size_t size = client_header(p, (uint8_t)first, 0, 5);
            struct bh_ws_header h;
            if (!first_is_good(first, rsv1)) {
                assert_int_equal(refused_after(p, size, rsv1), 1);
                continue;
            }
            assert_int_equal(decode(p, size, rsv1, &h), size);
            assert_int_equal(h.opcode, first & 0x0f);
            assert_int_equal(h.fin, first >> 7);
            assert_int_equal(h.rsv1, first >> 6 & 1);
        }
}

static void unmasked_and_long_control_frames_are_refused_at_the_second_byte(void **state) {
    unsigned char p[BH_WS_HEADER_MAX];
    size_t size = client_header(p, 0x81, 0, 5);
    p[1] &= 0x7f;
    assert_int_equal(refused_after(p, size, false), 2);
    for (uint8_t opcode = BH_WS_CLOSE; opcode <= BH_WS_PONG; opcode++) {
        assert_int_equal(refused_after(p, client_header(p, 0x80 | opcode, 0, 125), false), 0);
        assert_int_equal(refused_after(p, client_header(p, 0x80 | opcode, 126, 126), false), 2);
        assert_int_equal(refused_after(p, client_header(p, 0x80 | opcode, 127, 65536), false), 2);
    }
}

static void encoded_headers(void **state) {
    static const struct {
        uint64_t length;
        size_t size;
        unsigned char bytes[BH_WS_HEADER_OUT_MAX];
    } vectors[] = {
        {0, 2, {0x81, 0}},
        {125, 2, {0x81, 125}},
        {126, 4, {0x81, 126, 0, 126}},
        {65535, 4, {0x81, 126, 0xff, 0xff}},
        {65536, 10, {0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
        {INT64_MAX, 10, {0x81, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
    };
    for (size_t i = 0; i < COUNT(vectors); i++) {
        unsigned char out[BH_WS_HEADER_OUT_MAX];
        size_t size = bh_ws_header_encode(out, BH_WS_TEXT, true, false, vectors[i].length);
        assert_int_equal(size, vectors[i].size);
        assert_memory_equal(out, vectors[i].bytes, size);
    }
    unsigned char out[BH_WS_HEADER_OUT_MAX];
    bh_ws_header_encode(out, BH_WS_BINARY, false, true, 1);
    assert_int_equal(out[0], 0x42);
}

/* Each start within a word, each length over the unrolled part, each phase of the key. */
static void the_mask_at_every_alignment(void **state) {
    unsigned char data[8 + 80 + 8], expected[sizeof data];
    for (size_t start = 0; start < 8; start++)
        for (size_t n = 0; n <= 80; n++)
            for (uint64_t offset = 0; offset < 8; offset++) {
                for (size_t i = 0; i < sizeof data; i++)
                    expected[i] = data[i] = (unsigned char)test_random();
                for (size_t i = 0; i < n; i++)
                    expected[start + i] ^= key[(offset + i) % 4];
                bh_ws_mask(data + start, n, key, offset);
                assert_memory_equal(data, expected, sizeof data);
            }
}

static void the_mask_at_far_offsets(void **state) {
    unsigned char data[4] = {0};
    bh_ws_mask(data, 4, key, UINT64_MAX - 2);
    static const unsigned char expected[4] = {0x22, 0x33, 0x44, 0x11};
    assert_memory_equal(data, expected, 4);
}

static void every_close_code(void **state) {
    for (unsigned code = 0; code <= 65535; code++) {
        bool defined = code >= 1000 && code <= 1014;
        bool reserved = code == 1004 || code == 1005 || code == 1006;
        bool registered_or_private = code / 1000 == 3 || code / 1000 == 4;
        assert_int_equal(bh_ws_close_code_valid(code),
                         (defined && !reserved) || registered_or_private);
    }
    assert_false(bh_ws_close_code_valid(65536 + 1000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_in_their_shortest_form),
        cmocka_unit_test(lengths_in_a_longer_form_are_refused),
        cmocka_unit_test(lengths_over_63_bits_are_refused_at_their_first_byte),
        cmocka_unit_test(every_first_byte),
        cmocka_unit_test(unmasked_and_long_control_frames_are_refused_at_the_second_byte),
        cmocka_unit_test(encoded_headers),
        cmocka_unit_test(the_mask_at_every_alignment),
        cmocka_unit_test(the_mask_at_far_offsets),
        cmocka_unit_test(every_close_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
