/* ws_message.c - the frames of a client assembled into messages.
 *
 * Nearly every message arrives as one frame that lies whole in the caller's bytes. Such a frame is
 * unmasked in place and returned: no state, no allocation, no copy. Everything else (a header or a
 * payload cut by the end of the bytes, a fragmented message) needs memory between two calls: one
 * struct bh_ws_partial on the heap. It exists only while something is unfinished, so an idle
 * connection costs a pointer. It also keeps collected data alive until the next call, where
 * release_partial frees it. A compressed message is collected as it is and inflated at its end, so
 * it needs no zlib state while it arrives, however slowly. One that lies whole in the caller's
 * bytes is inflated from there, and collected only when one step of inflating is not enough
 * (ws_inflation.h).
 *
 * A step reads either a header or payload; steps repeat until there is an event or the bytes are
 * used up. Thread: the owner of the reader. */
#include "bellhop/proto/ws_message.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"
#include "ws_inflation.h"

#define CONTROL_MAX      125
#define CLOSE_REASON_MAX (CONTROL_MAX - 2)

enum close_code {
    PROTOCOL_ERROR = 1002,
    NO_STATUS = 1005,
    INVALID_DATA = 1007,
    POLICY_VIOLATION = 1008,
    TOO_BIG = 1009,
    INTERNAL_ERROR = 1011,
};

struct bh_ws_partial {
    struct bh_bytes message; /* collected so far, as received */
    struct bh_inflation inflation;
    struct bh_ws_header frame; /* the current frame, when in_frame */
    uint64_t taken;            /* payload bytes of it received */
    uint32_t fragments;        /* frames of the current message */
    struct bh_utf8 utf8;       /* of one that is not compressed */
    uint8_t opcode;            /* of the current message, 0 when none */
    bool compressed;
    bool in_frame;
    bool inflating; /* the message is collected and waits for the next step */
    bool delivered; /* the caller has the message, until the next call */
    bool postponed; /* it did not take it: it gets it again */
    uint8_t head_len;
    uint8_t head[BH_WS_HEADER_MAX]; /* an unfinished header */
    uint8_t control[CONTROL_MAX];
};

struct input {
    unsigned char *p;
    size_t n;
};

static struct bh_slice take(struct input *in, size_t n) {
    struct bh_slice s = bh_slice(in->p, n);
    in->p += n;
    in->n -= n;
    return s;
}

static bool is_control(uint8_t opcode) {
    return opcode >= BH_WS_CLOSE;
}

static bool in_message(const struct bh_ws_reader *r) {
    return r->partial && r->partial->opcode;
}

/* The bytes at the end are written before they are read. */
static struct bh_ws_partial *partial(struct bh_ws_reader *r) {
    if (!r->partial) {
        r->partial = bh_malloc(sizeof *r->partial);
        memset(r->partial, 0, offsetof(struct bh_ws_partial, head));
    }
    return r->partial;
}

static void drop_message(struct bh_ws_partial *p) {
    if (p->compressed)
        bh_inflation_end(&p->inflation);
    if (p->message.p)
        bh_bytes_free(&p->message);
    p->inflating = p->postponed = false;
}

static void drop_partial(struct bh_ws_reader *r) {
    if (r->partial)
        drop_message(r->partial);
    bh_free(r->partial);
    r->partial = NULL;
}

/* Frees what the last event lent, and everything when nothing is unfinished. */
static void release_partial(struct bh_ws_reader *r) {
    struct bh_ws_partial *p = r->partial;
    bool finished = p->delivered || !p->opcode;
    if (r->ended || (finished && !p->in_frame && !p->head_len))
        drop_partial(r);
}

static bool fail(struct bh_ws_reader *r, struct bh_ws_event *event, unsigned code,
                 const char *why) {
    *event = (struct bh_ws_event){.type = BH_WS_EV_ERROR, .code = (uint16_t)code, .why = why};
    r->ended = true;
    drop_partial(r);
    return true;
}

static bool deliver(struct bh_ws_event *event, uint8_t opcode, struct bh_slice data) {
    event->type = BH_WS_EV_MESSAGE;
    event->opcode = opcode;
    event->data = data;
    return true;
}

/* The size of the header, 0 when it is incomplete, BH_EPROTO. */
static int read_header(struct bh_ws_reader *r, struct input *in, struct bh_ws_header *h,
                       const char **why) {
    struct bh_ws_partial *p = r->partial;
    size_t had = p ? p->head_len : 0;
    bool rsv1 = r->compression;
    if (had == 0) {
        int size = bh_ws_header_decode(bh_slice(in->p, in->n), rsv1, h, why);
        if (size > 0)
            take(in, (size_t)size);
        if (size != 0 || in->n == 0)
            return size;
        p = partial(r);
    }
    size_t room = sizeof p->head - had, more = in->n < room ? in->n : room;
    memcpy(p->head + had, in->p, more);
    int size = bh_ws_header_decode(bh_slice(p->head, had + more), rsv1, h, why);
    p->head_len = size > 0 ? 0 : (uint8_t)(had + more);
    take(in, size > 0 ? (size_t)size - had : more);
    return size;
}

