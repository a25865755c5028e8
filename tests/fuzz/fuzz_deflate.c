/* permessage-deflate both ways. Hostile bytes never inflate over the limit, in length or memory,
 * and steps of any size give what one call of zlib gives; deflated data inflates to the original,
 * for each window, with and without takeover. */
#include "bellhop/base/error.h"
#include "bellhop/proto/ws_deflate.h"
#include "bellhop/proto/ws_frame.h"
#include "fuzz.h"

#include <zlib.h>

#define SLACK 4096 /* of memory beside the limit */

static const uint64_t limits[] = {0, 1, 100, 4096, 65536, 1 << 20};

struct plan {
    unsigned window_bits, level;
    bool takeover;
    uint64_t limit;
    struct fuzz_cuts cuts;
};

static struct plan make_plan(struct bh_slice *in) {
    uint8_t how = fuzz_byte(in), limit = fuzz_byte(in);
    return (struct plan){
        .window_bits = 8 + (how & 7),
        .takeover = how & 8,
        .level = 1 + (how >> 4) % 9,
        .limit = limits[limit % COUNT(limits)],
        .cuts = fuzz_cuts(fuzz_byte(in)),
    };
}

static int inflate_exactly(struct bh_inflater *i, struct bh_slice payload, uint64_t limit,
                           struct bh_bytes *out) {
    char *copy = fuzz_exact(payload);
    struct bh_slice rest = bh_slice(copy, payload.n);
    int r;
    bh_inflater_begin(i);
    do {
        size_t before = out->len;
        r = bh_inflater_step(i, &rest, limit, out);
        CHECK(out->len - before <= BH_INFLATE_STEP);
    } while (r == BH_INFLATE_AGAIN);
    free(copy);
    CHECK(r == 0 || r == BH_ETOOBIG || r == BH_EPROTO || r == BH_ENOTFOUND);
    CHECK(out->len <= limit && out->cap <= limit + SLACK);
    return r;
}

/* A message without final blocks, by one call of zlib: 0, BH_EPROTO or, when it has one or is over
 * the limit, BH_EINVAL. */
static int inflate_at_once(struct bh_slice payload, const struct plan *plan, struct bh_bytes *out) {
    struct bh_bytes in = {0};
    z_stream z = {0};
    bh_bytes_add(&in, payload);
    bh_bytes_add(&in, BH_SLICE("\x00\x00\xff\xff"));
    bh_bytes_reserve(out, plan->limit + 1);
    CHECK(inflateInit2(&z, -(int)plan->window_bits) == Z_OK);
    z.next_in = (unsigned char *)in.p;
    z.avail_in = (unsigned)in.len;
    z.next_out = (unsigned char *)out->p;
    z.avail_out = (unsigned)plan->limit + 1;
    int r = inflate(&z, Z_SYNC_FLUSH);
    out->len = z.total_out;
    bool over = r == Z_STREAM_END || z.avail_out == 0;
    bool complete = r == Z_OK && z.avail_in == 0 && z.data_type == 128;
    inflateEnd(&z);
    bh_bytes_free(&in);
    return over ? BH_EINVAL : complete ? 0 : BH_EPROTO;
}

static void check_steps(struct bh_slice payload, const struct plan *plan, int result,
                        const struct bh_bytes *stepped) {
    struct bh_bytes out = {0};
    int r = inflate_at_once(payload, plan, &out);
    if (result == BH_ENOTFOUND)
        result = BH_EPROTO;
    /* zlib accepts a distance beyond the window while that is in its output buffer, and a message
     * may be invalid behind the limit. */
    bool stricter = (r == 0 && result == BH_EPROTO) || (r == BH_EPROTO && result == BH_ETOOBIG);
    CHECK(r == BH_EINVAL || result == r || stricter);
    CHECK(r || result || bh_slice_eq(bh_bytes_slice(&out), bh_bytes_slice(stepped)));
    bh_bytes_free(&out);
}

