/* texts.h - messages as the text of a format (JSON frames, SSE events), rendered once for all links
 * of a worker that may share it.
 *
 * A text is before + id + after, where the id is that of the link (core/resume.h). The cache has
 * the parts of one message, for one tick, and its texts for some stream sets. A message without a
 * position has no id, so its text is the same for all. A text is itself a message: opcode, topic
 * and expiry are those of the message, and the payload is the text, in a buffer of its own
 * (text->buf) whose tag is that of the topic if the message has a position. So it can be queued
 * as it is, or encoded again (frames). Thread: the worker's. */
#ifndef BELLHOP_EDGE_CLIENT_TEXTS_H
#define BELLHOP_EDGE_CLIENT_TEXTS_H

#include "bellhop/core/recovery.h"
#include "bellhop/io/loop.h"

#define BH_TEXTS_SETS 8 /* whose texts are kept at the same time */

/* Appends what comes before and after the id. `id` false: there is none, and everything may go into
 * `before`. */
typedef void (*bh_text_render)(const struct bh_message *m, bool id, struct bh_bytes *before,
                               struct bh_bytes *after);

struct bh_text {
    const void *set; /* NULL: of a message without a position */
    uint64_t moves;
    struct bh_message *text;
};

struct bh_texts {
    struct bh_loop *loop;
    bh_text_render render;
    struct bh_message *message; /* the last one of this tick */
    bool rendered;
    struct bh_bytes before, after;
    struct bh_text texts[BH_TEXTS_SETS];
    unsigned count, next; /* next: to be replaced */
    struct bh_defer forget;
};

void bh_texts_init(struct bh_texts *t, struct bh_loop *loop, bh_text_render render);
void bh_texts_deinit(struct bh_texts *t);
/* The text of m for s, a subscriber that resumes. A reference; NULL without memory. */
struct bh_message *bh_texts_get(struct bh_texts *t, struct bh_message *m,
                                const struct bh_subscriber *s);

/* The same when the set is given (NULL: not shared), and the id by a function. */
struct bh_text_id {
    const void *set;
    uint64_t moves;
    size_t (*write)(const void *ud, char out[BH_RESUME_TEXT_MAX + 1]);
    const void *ud;
};
struct bh_message *bh_texts_of(struct bh_texts *t, struct bh_message *m,
                               const struct bh_text_id *id);

#endif
