/* ws_deflate.c - RFC 7692 section 7.2: one message is one piece of a raw DEFLATE stream.
 *
 * The piece ends with the empty stored block that zlib's Z_SYNC_FLUSH writes; the last four bytes
 * of that block are always the same and stay off the wire. Both directions let zlib write to a
 * chunk on the stack and append from there: memory follows the output, a limit is checked before
 * memory is allocated, and zlib always has enough room not to write its flush marker twice. Input
 * of a deflater is passed in pieces, because zlib counts it in 32 bits.
 *
 * A shared deflater or inflater is reset before a message, not after, so it does not matter how the
 * previous one ended. Thread: the owner's. */
#include "bellhop/proto/ws_deflate.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/proto/ws_frame.h"

#define ZLIB_CONST /* input is const */
#include <zlib.h>

#define CHUNK (16u << 10)
#define PIECE (1u << 20)

#define STORED_MAX  65535 /* bytes of a block that is not compressed */
#define STORED_HEAD 5

/* Input of one step of inflating. Mostly the output costs time, but a block of 12 bytes may have a
 * table to build and no output: 65 ns a byte. */
#define STEP_IN (4u << 10)

static _Thread_local size_t step_in = STEP_IN;

#define TAIL BH_SLICE("\x00\x00\xff\xff")

/* inflate's data_type between two blocks, with every bit used. */
#define BETWEEN_BLOCKS 128

struct bh_deflater {
    z_stream z;
    bool used; /* a message was compressed since the reset */
};

struct bh_inflater {
    z_stream z;
    bool takeover;
};

static void *zlib_alloc(void *ud, unsigned count, unsigned size) {
    return bh_try_malloc((size_t)count * size);
}

static void zlib_free(void *ud, void *p) {
    bh_free(p);
}

static void give_input(z_stream *z, struct bh_slice *in) {
    size_t n = in->n < PIECE ? in->n : PIECE;
    z->next_in = (const Bytef *)in->p;
    z->avail_in = (uInt)n;
    if (n)
        *in = bh_slice(in->p + n, in->n - n);
}

/* --- out --- */

/* Each level doubles zlib's hash table and its symbol buffer; with a small window a large table
 * gains nothing and must be cleared for each message. */
static int memory_level(unsigned window_bits) {
    return window_bits < 14 ? (int)window_bits - 6 : 8;
}

struct bh_deflater *bh_deflater_new(unsigned window_bits, unsigned level) {
    /* zlib cannot write raw DEFLATE for a window of 8 bits, but its longest distance is always 262
     * less than the window: with 9 bits that is 250, which a window of 256 bytes can follow. */
    if (window_bits == 8)
        window_bits = 9;
    struct bh_deflater *d = bh_calloc(1, sizeof *d);
    d->z.zalloc = zlib_alloc;
    d->z.zfree = zlib_free;
    if (deflateInit2(&d->z, (int)level, Z_DEFLATED, -(int)window_bits, memory_level(window_bits),
                     Z_DEFAULT_STRATEGY) == Z_OK)
        return d;
    bh_free(d);
    return NULL;
}

void bh_deflater_free(struct bh_deflater *d) {
    if (!d)
        return;
    deflateEnd(&d->z);
    bh_free(d);
}

void bh_deflater_reset(struct bh_deflater *d) {
    if (d->used)
        deflateReset(&d->z);
    d->used = false;
}

/* Compresses the input that z has. 0, BH_ETOOBIG over `most` bytes, BH_ENOMEM. */
static int deflate_piece(z_stream *z, int flush, size_t most, struct bh_bytes *out) {
    unsigned char chunk[CHUNK];
    do {
        z->next_out = chunk;
        z->avail_out = sizeof chunk;
        /* It can only fail with Z_BUF_ERROR: nothing to do, which is not an error here. */
        deflate(z, flush);
        size_t n = sizeof chunk - z->avail_out;
        if (n > most - out->len)
            return BH_ETOOBIG;
        if (bh_bytes_try_add(out, bh_slice(chunk, n), most))
            return BH_ENOMEM;
    } while (z->avail_out == 0);
    return 0;
}

static int deflate_message(z_stream *z, struct bh_slice in, size_t most, struct bh_bytes *out) {
    int r;
    do {
        give_input(z, &in);
        r = deflate_piece(z, in.n ? Z_NO_FLUSH : Z_SYNC_FLUSH, most, out);
    } while (r == 0 && in.n);
    return r;
}

static struct bh_buf *frame_of(uint8_t opcode, struct bh_slice payload) {
    unsigned char head[BH_WS_HEADER_OUT_MAX];
    size_t size = bh_ws_header_encode(head, opcode, true, true, payload.n);
    struct bh_buf *frame = bh_buf_try_new(size + payload.n);
    if (!frame)
        return NULL;
    memcpy(frame->data, head, size);
    memcpy(frame->data + size, payload.p, payload.n);
    return frame;
}

struct bh_buf *bh_deflater_frame(struct bh_deflater *d, uint8_t opcode, struct bh_slice payload,
                                 bool takeover) {
    if (!takeover)
        bh_deflater_reset(d);
    d->used = true;
    struct bh_bytes out = {0};
    struct bh_buf *frame = NULL;
    size_t most = takeover ? SIZE_MAX : payload.n + TAIL.n - 1;
    if (deflate_message(&d->z, payload, most, &out) == 0) {
        /* An empty message directly after another needs no flush, so zlib writes none; on the wire
         * it is the one byte that begins the empty block (7.2.3.6). */
        struct bh_slice body = out.len ? bh_slice(out.p, out.len - TAIL.n) : BH_SLICE("\0");
        frame = frame_of(opcode, body);
    }
    if (!frame)
        bh_deflater_reset(d);
    bh_bytes_free(&out);
    return frame;
}

