/* recovery.h - clients that come back: subscribe and read, without a gap or a duplicate.
 *
 * The bus orders everything of a stream: messages and answers to recoveries go to a worker through
 * one mailbox, so an answer holds exactly what was dispatched to the worker before it, and what
 * follows it is live (core/streams.h). A subscriber that resumes (vt->recovered is set) is in the
 * hub from the start; until the answers of all its streams have come, messages of its streams that
 * arrive are not delivered to it, because the answers will hold them; then those that follow wait
 * until the answers are delivered, a few clients in each turn of the loop.
 *
 * A subscriber's stream set says where it is; sets with the same topics are one object of the
 * worker, so that its links may share frames. Thread: the worker's. */
#ifndef BELLHOP_CORE_RECOVERY_H
#define BELLHOP_CORE_RECOVERY_H

#include "bellhop/core/node.h"
#include "bellhop/core/resume.h"

/* The position of s in its streams, as text, NUL-terminated; returns the length. Only of a
 * subscriber that resumes. */
size_t bh_subscriber_resume_text(const struct bh_subscriber *s, char out[BH_RESUME_TEXT_MAX + 1]);
/* Equal, and not NULL: the texts of both are equal now, so that they may share frames. NULL while s
 * is being given what it missed. */
const void *bh_subscriber_stream_set(const struct bh_subscriber *s);
/* Changes whenever the text changes. */
uint64_t bh_subscriber_stream_moves(const struct bh_subscriber *s);
/* All its answers have come, and what it missed was delivered. */
bool bh_subscriber_is_recovered(const struct bh_subscriber *s);
/* The position in one of its topics (a name, "user:42"); epoch 0: not a stream of it, or unknown.
 */
struct bh_position bh_subscriber_position(const struct bh_subscriber *s, struct bh_slice topic);
/* Tells s by its protocol, else by the hook on_gap; why is one of BH_GAP_... For its owner, when it
 * has dropped messages of a stream. */
void bh_subscriber_tell_gap(struct bh_subscriber *s, struct bh_slice topic, const char *why);

#endif
