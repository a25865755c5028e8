/* Frame headers and the mask: a prefix gives "more" or the final result, a decoded header is
 * encoded to the same bytes, and the mask is independent of cuts. */
#include "bellhop/base/error.h"
#include "bellhop/proto/ws_frame.h"
#include "fuzz.h"

static int decode(struct bh_slice in, bool rsv1, struct bh_ws_header *h) {
    const char *why = NULL;
    char *copy = fuzz_exact(in);
    int r = bh_ws_header_decode(bh_slice(copy, in.n), rsv1, h, &why);
    free(copy);
    CHECK(r >= 0 ? r <= (int)in.n && r <= BH_WS_HEADER_MAX : r == BH_EPROTO && why);
    return r;
}

/* The client's header is ours with the mask's bit and the mask. */
static void check_encoded(struct bh_slice in, const struct bh_ws_header *h) {
    unsigned char out[BH_WS_HEADER_OUT_MAX];
    size_t n = bh_ws_header_encode(out, h->opcode, h->fin, h->rsv1, h->length);
    CHECK(n + 4 == h->size);
    out[1] |= 0x80;
    CHECK(memcmp(out, in.p, n) == 0);
    CHECK(memcmp(h->mask, in.p + n, 4) == 0);
}

static void check_header(const struct bh_ws_header *h, bool rsv1) {
    CHECK(h->length <= INT64_MAX);
    CHECK(h->opcode <= BH_WS_BINARY || (h->opcode >= BH_WS_CLOSE && h->opcode <= BH_WS_PONG));
    CHECK(h->opcode < BH_WS_CLOSE || (h->fin && !h->rsv1 && h->length <= 125));
    CHECK(!h->rsv1 || (rsv1 && h->opcode != BH_WS_CONTINUATION));
}

static void decode_growing(struct bh_slice in, bool rsv1) {
    int before = 0;
    struct bh_ws_header h;
    for (size_t n = 0; n <= in.n && n <= BH_WS_HEADER_MAX + 2; n++) {
        int r = decode(bh_slice(in.p, n), rsv1, &h);
        CHECK(before == 0 || r == before);
        before = r;
    }
    if (before > 0) {
        check_header(&h, rsv1);
        check_encoded(in, &h);
    } else {
        CHECK(before < 0 || in.n < BH_WS_HEADER_MAX);
    }
}

static void check_mask(struct bh_slice in) {
    uint8_t mask[4];
    for (size_t i = 0; i < sizeof mask; i++)
        mask[i] = fuzz_byte(&in);
    struct fuzz_cuts cuts = fuzz_cuts(fuzz_byte(&in));
    uint64_t offset = cuts.state;
    unsigned char *whole = fuzz_exact(in), *cut = fuzz_exact(in);
    bh_ws_mask(whole, in.n, mask, offset);
    for (size_t at = 0; at < in.n;) {
        size_t n = fuzz_cut(&cuts, in.n - at);
        bh_ws_mask(cut + at, n, mask, offset + at);
        at += n;
    }
    for (size_t i = 0; i < in.n; i++)
        CHECK(whole[i] == cut[i] && whole[i] == ((uint8_t)in.p[i] ^ mask[(offset + i) % 4]));
    free(whole);
    free(cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size);
    decode_growing(in, false);
    decode_growing(in, true);
    check_mask(in);
    return 0;
}