struct bh_buf *bh_deflater_piece(struct bh_deflater *d, struct bh_slice payload) {
    struct bh_bytes out = {0};
    struct bh_buf *piece = NULL;
    bh_deflater_reset(d);
    d->used = true;
    if (deflate_message(&d->z, payload, payload.n, &out) == 0 && (piece = bh_buf_try_new(out.len)))
        memcpy(piece->data, out.p, out.len);
    bh_bytes_free(&out);
    return piece;
}

/* RFC 1951, 3.2.4: type 0, the length, and the complement of that. */
struct bh_buf *bh_deflate_stored(struct bh_slice payload) {
    size_t blocks = payload.n / STORED_MAX + 1;
    struct bh_buf *piece = bh_buf_new(payload.n + blocks * STORED_HEAD);
    unsigned char *at = piece->data;
    for (size_t i = 0, from = 0; i < blocks; i++) {
        size_t n = payload.n - from < STORED_MAX ? payload.n - from : STORED_MAX;
        unsigned char head[STORED_HEAD] = {0, (unsigned char)n, (unsigned char)(n >> 8),
                                           (unsigned char)~n, (unsigned char)(~n >> 8)};
        memcpy(at, head, sizeof head);
        if (n)
            memcpy(at + sizeof head, payload.p + from, n);
        at += sizeof head + n;
        from += n;
    }
    return piece;
}

/* --- in --- */

struct bh_inflater *bh_inflater_new(unsigned window_bits, bool takeover) {
    struct bh_inflater *i = bh_calloc(1, sizeof *i);
    i->takeover = takeover;
    i->z.zalloc = zlib_alloc;
    i->z.zfree = zlib_free;
    if (inflateInit2(&i->z, -(int)window_bits) == Z_OK)
        return i;
    bh_free(i);
    return NULL;
}

void bh_inflater_free(struct bh_inflater *i) {
    if (!i)
        return;
    inflateEnd(&i->z);
    bh_free(i);
}

void bh_inflater_begin(struct bh_inflater *i) {
    if (!i->takeover)
        inflateReset(&i->z);
    i->z.avail_out = CHUNK; /* nothing is pending */
}

/* zlib tells errors in the data apart only by their texts. */
static int data_error(const z_stream *z) {
    return z->msg && strcmp(z->msg, "invalid distance too far back") == 0 ? BH_ENOTFOUND
                                                                          : BH_EPROTO;
}

/* One call to zlib, up to a chunk of output or the end of a stream. */
static int inflate_chunk(z_stream *z, size_t most, struct bh_bytes *out) {
    unsigned char chunk[CHUNK];
    z->next_out = chunk;
    z->avail_out = sizeof chunk;
    int r = inflate(z, Z_SYNC_FLUSH);
    if (r == Z_MEM_ERROR)
        return BH_ENOMEM;
    if (r != Z_OK && r != Z_BUF_ERROR && r != Z_STREAM_END)
        return data_error(z);
    size_t n = sizeof chunk - z->avail_out;
    if (n > most - out->len)
        return BH_ETOOBIG;
    if (bh_bytes_try_add(out, bh_slice(chunk, n), most))
        return BH_ENOMEM;
    /* A final block ends zlib's stream, not ours (7.2.3.4): the next byte begins another block,
     * which may refer to earlier bytes. Setting the window again would cost its size for each
     * block, and a block can be two bytes; this keeps it in place. */
    if (r == Z_STREAM_END) {
        inflateResetKeep(z);
        z->data_type = BETWEEN_BLOCKS;
    }
    return 0;
}

static bool has_more(const z_stream *z) {
    return z->avail_in || z->avail_out == 0;
}

/* Until the input that z has is used up, or the step. */
static int inflate_piece(z_stream *z, size_t most, struct bh_bytes *out) {
    size_t end = out->len + BH_INFLATE_STEP - CHUNK;
    int r;
    do
        r = inflate_chunk(z, most, out);
    while (r == 0 && has_more(z) && out->len <= end);
    return r;
}

/* The tail adds no data and ends a block, unless the message was truncated. */
static int inflate_tail(z_stream *z, size_t most, struct bh_bytes *out) {
    size_t before = out->len;
    z->next_in = (const Bytef *)TAIL.p;
    z->avail_in = (uInt)TAIL.n;
    int r = inflate_piece(z, most, out);
    if (r)
        return r == BH_ENOTFOUND ? BH_EPROTO : r; /* a distance that was cut off */
    return out->len == before && z->data_type == BETWEEN_BLOCKS ? 0 : BH_EPROTO;
}

int bh_inflater_step(struct bh_inflater *i, struct bh_slice *in, uint64_t limit,
                     struct bh_bytes *out) {
    size_t most = limit < SIZE_MAX ? (size_t)limit : SIZE_MAX;
    size_t piece = in->n < step_in ? in->n : step_in;
    z_stream *z = &i->z;
    z->next_in = (const Bytef *)in->p;
    z->avail_in = (uInt)piece;
    int r = has_more(z) ? inflate_piece(z, most, out) : 0;
    if (r)
        return r;
    size_t taken = piece - z->avail_in;
    if (taken)
        *in = bh_slice(in->p + taken, in->n - taken);
    if (in->n || has_more(z))
        return BH_INFLATE_AGAIN;
    return inflate_tail(z, most, out);
}

void bh_inflate_step_in(size_t most) {
    step_in = most ? most : STEP_IN;
}