/* Checks the frame against the state and the limits. 0 or the close code. */
static unsigned check_frame(const struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                            const struct bh_ws_header *h, const char **why) {
    if (is_control(h->opcode))
        return 0;
    bool continues = h->opcode == BH_WS_CONTINUATION;
    if (continues != in_message(r)) {
        *why = continues ? "continuation frame without a message"
                         : "new message inside a fragmented one";
        return PROTOCOL_ERROR;
    }
    if (continues && r->partial->fragments >= limits->fragments) {
        *why = "too many fragments";
        return POLICY_VIOLATION;
    }
    uint64_t gathered = continues ? r->partial->message.len : 0;
    if (h->length > limits->message_bytes || gathered > limits->message_bytes - h->length) {
        *why = "message too big";
        return TOO_BIG;
    }
    return 0;
}

static bool handle_close(struct bh_ws_reader *r, struct bh_slice data, struct bh_ws_event *event) {
    unsigned code = NO_STATUS;
    if (data.n == 1)
        return fail(r, event, PROTOCOL_ERROR, "close frame with one byte of payload");
    if (data.n) {
        code = (unsigned)(uint8_t)data.p[0] << 8 | (uint8_t)data.p[1];
        data = bh_slice(data.p + 2, data.n - 2);
        if (!bh_ws_close_code_valid(code))
            return fail(r, event, PROTOCOL_ERROR, "invalid close code");
        if (!bh_utf8_valid(data))
            return fail(r, event, INVALID_DATA, "close reason is not UTF-8");
    }
    event->type = BH_WS_EV_CLOSE;
    event->code = (uint16_t)code;
    event->data = data;
    r->ended = true;
    return true;
}

static bool handle_control(struct bh_ws_reader *r, uint8_t opcode, struct bh_slice data,
                           struct bh_ws_event *event) {
    if (opcode == BH_WS_CLOSE)
        return handle_close(r, data, event);
    event->type = opcode == BH_WS_PING ? BH_WS_EV_PING : BH_WS_EV_PONG;
    event->data = data;
    return true;
}

/* The shared inflaters have the largest window, so the reference leads out of the message. */
static bool fail_kept_context(struct bh_ws_reader *r, struct bh_ws_event *event) {
    fail(r, event, INVALID_DATA,
         "message refers to earlier ones, but client_no_context_takeover was agreed");
    event->keeps_context = true;
    return true;
}

static bool fail_inflating(struct bh_ws_reader *r, struct bh_ws_event *event, int error) {
    if (error == BH_ENOTFOUND && !r->inflater)
        return fail_kept_context(r, event);
    switch (error) {
    case BH_ETOOBIG:
        return fail(r, event, TOO_BIG, "inflated message too big");
    case BH_ENOMEM:
        return fail(r, event, INTERNAL_ERROR, "no memory for the message");
    case BH_EUTF8:
        return fail(r, event, INVALID_DATA, "text is not UTF-8");
    default:
        return fail(r, event, INVALID_DATA, "message is not valid DEFLATE");
    }
}

/* The message is not complete yet: its bytes have to stay. */
static bool suspend(struct bh_ws_reader *r, struct bh_slice compressed, enum bh_ws_event_type type,
                    struct bh_ws_event *event) {
    struct bh_ws_partial *p = r->partial;
    if (!p->message.len && bh_bytes_try_add(&p->message, compressed, compressed.n))
        return fail_inflating(r, event, BH_ENOMEM);
    p->inflating = true;
    event->type = type;
    return true;
}

/* One step. The compressed bytes may be those of the partial message. */
static bool inflate(struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                    struct bh_slice compressed, struct bh_ws_event *event) {
    struct bh_ws_partial *p = r->partial;
    int result = bh_inflation_step(&p->inflation, compressed, limits->message_bytes);
    event->inflated = p->inflation.gains;
    if (result < 0)
        return fail_inflating(r, event, result);
    if (result > 0)
        return suspend(r, compressed, result == BH_INFLATION_AGAIN ? BH_WS_EV_AGAIN : BH_WS_EV_WAIT,
                       event);
    if (p->message.p)
        bh_bytes_free(&p->message);
    p->inflating = false;
    p->delivered = true;
    return deliver(event, p->opcode, bh_bytes_slice(&p->inflation.out));
}

