/* A client's frames, plain and compressed. Every cut of the stream gives the same events, and so do
 * messages that are inflated in the smallest and in the largest steps, or have to wait for a place;
 * text is UTF-8, and nothing exceeds the limits. */
#include "bellhop/base/utf8.h"
#include "bellhop/proto/ws_inflaters.h"
#include "bellhop/proto/ws_message.h"
#include "fuzz.h"

static struct bh_inflaters inflaters;

static const struct bh_ws_limits choices[] = {
    {.message_bytes = 1 << 20, .fragments = 1000, .inflaters = &inflaters},
    {.message_bytes = 100, .fragments = 3, .inflaters = &inflaters},
    {.message_bytes = 0, .fragments = 1, .inflaters = &inflaters},
    {.message_bytes = 1000, .fragments = 1, .inflaters = &inflaters},
};

/* Chosen by the first bytes. */
struct plan {
    const struct bh_ws_limits *limits;
    bool frames; /* the input is a list of frames, else the stream itself */
    bool compression;
    bool takeover;
    size_t step; /* bytes that one step of inflating reads, when the stream is cut */
    bool waits;  /* then also: others hold all places */
};

static struct plan make_plan(uint8_t choice) {
    return (struct plan){
        .limits = &choices[choice & 3],
        .frames = choice & 4,
        .compression = choice & 8,
        .takeover = choice & 16,
        .step = 1 + (choice >> 5) % 4,
        .waits = choice & 32,
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
    case BH_WS_EV_AGAIN:
    case BH_WS_EV_WAIT:
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

/* --- places that others hold --- */

static struct bh_inflate_place others[BH_INFLATERS_PLACES];
static const struct bh_ws_reader *woken;

static void on_wake(struct bh_ws_reader *r) {
    woken = r;
}

static void hold_all(void) {
    for (size_t i = 0; i < COUNT(others); i++)
        bh_inflaters_hold(&inflaters, &others[i]);
}

static void leave_all(void) {
    for (size_t i = 0; i < COUNT(others); i++)
        bh_inflaters_leave(&inflaters, &others[i]);
}

/* It waits until another one leaves, and only then has its turn. */
static void wait_for_place(struct bh_ws_reader *r, const struct bh_ws_limits *limits) {
    unsigned char nothing[1], *at = nothing;
    size_t n = 0;
    struct bh_ws_event e;
    bh_ws_reader_next(r, limits, &at, &n, &e);
    CHECK(e.type == BH_WS_EV_WAIT);
    woken = NULL;
    bh_inflaters_leave(&inflaters, &others[0]);
    CHECK(woken == r && inflaters.held == BH_INFLATERS_PLACES);
}

/* --- reading --- */

/* One piece; true when the reader has ended. */
static bool read_piece(struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                       struct bh_slice piece, bool waits, struct bh_bytes *transcript) {
    unsigned char *copy = fuzz_exact(piece), *at = copy;
    size_t left = piece.n;
    bool ended = false;
    for (struct bh_ws_event e = {.type = BH_WS_EV_PING}; e.type != BH_WS_EV_NONE;) {
        enum bh_ws_event_type last = e.type;
        size_t before = left;
        bh_ws_reader_next(r, limits, &at, &left, &e);
        CHECK(left <= piece.n && at == copy + (piece.n - left));
        CHECK(!ended || e.type == BH_WS_EV_NONE);
        CHECK((last != BH_WS_EV_AGAIN && last != BH_WS_EV_WAIT) || left == before);
        check_event(&e, limits);
        ended |= e.type == BH_WS_EV_CLOSE || e.type == BH_WS_EV_ERROR;
        if (e.type == BH_WS_EV_WAIT)
            wait_for_place(r, limits);
        else if (waits)
            bh_inflaters_hold(&inflaters, &others[0]); /* or stands in line behind the message */
        if (e.type == BH_WS_EV_NONE || e.type == BH_WS_EV_AGAIN || e.type == BH_WS_EV_WAIT)
            continue;
        /* A message may be too big and invalid; larger steps may find either first. */
        unsigned code = e.code == 1009 ? 1007 : e.code;
        bh_bytes_addf(transcript, "\n%d %u %u", e.type, e.opcode, code);
        fuzz_record(transcript, "data", e.data);
    }
    CHECK(left == 0);
    free(copy);
    return ended;
}

static void read_stream(struct bh_slice stream, const struct plan *plan, struct fuzz_cuts *cuts,
                        struct bh_bytes *transcript) {
    struct bh_ws_reader r;
    struct bh_inflater *own = NULL;
    bool ended = false;
    if (plan->compression && plan->takeover)
        own = bh_inflater_new(15, true);
    bh_ws_reader_init(&r, plan->compression, own);
    bh_inflaters_init(&inflaters, on_wake);
    bh_inflate_step_in(cuts ? plan->step : SIZE_MAX);
    bool waits = cuts && plan->waits;
    if (waits)
        hold_all();
    while (!ended && stream.n)
        ended = read_piece(&r, plan->limits,
                           fuzz_bytes(&stream, cuts ? fuzz_cut(cuts, stream.n) : stream.n), waits,
                           transcript);
    CHECK(!ended || !r.partial);
    bh_ws_reader_deinit(&r);
    leave_all();
    CHECK(inflaters.held == 0 && bh_list_empty(&inflaters.line));
    bh_inflaters_deinit(&inflaters);
    bh_inflater_free(own);
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
