/* topic.h - the names of topics, and their mapping to channels.
 *
 *     topic              channel (with the default prefix)
 *     user:42            notification:42
 *     user:auth0|5:f     notification:auth0|5%3Af
 *     tenant:7           notification:tenant:7
 *     topic:news/eu      notification:topic:news/eu
 *     all                notification:broadcast
 *
 * A topic has the id as it is, a channel has it encoded (bh_id_encode), so no id in a channel
 * contains ':'. `broadcast` is not a valid user id. So the mapping is one to one.
 *
 * A name has room for 520 bytes before it is encoded, and most have few. So what keeps a topic
 * keeps the bytes in use only, and a topic is copied by bh_topic_copy, never by assignment: the
 * rest may be missing. Values only; no memory, any thread. */
#ifndef BELLHOP_CORE_TOPIC_H
#define BELLHOP_CORE_TOPIC_H

#include "bellhop/base/id.h"

enum bh_topic_kind { BH_TOPIC_USER, BH_TOPIC_TENANT, BH_TOPIC_TOPIC, BH_TOPIC_ALL };

#define BH_TOPIC_NAME_MAX 520
#define BH_CHANNEL_MAX    (64 + 3 * BH_TOPIC_NAME_MAX)
#define BH_CHANNEL_PREFIX "notification:"

struct bh_topic {
    uint16_t len;
    uint8_t kind;
    uint8_t form;                     /* of the id; PLAIN for `all` */
    char name[BH_TOPIC_NAME_MAX + 1]; /* NUL-terminated for convenience */
};

/* Checks the id (bh_id_given) and builds the name; for BH_TOPIC_ALL the id is ignored.
 * 0 or BH_EINVAL with *why. */
int bh_topic_make(enum bh_topic_kind kind, struct bh_slice id, struct bh_topic *out,
                  const char **why);
/* From the name of a topic ("user:42"), whose id an instance has accepted (bh_id_stored); 0 or
 * BH_EINVAL. */
int bh_topic_parse(struct bh_slice name, struct bh_topic *out);
static inline struct bh_slice bh_topic_name(const struct bh_topic *t) {
    return bh_slice(t->name, t->len);
}
/* The id without its name space; empty for `all`. */
struct bh_slice bh_topic_id(const struct bh_topic *t);
/* The bytes in use. */
static inline size_t bh_topic_size(const struct bh_topic *t) {
    return offsetof(struct bh_topic, name) + t->len + 1;
}
/* Into room for bh_topic_size bytes, aligned to 2. */
static inline struct bh_topic *bh_topic_copy(void *room, const struct bh_topic *t) {
    return memcpy(room, t, bh_topic_size(t));
}

/* Writes prefix + channel, NUL-terminated; returns its length. The prefix has at most 64 bytes. */
size_t bh_topic_to_channel(const struct bh_topic *t, struct bh_slice prefix,
                           char out[BH_CHANNEL_MAX + 1]);
/* 0, or BH_EINVAL for what bh_topic_to_channel never writes. */
int bh_topic_from_channel(struct bh_slice channel, struct bh_slice prefix, struct bh_topic *out);

#endif