static bool deliver_again(struct bh_ws_partial *p, struct bh_ws_event *event) {
    p->postponed = false;
    p->delivered = true;
    return deliver(event, p->opcode,
                   bh_bytes_slice(p->compressed ? &p->inflation.out : &p->message));
}

static bool go_on(struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                  struct bh_ws_event *event) {
    struct bh_ws_partial *p = r->partial;
    return p->postponed ? deliver_again(p, event)
                        : inflate(r, limits, bh_bytes_slice(&p->message), event);
}

static bool begin_inflating(struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                            struct bh_slice compressed, struct bh_ws_event *event) {
    struct bh_ws_partial *p = r->partial;
    bh_inflation_begin(&p->inflation, limits->inflaters, r->inflater, r, p->opcode == BH_WS_TEXT);
    return inflate(r, limits, compressed, event);
}

/* Adds an unmasked piece of the current frame to its message. 0 or the close code. */
static unsigned add_piece(struct bh_ws_partial *p, const struct bh_ws_limits *limits,
                          struct bh_slice piece, const char **why) {
    if (p->opcode == BH_WS_TEXT && !p->compressed && bh_utf8_feed(&p->utf8, piece)) {
        *why = "text is not UTF-8";
        return INVALID_DATA;
    }
    /* The last frame gives the size of the message, so the allocation is exact. */
    uint64_t most = limits->message_bytes;
    if (p->frame.fin)
        most = p->message.len + piece.n + (p->frame.length - p->taken);
    if (bh_bytes_try_add(&p->message, piece, most)) {
        *why = "no memory for the message";
        return INTERNAL_ERROR;
    }
    return 0;
}

static bool end_discarded(struct bh_ws_partial *p) {
    p->opcode = 0;
    p->fragments = 0;
    return false;
}

static bool end_data_frame(struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                           struct bh_ws_event *event) {
    struct bh_ws_partial *p = r->partial;
    p->in_frame = false;
    if (!p->frame.fin)
        return false;
    if (r->discarding)
        return end_discarded(p);
    if (p->compressed)
        return begin_inflating(r, limits, bh_bytes_slice(&p->message), event);
    if (!bh_utf8_complete(&p->utf8))
        return fail(r, event, INVALID_DATA, "text ends inside a character");
    p->delivered = true;
    return deliver(event, p->opcode, bh_bytes_slice(&p->message));
}

static void begin_message(struct bh_ws_partial *p, const struct bh_ws_header *h) {
    p->opcode = h->opcode;
    p->compressed = h->rsv1;
}

static void begin_frame(struct bh_ws_reader *r, const struct bh_ws_header *h) {
    struct bh_ws_partial *p = partial(r);
    p->frame = *h;
    p->taken = 0;
    p->in_frame = true;
    if (is_control(h->opcode))
        return;
    if (h->opcode != BH_WS_CONTINUATION)
        begin_message(p, h);
    p->fragments++;
}

static bool read_payload(struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                         struct input *in, struct bh_ws_event *event) {
    struct bh_ws_partial *p = r->partial;
    uint64_t left = p->frame.length - p->taken;
    size_t n = left < in->n ? (size_t)left : in->n;
    bh_ws_mask(in->p, n, p->frame.mask, p->taken);
    struct bh_slice piece = take(in, n);
    size_t before = (size_t)p->taken;
    p->taken += n;
    bool complete = n == left;
    if (is_control(p->frame.opcode)) {
        if (n)
            memcpy(p->control + before, piece.p, n);
        p->in_frame = !complete;
        return !complete || handle_control(r, p->frame.opcode,
                                           bh_slice(p->control, (size_t)p->frame.length), event);
    }
    const char *why;
    unsigned code = r->discarding ? 0 : add_piece(p, limits, piece, &why);
    if (code)
        return fail(r, event, code, why);
    return !complete || end_data_frame(r, limits, event);
}

static bool read_whole_frame(struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                             const struct bh_ws_header *h, struct input *in,
                             struct bh_ws_event *event) {
    bh_ws_mask(in->p, (size_t)h->length, h->mask, 0);
    struct bh_slice data = take(in, (size_t)h->length);
    if (is_control(h->opcode))
        return handle_control(r, h->opcode, data, event);
    if (r->discarding)
        return false;
    if (h->rsv1) {
        begin_message(partial(r), h);
        return begin_inflating(r, limits, data, event);
    }
    if (h->opcode == BH_WS_TEXT && !bh_utf8_valid(data))
        return fail(r, event, INVALID_DATA, "text is not UTF-8");
    return deliver(event, h->opcode, data);
}

