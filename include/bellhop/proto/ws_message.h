/* ws_message.h - from frames to messages, RFC 6455 sections 5.4 and 5.5: fragmentation, interleaved
 * control frames, streaming UTF-8, limits, close frames. Pull style, resumable at any byte.
 *
 * The reader is embedded in the connection and small (an idle one owns no heap memory). A message
 * that lies whole in the caller's bytes is unmasked in place and returned without a copy; otherwise
 * it is collected in memory that grows with the bytes received, never with the length in a header.
 * Text is checked as it arrives, also inside an unfinished frame: the first bad byte is an error.
 *
 * A compressed message (RFC 7692) is inflated when it is complete, and its text checked, at most
 * BH_INFLATE_STEP bytes (ws_deflate.h) in a call: a frame of 16 KiB may become 16 MiB. The caller
 * decides when the next step is taken; until the message is complete no later bytes are read. Long
 * messages of all readers of a thread share a number of places (ws_inflaters.h).
 *
 * After an error or a close frame there are no more events. No sockets. */
#ifndef BELLHOP_PROTO_WS_MESSAGE_H
#define BELLHOP_PROTO_WS_MESSAGE_H

#include "bellhop/base/buf.h"
#include "bellhop/proto/ws_frame.h"

struct bh_inflater;  /* ws_deflate.h */
struct bh_inflaters; /* ws_inflaters.h */

struct bh_ws_limits {
    uint64_t message_bytes;         /* over it: 1009; both as sent and inflated */
    uint32_t fragments;             /* frames of one message; over it: 1008 */
    struct bh_inflaters *inflaters; /* of the thread; NULL: no compression */
};

struct bh_ws_partial; /* an unfinished message, or one lent to the caller until the next call */

struct bh_ws_reader {
    struct bh_ws_partial *partial; /* heap; NULL when nothing is unfinished or lent */
    struct bh_inflater *inflater;  /* borrowed; NULL: no context takeover */
    bool compression;              /* negotiated */
    bool ended;
    bool discarding;
};

enum bh_ws_event_type {
    BH_WS_EV_NONE,    /* all bytes consumed */
    BH_WS_EV_MESSAGE, /* opcode (text or binary), data */
    BH_WS_EV_PING,    /* data */
    BH_WS_EV_PONG,    /* data */
    BH_WS_EV_CLOSE,   /* code (1005 when the frame was empty), data = reason */
    BH_WS_EV_ERROR,   /* code to close with (1002, 1007, 1008, 1009, 1011 without memory), why */
    BH_WS_EV_AGAIN,   /* a message is being inflated: call again, now or in a later turn */
    BH_WS_EV_WAIT,    /* a message waits for a place: call again when bh_inflaters wakes it */
};

/* data is valid until the next call for this reader, and as long as the caller's bytes. */
struct bh_ws_event {
    enum bh_ws_event_type type;
    uint8_t opcode;
    bool keeps_context; /* ERROR: the peer does not keep to client_no_context_takeover */
    uint16_t code;
    const char *why;
    size_t inflated; /* MESSAGE, AGAIN: bytes that this call has made out of fewer */
    struct bh_slice data;
};

/* Without compression a compressed message is 1002. With context takeover the connection has an
 * inflater, which must outlive the reader. */
void bh_ws_reader_init(struct bh_ws_reader *r, bool compression, struct bh_inflater *inflater);
/* Also leaves the place of an unfinished message, or the line. */
void bh_ws_reader_deinit(struct bh_ws_reader *r);
/* Takes bytes from *in (advancing it; they are unmasked in place) until one event is complete. Call
 * it until BH_WS_EV_NONE, which also frees the memory of the previous message. After AGAIN and WAIT
 * the next call takes no bytes unless that message is complete (n may be 0). */
void bh_ws_reader_next(struct bh_ws_reader *r, const struct bh_ws_limits *limits,
                       unsigned char **in, size_t *n, struct bh_ws_event *event);
/* Frees what the last event lent: for a caller that stops before BH_WS_EV_NONE. */
void bh_ws_reader_release(struct bh_ws_reader *r);
/* The last event, AGAIN or a MESSAGE longer than the caller's bytes, was too early: the next call
 * returns it again. Meanwhile a message that is being inflated has no place. */
void bh_ws_reader_postpone(struct bh_ws_reader *r);
/* The last event was AGAIN or WAIT, or was postponed: the next call takes no bytes. */
bool bh_ws_reader_is_inflating(const struct bh_ws_reader *r);
/* The last event was WAIT, and the reader has not been woken since. */
bool bh_ws_reader_waits(const struct bh_ws_reader *r);
/* Bytes of memory of what is unfinished, or lent. */
size_t bh_ws_reader_held(const struct bh_ws_reader *r);
/* Bytes of the message that is being inflated, so far. */
size_t bh_ws_reader_inflated(const struct bh_ws_reader *r);
/* More bytes are needed: a header, a frame or a message is unfinished. */
bool bh_ws_reader_awaits(const struct bh_ws_reader *r);
/* A message has begun and is not complete. */
bool bh_ws_reader_in_message(const struct bh_ws_reader *r);
/* The payload of it that has come, as sent. */
size_t bh_ws_reader_received(const struct bh_ws_reader *r);
/* From now on data frames are only skipped, and an unfinished message is dropped: for a connection
 * that is being closed and waits for the peer's close frame. What an event lent stays valid. */
void bh_ws_reader_discard(struct bh_ws_reader *r);

/* A whole server frame, header and payload. */
struct bh_buf *bh_ws_frame_new(uint8_t opcode, struct bh_slice payload);
/* A close frame; empty for 1005 and other codes that must not be sent; the reason is cut at 123
 * bytes, at a UTF-8 boundary, or where it is not UTF-8. */
struct bh_buf *bh_ws_close_frame_new(unsigned code, struct bh_slice reason);

#endif
