#include "ws_message_test.h"

const struct bh_ws_limits roomy = {.message_bytes = 1 << 20, .fragments = 1000};

/* --- streams --- */

void add_claim(struct bh_bytes *to, uint8_t first, uint64_t length, struct bh_slice data) {
    unsigned char head[BH_WS_HEADER_OUT_MAX];
    size_t size = bh_ws_header_encode(head, first & 0x0f, first & FIN, false, length);
    uint8_t mask[4];
    for (size_t i = 0; i < sizeof mask; i++)
        mask[i] = (uint8_t)test_random();
    head[0] = first;
    head[1] |= 0x80;
    bh_bytes_add(to, bh_slice(head, size));
    bh_bytes_add(to, bh_slice(mask, sizeof mask));
    bh_bytes_add(to, data);
    if (data.n)
        bh_ws_mask((unsigned char *)to->p + to->len - data.n, data.n, mask, 0);
}

void add_frame(struct bh_bytes *to, uint8_t first, struct bh_slice data) {
    add_claim(to, first, data.n, data);
}

void compress(struct bh_bytes *to, struct bh_slice data) {
    struct bh_deflater *d = bh_deflater_new(15, 6);
    struct bh_buf *frame = bh_deflater_frame(d, BH_WS_BINARY, data, true);
    unsigned length = frame->data[1];
    size_t head = length < 126 ? 2 : length == 126 ? 4 : 10;
    bh_bytes_add(to, bh_slice(frame->data + head, frame->len - head));
    bh_buf_unref(frame);
    bh_deflater_free(d);
}

void add_compressed(struct bh_bytes *to, uint8_t opcode, struct bh_slice data) {
    struct bh_bytes payload = {0};
    compress(&payload, data);
    add_frame(to, (uint8_t)(FIN | RSV1 | opcode), bh_bytes_slice(&payload));
    bh_bytes_free(&payload);
}

void add_close(struct bh_bytes *to, unsigned code, const char *reason) {
    char payload[125] = {(char)(code >> 8), (char)code};
    memcpy(payload + 2, reason, strlen(reason));
    add_frame(to, FIN | BH_WS_CLOSE, bh_slice(payload, 2 + strlen(reason)));
}

/* --- transcripts --- */

void add_data(struct bh_bytes *to, struct bh_slice data) {
    if (data.n <= 130) {
        bh_bytes_add(to, data);
        return;
    }
    unsigned sum = 0;
    for (size_t i = 0; i < data.n; i++)
        sum = sum * 31 + (unsigned char)data.p[i];
    bh_bytes_addf(to, "%zu bytes %08x", data.n, sum);
}

void add_event(struct bh_bytes *to, const struct bh_ws_event *e) {
    static const char *const names[] = {"none", "message", "ping", "pong", "close", "error"};
    if (e->type == BH_WS_EV_ERROR) {
        assert_non_null(e->why);
        bh_bytes_addf(to, "error %d%s|", e->code, e->keeps_context ? " context" : "");
        return;
    }
    if (e->type == BH_WS_EV_MESSAGE)
        bh_bytes_adds(to, e->opcode == BH_WS_TEXT ? "text " : "binary ");
    else if (e->type == BH_WS_EV_CLOSE)
        bh_bytes_addf(to, "close %d ", e->code);
    else
        bh_bytes_addf(to, "%s ", names[e->type]);
    add_data(to, e->data);
    bh_bytes_addc(to, '|');
}

void feed(struct bh_ws_reader *r, const struct bh_ws_limits *limits, struct bh_slice piece,
          struct bh_bytes *transcript) {
    struct bh_slice exact = test_exact(piece);
    unsigned char *at = (unsigned char *)exact.p;
    size_t n = piece.n;
    struct bh_ws_event e;
    do {
        bh_ws_reader_next(r, limits, &at, &n, &e);
        assert_int_not_equal(e.type, BH_WS_EV_WAIT);
        if (e.type != BH_WS_EV_NONE && e.type != BH_WS_EV_AGAIN)
            add_event(transcript, &e);
    } while (e.type != BH_WS_EV_NONE);
    assert_int_equal(n, 0);
    assert_ptr_equal(at, exact.p + exact.n);
    test_exact_free(exact);
}

static void never_woken(struct bh_ws_reader *r) {
    fail();
}

void read_cut(struct bh_slice stream, const struct bh_ws_limits *limits, enum compression how,
              int cut, struct bh_bytes *transcript) {
    struct bh_ws_reader r;
    struct bh_inflaters inflaters;
    struct bh_ws_limits all = *limits;
    struct bh_inflater *own = how == TAKEOVER ? bh_inflater_new(15, true) : NULL;
    bh_inflaters_init(&inflaters, never_woken);
    all.inflaters = &inflaters;
    bh_ws_reader_init(&r, how != PLAIN, own);
    while (stream.n) {
        size_t n = test_cut(cut, stream.n);
        feed(&r, &all, bh_slice(stream.p, n), transcript);
        stream = bh_slice(stream.p + n, stream.n - n);
    }
    bh_ws_reader_deinit(&r);
    assert_int_equal(inflaters.held, 0);
    bh_inflaters_deinit(&inflaters);
    bh_inflater_free(own);
}