static void inflate_hostile(struct bh_slice in, const struct plan *plan) {
    struct fuzz_cuts cuts = plan->cuts;
    struct bh_inflater *shared = bh_inflater_new(plan->window_bits, plan->takeover);
    for (unsigned messages = 0; in.n && messages < 8; messages++) {
        struct bh_slice payload = fuzz_bytes(&in, fuzz_cut(&cuts, in.n));
        struct bh_bytes out = {0}, fresh = {0};
        bh_inflate_step_in(plan->cuts.longest % 64);
        int r = inflate_exactly(shared, payload, plan->limit, &out);
        if (!plan->takeover) {
            check_steps(payload, plan, r, &out);
            struct bh_inflater *i = bh_inflater_new(plan->window_bits, false);
            CHECK(inflate_exactly(i, payload, plan->limit, &fresh) == r);
            CHECK(r || bh_slice_eq(bh_bytes_slice(&out), bh_bytes_slice(&fresh)));
            bh_inflater_free(i);
        }
        bh_bytes_free(&out);
        bh_bytes_free(&fresh);
        if (r && plan->takeover)
            break;
    }
    bh_inflate_step_in(0);
    bh_inflater_free(shared);
}

static struct bh_slice payload_of(const struct bh_buf *frame, uint8_t opcode) {
    struct bh_slice s = bh_buf_slice(frame);
    CHECK(s.n >= 2 && (uint8_t)s.p[0] == (0xc0 | opcode)); /* FIN, RSV1 */
    size_t head = 2 + (s.p[1] == 126 ? 2 : s.p[1] == 127 ? 8 : 0);
    unsigned char expected[BH_WS_HEADER_OUT_MAX];
    CHECK(s.n >= head);
    CHECK(bh_ws_header_encode(expected, opcode, true, true, s.n - head) == head);
    CHECK(memcmp(expected, s.p, head) == 0);
    return bh_slice(s.p + head, s.n - head);
}

/* A limit one byte below its length: too big, and no more memory for it. */
static void check_limit(struct bh_slice compressed, size_t n, const struct plan *plan) {
    struct bh_inflater *i = bh_inflater_new(plan->window_bits, false);
    struct bh_bytes out = {0};
    if (n)
        CHECK(inflate_exactly(i, compressed, n - 1, &out) == BH_ETOOBIG);
    bh_bytes_free(&out);
    bh_inflater_free(i);
}

static void check_same_again(struct bh_deflater *d, struct bh_slice payload,
                             const struct bh_buf *frame) {
    struct bh_buf *again = bh_deflater_frame(d, BH_WS_TEXT, payload, false);
    CHECK(again && bh_slice_eq(bh_buf_slice(frame), bh_buf_slice(again)));
    bh_buf_unref(again);
}

static void one_message(struct bh_deflater *d, struct bh_inflater *i, struct bh_slice payload,
                        const struct plan *plan) {
    struct bh_buf *frame = bh_deflater_frame(d, BH_WS_TEXT, payload, plan->takeover);
    struct bh_bytes out = {0};
    CHECK(frame || !plan->takeover);
    if (!frame)
        return;
    struct bh_slice compressed = payload_of(frame, BH_WS_TEXT);
    CHECK(plan->takeover || compressed.n < payload.n);
    CHECK(inflate_exactly(i, compressed, payload.n, &out) == 0);
    CHECK(bh_slice_eq(bh_bytes_slice(&out), payload));
    if (!plan->takeover) {
        check_limit(compressed, payload.n, plan);
        check_same_again(d, payload, frame);
    }
    bh_bytes_free(&out);
    bh_buf_unref(frame);
}

static void round_trip(struct bh_slice in, const struct plan *plan) {
    struct fuzz_cuts cuts = plan->cuts;
    struct bh_deflater *d = bh_deflater_new(plan->window_bits, plan->level);
    struct bh_inflater *i = bh_inflater_new(plan->window_bits, plan->takeover);
    for (unsigned messages = 0; in.n && messages < 8; messages++) {
        struct bh_slice payload = fuzz_bytes(&in, fuzz_cut(&cuts, in.n));
        one_message(d, i, payload, plan);
        if (payload.n % 5 == 0)
            bh_deflater_reset(d); /* the client need not know */
        if (payload.n % 7 == 0)
            one_message(d, i, bh_slice(NULL, 0), plan);
    }
    bh_deflater_free(d);
    bh_inflater_free(i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size);
    struct plan plan = make_plan(&in);
    inflate_hostile(in, &plan);
    round_trip(in, &plan);
    return 0;
}
