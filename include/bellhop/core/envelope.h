/* envelope.h - a message on a Redis channel.
 *
 * Bytes that begin with 00 62 68 31 ("\0bh1") are an envelope; all others are a raw message, and
 * are the payload themselves. Layout, integers big-endian:
 *
 *     0   4  magic 00 62 68 31
 *     4   1  kind (bh_message_kind)
 *     5   1  opcode (1 text, 2 binary)
 *     6   1  flags (bh_message_flag)
 *     7   1  length of the origin instance id
 *     8   1  length of the message id
 *     9   1  reserved, 0
 *     10  2  length of the filter, 0 none
 *     12  8  except: connection number, 0 none
 *     20  4  ttl left, milliseconds, 0 none
 *     24     with the flag POSITION: offset, epoch, time of the append in ms (Unix), 8 bytes each
 *            origin, id, filter (filter.h), then the payload to the end
 *
 * A message of a stream has the flag POSITION; its ttl counts from the time of the append. With RAW
 * beside it (from a plain backend: opcode 2, without an origin) it is text when the payload is
 * valid UTF-8, else binary. PURGE and TOMBSTONE come from Redis' scripts: with POSITION, without
 * origin and id, and a TOMBSTONE without a payload.
 *
 * The topic is not included: it follows from the channel. An instance drops an envelope with
 * unknown flags or a reserved byte that is not 0, because they may restrict the receivers. So do
 * versions without filters (bytes 10 and 11 were reserved): there such a message reaches nobody
 * instead of everybody. Pure bytes; any thread. */
#ifndef BELLHOP_CORE_ENVELOPE_H
#define BELLHOP_CORE_ENVELOPE_H

#include "bellhop/core/filter.h"
#include "bellhop/core/message.h"

#define BH_ENVELOPE_HEAD 24

/* Of POSITION. */
#define BH_ENVELOPE_POSITION 24

#define BH_ENVELOPE_HEAD_MAX (BH_ENVELOPE_HEAD + BH_ENVELOPE_POSITION + 255 + 255 + BH_FILTER_MAX)
static inline size_t bh_envelope_head_len(const struct bh_message *m) {
    return BH_ENVELOPE_HEAD + (m->flags & BH_MESSAGE_POSITION ? BH_ENVELOPE_POSITION : 0) +
           m->origin.n + m->id.n + m->filter.n;
}

/* Writes the bytes before the payload to out (bh_envelope_head_len bytes); returns their number. */
size_t bh_envelope_head(const struct bh_message *m, uint64_t now_ms, char *out);
/* The same in two parts for an append of m, which has no position yet: the first BH_ENVELOPE_HEAD
 * bytes, with the flag; and those behind the position. Never DEDUP: the messages of a stream are
 * told apart by their positions. */
void bh_envelope_append_head(const struct bh_message *m, uint64_t now_ms, char *out);
size_t bh_envelope_append_rest(const struct bh_message *m, char *out);
static inline size_t bh_envelope_append_rest_len(const struct bh_message *m) {
    return m->origin.n + m->id.n + m->filter.n;
}

/* Makes a message from bytes that arrived on the topic's channel. A raw payload is text when it is
 * valid UTF-8, else binary. A ttl counts from now_ms: of a message that was appended earlier its
 * age is to be subtracted (bh_envelope_set_age). The kinds GAP and REWOUND are refused. 0, or
 * BH_EPROTO (malformed envelope) or BH_ENOMEM with *why. */
int bh_envelope_open(const struct bh_topic *topic, struct bh_slice bytes, uint64_t now_ms,
                     struct bh_message **out, const char **why);
/* For who has opened it, and has not shared it yet. */
void bh_envelope_set_age(struct bh_message *m, uint64_t age_ms);

#endif
