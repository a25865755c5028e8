/* message.h - what is delivered: immutable and atomically ref-counted.
 *
 * Built once from all its parts (by the node for a publish, by a broker for what arrives), then
 * only read; it crosses threads by reference. The topic and the slices point into the message
 * itself, which is one allocation; only the payload may stay in the buffer that it came in, so that
 * a publish copies it once. */
#ifndef BELLHOP_CORE_MESSAGE_H
#define BELLHOP_CORE_MESSAGE_H

#include "bellhop/base/buf.h"
#include "bellhop/core/position.h"
#include "bellhop/core/topic.h"

#include <stdatomic.h>

enum bh_opcode { BH_TEXT = 1, BH_BINARY = 2 }; /* the WebSocket opcodes, by number */

enum bh_message_kind {
    BH_MESSAGE_DATA,       /* payload for the topic's sockets */
    BH_MESSAGE_DISCONNECT, /* control: close the topic's sockets; payload is "<code> <reason>" */
    BH_MESSAGE_PURGE,      /* control: entries of the stream were removed; payload: their offsets,
                              "5 9", or "all" for those up to the position */
    BH_MESSAGE_TOMBSTONE, /* an entry of a stream that was removed or replaced: only its position */
    /* Inside an instance only, from the bus to its workers, in the order of the messages: */
    BH_MESSAGE_GAP,     /* messages of the stream up to the position are missing; payload: why */
    BH_MESSAGE_REWOUND, /* the stream goes on at the position in a new epoch, in which messages that
                           were delivered are unknown */
};

enum bh_message_flag {
    BH_MESSAGE_ECHO = 1 << 0,     /* the origin delivers when it is echoed (strategy redis) */
    BH_MESSAGE_DEDUP = 1 << 1,    /* receivers drop it when they have seen its id on this topic */
    BH_MESSAGE_RAW = 1 << 2,      /* from a plain PUBLISH or a plain backend's append: no origin */
    BH_MESSAGE_POSITION = 1 << 3, /* of a stream: it has a position */
};

struct bh_message {
    atomic_uint refs;
    uint8_t kind;
    uint8_t opcode;
    uint8_t flags;
    const struct bh_topic *topic;
    struct bh_position position; /* in the topic's stream; epoch 0: none */
    uint64_t stored_ms;          /* Redis' time of its append, Unix ms; 0: none */
    uint64_t except;             /* a connection's number, 0: none */
    uint64_t expires_ms;         /* bh_clock_ms; 0: never */
    struct bh_slice id;          /* message id; may be empty (raw) */
    struct bh_slice origin;      /* instance id; may be empty (raw) */
    struct bh_slice filter;      /* which receivers, packed (filter.h); empty: all */
    struct bh_slice payload;
    struct bh_buf *buf; /* holds the payload; NULL: it is in `bytes` */
    char bytes[];
};

/* Copies topic and slices of the parts, except a payload in parts->buf, whose reference it takes
 * over. refs and bytes are ignored. NULL when there is no memory for a payload of this size. */
struct bh_message *bh_message_new(const struct bh_message *parts);
/* The same message at a place in its stream; the payload is shared if it is in a buffer. Without
 * DEDUP, because messages of a stream are told apart by their positions. NULL as above. */
struct bh_message *bh_message_with_position(const struct bh_message *m, struct bh_position position,
                                            uint64_t stored_ms);
struct bh_message *bh_message_ref(struct bh_message *m);
void bh_message_unref(struct bh_message *m); /* NULL is allowed */

static inline bool bh_message_expired(const struct bh_message *m, uint64_t now_ms) {
    return m->expires_ms != 0 && now_ms >= m->expires_ms;
}

#endif
