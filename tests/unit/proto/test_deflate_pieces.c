/* Pieces of a gzip stream, in any order and with any of them left out. */
#include "bellhop/proto/ws_deflate.h"
#include "proto_test.h"

#include <zlib.h>

struct unzip {
    z_stream z;
    struct bh_bytes out;
};

static void unzip_begin(struct unzip *u) {
    *u = (struct unzip){0};
    assert_int_equal(inflateInit2(&u->z, 16 + 15), Z_OK);
}

/* All of it comes out at once: a piece ends with a whole byte, and is flushed. */
static void unzip_next(struct unzip *u, struct bh_slice piece, struct bh_slice expected) {
    bh_bytes_clear(&u->out);
    bh_bytes_reserve(&u->out, expected.n + 64);
    u->z.next_in = (Bytef *)piece.p;
    u->z.avail_in = (uInt)piece.n;
    u->z.next_out = (Bytef *)u->out.p;
    u->z.avail_out = (uInt)(expected.n + 64);
    int r = inflate(&u->z, Z_SYNC_FLUSH);
    assert_true(r == Z_OK || r == Z_BUF_ERROR);
    assert_int_equal(u->z.avail_in, 0);
    assert_int_equal(expected.n + 64 - u->z.avail_out, expected.n);
    assert_memory_equal(u->out.p, expected.n ? expected.p : "", expected.n);
}

static void unzip_end(struct unzip *u) {
    inflateEnd(&u->z);
    bh_bytes_free(&u->out);
}

static struct bh_slice some_text(struct bh_bytes *text) {
    size_t n = test_random() % 200000;
    bool random = test_random() % 4 == 0;
    bh_bytes_clear(text);
    for (size_t i = 0; i < n; i++)
        bh_bytes_addc(text, random ? (char)test_random() : (char)('a' + i % 7 + test_random() % 2));
    return bh_bytes_slice(text);
}

static struct bh_buf *piece_of(struct bh_deflater **d, struct bh_slice text) {
    uint32_t kind = test_random() % 3;
    struct bh_buf *piece = kind == 2 ? NULL : bh_deflater_piece(d[kind], text);
    return piece ? piece : bh_deflate_stored(text);
}

static void any_pieces_follow_one_another(void **state) {
    struct bh_deflater *d[] = {bh_deflater_new(15, 1), bh_deflater_new(9, 9)};
    struct bh_bytes text = {0};
    struct unzip u;
    unzip_begin(&u);
    unzip_next(&u, BH_GZIP_HEAD, BH_SLICE(""));
    for (int i = 0; i < 200; i++) {
        struct bh_slice t = some_text(&text);
        struct bh_buf *piece = piece_of(d, t);
        assert_true(piece->len <= t.n + 5 * (t.n / 65535 + 1));
        if (test_random() % 3)
            unzip_next(&u, bh_buf_slice(piece), t);
        bh_buf_unref(piece);
    }
    unzip_end(&u);
    bh_bytes_free(&text);
    bh_deflater_free(d[0]);
    bh_deflater_free(d[1]);
}

static void edges_of_stored_blocks(void **state) {
    static const size_t sizes[] = {0, 1, 65534, 65535, 65536, 131070, 131071};
    struct bh_bytes text = {0};
    struct unzip u;
    unzip_begin(&u);
    unzip_next(&u, BH_GZIP_HEAD, BH_SLICE(""));
    for (size_t i = 0; i < COUNT(sizes); i++) {
        bh_bytes_clear(&text);
        struct bh_slice t = test_repeat(&text, 'x', sizes[i]);
        struct bh_buf *piece = bh_deflate_stored(t);
        unzip_next(&u, bh_buf_slice(piece), t);
        bh_buf_unref(piece);
    }
    unzip_end(&u);
    bh_bytes_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_pieces_follow_one_another),
        cmocka_unit_test(edges_of_stored_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
