/* link.h - what a link to a client that resumes remembers: which id it sent last, and what it still
 * has to tell.
 *
 * An id that the client has got says that everything before it was sent, or told as missing. So:
 * - Before a message goes into the queue, what is to be told goes first, with the id as it was
 *   before that message (bh_client_id_before); if there is no room for both, the message is
 *   dropped, too.
 * - on_slow "drop_oldest" drops everything that waits, because ids of later messages that stay
 *   would cover the dropped ones.
 * - What is to be told without a message that follows (core said gap, room after a drop) has the
 *   current id.
 * Thread: the worker's. */
#ifndef BELLHOP_EDGE_CLIENT_LINK_H
#define BELLHOP_EDGE_CLIENT_LINK_H

#include "bellhop/core/recovery.h"

enum bh_client_note { BH_CLIENT_GAP, BH_CLIENT_REWOUND };

struct bh_client_link {
    uint64_t moves;        /* bh_subscriber_stream_moves at the id that was sent last */
    struct bh_bytes notes; /* to be told, each topic once; empty: nothing */
};

void bh_client_link_free(struct bh_client_link *l);

/* A frame with the id as it is now was queued. */
static inline void bh_client_link_sent(struct bh_client_link *l, const struct bh_subscriber *s) {
    l->moves = bh_subscriber_stream_moves(s);
}
/* A position has moved since: a heartbeat with the id alone is due. Never before it is recovered.
 */
static inline bool bh_client_link_has_moved(const struct bh_client_link *l,
                                            const struct bh_subscriber *s) {
    return bh_subscriber_is_recovered(s) && l->moves != bh_subscriber_stream_moves(s);
}

/* To be told. Of a topic that is noted already nothing is added; a gap replaces `rewound`. */
void bh_client_link_note(struct bh_client_link *l, enum bh_client_note note, struct bh_slice topic);
/* A message was not queued, because the client is slow: a gap, if it has a position. */
void bh_client_link_note_message(struct bh_client_link *l, const struct bh_message *m);
/* A queued text was dropped: a gap in the topic with that tag; 0: no stream, nothing. */
void bh_client_link_note_tag(struct bh_client_link *l, const struct bh_subscriber *s, uint16_t tag);
static inline bool bh_client_link_has_notes(const struct bh_client_link *l) {
    return l->notes.len > 0;
}
/* The first of the notes; it stays until _drop_note. False: none. */
bool bh_client_link_first(const struct bh_client_link *l, enum bh_client_note *note,
                          struct bh_slice *topic);
void bh_client_link_drop_note(struct bh_client_link *l);

/* Of a stream's topic (bh_buf.tag), never 0: from its hash, so two topics of a link have the same
 * one once in thousands of links; then a gap is told for both. */
uint16_t bh_client_tag(struct bh_slice topic);
/* The id of s as it was before m, which is being delivered to it. As bh_subscriber_resume_text. */
size_t bh_client_id_before(const struct bh_subscriber *s, const struct bh_message *m,
                           char out[BH_RESUME_TEXT_MAX + 1]);

#endif
