/* link.h - what a link to a client that resumes remembers: which id it sent last, and what it still
 * has to tell.
 *
 * An id that the client has got says that everything before it was sent, or told as missing. So:
 * - Before a message goes into the queue, what is to be told goes first, with the id as it was
 *   before that message (bh_client_id_before); if there is no room for both, the message is
 *   dropped, too.
 * - Of several notes only the last one that is told has an id: it covers the others, too.
 * - on_slow "drop_oldest" drops everything that waits, because ids of later messages that stay
 *   would cover the dropped ones.
 * - While it is given what it missed (bh_subscriber_is_recovered is false), a full queue is a gap
 *   and not slowness: a client that is closed for it would come back for the same.
 * - What is to be told without a message that follows (core said gap, room after a drop) has the
 *   current id.
 * Thread: the worker's. */
#ifndef BELLHOP_EDGE_CLIENT_LINK_H
#define BELLHOP_EDGE_CLIENT_LINK_H

#include "bellhop/core/recovery.h"

struct bh_client_notes; /* opaque */

/* Zero-initialise to start. */
struct bh_client_link {
    uint64_t moves;                /* bh_subscriber_stream_moves at the id that was sent last */
    struct bh_client_notes *notes; /* to be told; NULL: nothing */
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

/* To be told: a gap, why is a constant; or rewound, why is NULL. A gap replaces rewound, otherwise
 * the first of a topic stays. */
void bh_client_link_note(struct bh_client_link *l, const struct bh_subscriber *s,
                         struct bh_slice topic, const char *why);
/* Both tell the core (bh_subscriber_tell_gap), which counts it; vt->gap notes it, and must tell
 * nothing before it returns. */
/* A message was not queued: a gap, if it has a position; why: BH_GAP_SLOW or BH_GAP_SIZE. */
void bh_client_link_note_message(const struct bh_client_link *l, struct bh_subscriber *s,
                                 const struct bh_message *m, const char *why);
/* A queued text was dropped: a gap in the topics with that tag; 0: no stream, nothing. */
void bh_client_link_note_tag(const struct bh_client_link *l, struct bh_subscriber *s, uint16_t tag);
unsigned bh_client_link_note_count(const struct bh_client_link *l);
static inline bool bh_client_link_has_notes(const struct bh_client_link *l) {
    return l->notes != NULL;
}
/* The first of the notes; it stays until _drop_note. *last: no other follows, so it is told with
 * the id, the others without. Forgets topics that s has left. False: none. */
bool bh_client_link_first(struct bh_client_link *l, const struct bh_subscriber *s,
                          struct bh_slice *topic, const char **why, bool *last);
void bh_client_link_drop_note(struct bh_client_link *l);

/* Of a stream's topic (bh_buf.tag): from its hash, so two topics of a link have the same one once
 * in thousands of links; then a gap is told for both. */
#define BH_CLIENT_TAG_NONE 0
uint16_t bh_client_tag(struct bh_slice topic);
/* The id of s as it was before m, which is being delivered to it. As bh_subscriber_resume_text. */
size_t bh_client_id_before(const struct bh_subscriber *s, const struct bh_message *m,
                           char out[BH_RESUME_TEXT_MAX + 1]);

#endif
