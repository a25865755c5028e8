/* A client's frames, plain and compressed. Every cut of the stream gives the same events; text is
 * UTF-8, and nothing exceeds the limits. */
#include "bellhop/base/utf8.h"
#include "bellhop/proto/ws_deflate.h"
#include "bellhop/proto/ws_message.h"
#include "fuzz.h"

static const struct bh_ws_limits choices[] = {
    {.message_bytes = 1 << 20, .fragments = 1000},
    {.message_bytes = 100, .fragments = 3},
    {.message_bytes = 0, .fragments = 1},
    {.message_bytes = 1000, .fragments = 1},
};

/* Chosen by the first bytes. */
struct plan {
    const struct bh_ws_limits *limits;
    bool frames; /* the input is a list of frames, else the stream itself */
    bool compression;
    bool takeover;
    unsigned window_bits;
};

static struct plan make_plan(uint8_t choice) {
    return (struct plan){
        .limits = &choices[choice & 3],
        .frames = choice & 4,
        .compression = choice & 8,
        .takeover = choice & 16,
        .window_bits = 8 + (choice >> 5),
    };
}

/* Masked frames of a first byte, a length and as many bytes each: most random streams are refused
 * at their second byte. */
static void write_frames(struct bh_slice in, struct bh_bytes *stream) {
    static const uint8_t mask[4] = {0x37, 0xfa, 0x00, 0x3d};
    while (in.n) {
        unsigned char head[BH_WS_HEADER_OUT_MAX];
        uint8_t first = fuzz_byte(&in);
        struct bh_slice payload = fuzz_bytes(&in, fuzz_byte(&in));
        size_t n = bh_ws_header_encode(head, 0, true, false, payload.n);
        head[0] = first;
        head[1] |= 0x80;
        bh_bytes_add(stream, bh_slice(head, n));
        bh_bytes_add(stream, bh_slice(mask, sizeof mask));
        size_t start = stream->len;
        bh_bytes_add(stream, payload);
        bh_ws_mask((unsigned char *)stream->p + start, payload.n, mask, 0);
    }
}

static void check_event(const struct bh_ws_event *e, const struct bh_ws_limits *limits) {
    switch (e->type) {
    case BH_WS_EV_NONE:
        break;
    case BH_WS_EV_MESSAGE:
        CHECK(e->opcode == BH_WS_TEXT || e->opcode == BH_WS_BINARY);
        CHECK(e->data.n <= limits->message_bytes);
        CHECK(e->opcode == BH_WS_BINARY || bh_utf8_valid(e->data));
        break;
    case BH_WS_EV_PING:
    case BH_WS_EV_PONG:
        CHECK(e->data.n <= 125);
        break;
    case BH_WS_EV_CLOSE:
        CHECK(e->code == 1005 ? e->data.n == 0 : bh_ws_close_code_valid(e->code));
        CHECK(e->data.n <= 123 && bh_utf8_valid(e->data));
        break;
    case BH_WS_EV_ERROR:
        CHECK(e->code == 1002 || (e->code >= 1007 && e->code <= 1009));
        CHECK(e->why && *e->why);
        break;
    }
}

/* One piece; true when the reader has ended. */
static bool read_piece(struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                       struct bh_slice piece, struct bh_bytes *transcript) {
    unsigned char *copy = fuzz_exact(piece), *at = copy;
    size_t left = piece.n;
    bool ended = false;
    for (struct bh_ws_event e = {.type = BH_WS_EV_PING}; e.type != BH_WS_EV_NONE;) {
        bh_ws_reader_next(r, limits, &at, &left, &e);
        CHECK(left <= piece.n && at == copy + (piece.n - left));
        CHECK(!ended || e.type == BH_WS_EV_NONE);
        check_event(&e, limits);
        ended |= e.type == BH_WS_EV_CLOSE || e.type == BH_WS_EV_ERROR;
        if (e.type == BH_WS_EV_NONE)
            continue;
        bh_bytes_addf(transcript, "\n%d %u %u", e.type, e.opcode, e.code);
        fuzz_record(transcript, "data", e.data);
    }
    CHECK(left == 0);
    free(copy);
    return ended;
}

static void read_stream(struct bh_slice stream, const struct plan *plan, struct fuzz_cuts *cuts,
                        struct bh_bytes *transcript) {
    struct bh_ws_reader r;
    struct bh_inflater *inflater = NULL;
    bool ended = false;
    if (plan->compression)
        inflater = bh_inflater_new(plan->window_bits, plan->takeover);
    bh_ws_reader_init(&r, inflater);
    while (!ended && stream.n)
        ended =
            read_piece(&r, plan->limits,
                       fuzz_bytes(&stream, cuts ? fuzz_cut(cuts, stream.n) : stream.n), transcript);
    CHECK(!ended || !r.partial);
    bh_ws_reader_deinit(&r);
    bh_inflater_free(inflater);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size);
    struct plan plan = make_plan(fuzz_byte(&in));
    struct fuzz_cuts cuts = fuzz_cuts(fuzz_byte(&in));
    struct bh_bytes stream = {0}, whole = {0}, cut = {0};
    if (plan.frames)
        write_frames(in, &stream);
    else
        bh_bytes_add(&stream, in);
    read_stream(bh_bytes_slice(&stream), &plan, NULL, &whole);
    read_stream(bh_bytes_slice(&stream), &plan, &cuts, &cut);
    fuzz_check_same(&whole, &cut);
    bh_bytes_free(&stream);
    bh_bytes_free(&whole);
    bh_bytes_free(&cut);
    return 0;
}