/* True when the call ends: with an event, or because the bytes are used up. */
static bool step(struct bh_ws_reader *r, const struct bh_ws_limits *limits, struct input *in,
                 struct bh_ws_event *event) {
    if (r->partial && r->partial->in_frame)
        return read_payload(r, limits, in, event);
    struct bh_ws_header h;
    const char *why;
    int size = read_header(r, in, &h, &why);
    if (size == 0)
        return true;
    if (size < 0)
        return fail(r, event, PROTOCOL_ERROR, why);
    unsigned code = check_frame(r, limits, &h, &why);
    if (code)
        return fail(r, event, code, why);
    bool alone = is_control(h.opcode) || (h.fin && h.opcode != BH_WS_CONTINUATION);
    if (alone && h.length <= in->n)
        return read_whole_frame(r, limits, &h, in, event);
    begin_frame(r, &h);
    return read_payload(r, limits, in, event);
}

void bh_ws_reader_init(struct bh_ws_reader *r, bool compression, struct bh_inflater *inflater) {
    *r = (struct bh_ws_reader){.compression = compression, .inflater = inflater};
}

void bh_ws_reader_deinit(struct bh_ws_reader *r) {
    drop_partial(r);
}

bool bh_ws_reader_is_inflating(const struct bh_ws_reader *r) {
    return r->partial && (r->partial->inflating || r->partial->postponed);
}

void bh_ws_reader_postpone(struct bh_ws_reader *r) {
    struct bh_ws_partial *p = r->partial;
    if (p->inflating) {
        bh_inflation_postpone(&p->inflation);
        return;
    }
    p->delivered = false;
    p->postponed = true;
}

size_t bh_ws_reader_inflated(const struct bh_ws_reader *r) {
    return r->partial->inflation.out.len;
}

bool bh_ws_reader_waits(const struct bh_ws_reader *r) {
    return r->partial && r->partial->inflation.place.state == BH_INFLATER_WAITS;
}

size_t bh_ws_reader_held(const struct bh_ws_reader *r) {
    const struct bh_ws_partial *p = r->partial;
    return p ? sizeof *p + p->message.cap + p->inflation.out.cap : 0;
}

bool bh_ws_reader_awaits(const struct bh_ws_reader *r) {
    return r->partial && !bh_ws_reader_is_inflating(r);
}

bool bh_ws_reader_in_message(const struct bh_ws_reader *r) {
    return in_message(r) && !r->partial->delivered && !r->partial->postponed;
}

size_t bh_ws_reader_received(const struct bh_ws_reader *r) {
    return r->partial ? r->partial->message.len : 0;
}

void bh_ws_reader_next(struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                       unsigned char **in, size_t *n, struct bh_ws_event *event) {
    struct input input = {*in, *n};
    *event = (struct bh_ws_event){.type = BH_WS_EV_NONE};
    if (r->partial)
        release_partial(r);
    if (r->ended)
        take(&input, input.n);
    else if (bh_ws_reader_is_inflating(r))
        go_on(r, limits, event);
    else
        while (!step(r, limits, &input, event))
            ;
    *in = input.p;
    *n = input.n;
}

void bh_ws_reader_release(struct bh_ws_reader *r) {
    if (r->partial)
        release_partial(r);
}

void bh_ws_reader_discard(struct bh_ws_reader *r) {
    struct bh_ws_partial *p = r->partial;
    r->discarding = true;
    if (!p || p->delivered)
        return;
    if (bh_ws_reader_is_inflating(r))
        end_discarded(p);
    drop_message(p);
}

struct bh_buf *bh_ws_frame_new(uint8_t opcode, struct bh_slice payload) {
    unsigned char head[BH_WS_HEADER_OUT_MAX];
    size_t size = bh_ws_header_encode(head, opcode, true, false, payload.n);
    struct bh_buf *frame = bh_buf_new(size + payload.n);
    memcpy(frame->data, head, size);
    if (payload.n)
        memcpy(frame->data + size, payload.p, payload.n);
    return frame;
}

/* The longest prefix that fits a close frame and is UTF-8. */
static struct bh_slice fitting_reason(struct bh_slice reason) {
    size_t n = 0;
    while (n < reason.n) {
        size_t step = bh_utf8_sequence(bh_slice(reason.p + n, reason.n - n));
        if (step == 0 || n + step > CLOSE_REASON_MAX)
            break;
        n += step;
    }
    return bh_slice(reason.p, n);
}

struct bh_buf *bh_ws_close_frame_new(unsigned code, struct bh_slice reason) {
    if (!bh_ws_close_code_valid(code))
        return bh_ws_frame_new(BH_WS_CLOSE, bh_slice(NULL, 0));
    unsigned char payload[CONTROL_MAX] = {(unsigned char)(code >> 8), (unsigned char)code};
    reason = fitting_reason(reason);
    if (reason.n)
        memcpy(payload + 2, reason.p, reason.n);
    return bh_ws_frame_new(BH_WS_CLOSE, bh_slice(payload, 2 + reason.n));
}
