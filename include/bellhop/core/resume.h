/* resume.h - where a client is in its streams, as one text that it gives back when it returns.
 *
 *     1.<hash>:<epoch>-<offset>,<hash>:<epoch>-<offset>
 *
 * `1.` is the version; <hash> is bh_topic_hash of the topic's name in base64url. It is the `id` of
 * SSE (Last-Event-ID) and of JSON WebSockets, and `?since=`. The text comes back from hostile
 * clients: a position grants nothing, it only says from where a topic is read that the client is
 * allowed to join. Values; any thread. */
#ifndef BELLHOP_CORE_RESUME_H
#define BELLHOP_CORE_RESUME_H

#include "bellhop/core/position.h"
#include "bellhop/core/topic.h"

#define BH_RESUME_TOPICS_MAX 8 /* streams of one client */
#define BH_RESUME_HASH_LEN   11
#define BH_RESUME_TEXT_MAX                                                                         \
    (2 + BH_RESUME_TOPICS_MAX * (BH_RESUME_HASH_LEN + 1 + BH_POSITION_TEXT_MAX + 1))

struct bh_resume_topic {
    uint64_t hash;
    struct bh_position position;
};

struct bh_resume {
    unsigned count;
    struct bh_resume_topic topics[BH_RESUME_TOPICS_MAX];
};

/* The same in every instance and release; no keyed hash, because collisions gain nothing. */
uint64_t bh_topic_hash(struct bh_slice topic_name);
/* 0, or BH_EINVAL with *why (a sentence for the client): not of this form. An empty text or "1." is
 * no position: count 0. */
int bh_resume_parse(struct bh_slice text, struct bh_resume *out, const char **why);
/* NUL-terminated; returns the length. "1." without topics. */
size_t bh_resume_format(const struct bh_resume *resume, char out[BH_RESUME_TEXT_MAX + 1]);
/* Its position; NULL: none. */
const struct bh_position *bh_resume_find(const struct bh_resume *resume, uint64_t hash);

#endif
