/* topic.c - names of topics and their channels.
 *
 * A topic and its channel differ in one place: a user's channel has no name space
 * (`notification:42`), the simplest form for a backend that has only a Redis client. Because no id
 * contains ':', the part after the prefix is `broadcast`, or begins with `tenant:` or `topic:`, or
 * is a user id. Any thread. */
#include "bellhop/core/topic.h"

#include "bellhop/base/error.h"
#include "bellhop/base/id.h"

#include <assert.h>

static const struct bh_slice name_spaces[] = {
    [BH_TOPIC_USER] = {"user:", 5},
    [BH_TOPIC_TENANT] = {"tenant:", 7},
    [BH_TOPIC_TOPIC] = {"topic:", 6},
    [BH_TOPIC_ALL] = {"all", 3},
};

static const enum bh_id_kind id_kinds[] = {
    [BH_TOPIC_USER] = BH_ID_USER,
    [BH_TOPIC_TENANT] = BH_ID_TENANT,
    [BH_TOPIC_TOPIC] = BH_ID_TOPIC,
};

int bh_topic_make(enum bh_topic_kind kind, struct bh_slice id, struct bh_topic *out,
                  const char **why) {
    struct bh_slice space = name_spaces[kind];
    if (kind == BH_TOPIC_ALL) {
        id = (struct bh_slice){0};
    } else {
        int error = bh_id_check(id_kinds[kind], id, why);
        if (error)
            return error;
    }
    memcpy(out->name, space.p, space.n);
    if (id.n)
        memcpy(out->name + space.n, id.p, id.n);
    out->len = (uint8_t)(space.n + id.n);
    out->name[out->len] = '\0';
    out->kind = (uint8_t)kind;
    return 0;
}

int bh_topic_parse(struct bh_slice name, struct bh_topic *out) {
    if (bh_slice_eq(name, name_spaces[BH_TOPIC_ALL]))
        return bh_topic_make(BH_TOPIC_ALL, name, out, NULL);
    for (int kind = BH_TOPIC_USER; kind <= BH_TOPIC_TOPIC; kind++) {
        struct bh_slice space = name_spaces[kind];
        if (bh_slice_starts(name, space))
            return bh_topic_make((enum bh_topic_kind)kind,
                                 bh_slice(name.p + space.n, name.n - space.n), out, NULL);
    }
    return BH_EINVAL;
}

struct bh_slice bh_topic_id(const struct bh_topic *t) {
    size_t skip = name_spaces[t->kind].n;
    return bh_slice(t->name + skip, t->len - skip);
}

size_t bh_topic_to_channel(const struct bh_topic *t, struct bh_slice prefix,
                           char out[BH_CHANNEL_MAX + 1]) {
    assert(prefix.n <= 64);
    struct bh_slice rest = bh_topic_name(t);
    if (t->kind == BH_TOPIC_USER)
        rest = bh_topic_id(t);
    else if (t->kind == BH_TOPIC_ALL)
        rest = BH_SLICE("broadcast");
    if (prefix.n)
        memcpy(out, prefix.p, prefix.n);
    memcpy(out + prefix.n, rest.p, rest.n);
    out[prefix.n + rest.n] = '\0';
    return prefix.n + rest.n;
}

int bh_topic_from_channel(struct bh_slice channel, struct bh_slice prefix, struct bh_topic *out) {
    if (!bh_slice_starts(channel, prefix))
        return BH_EINVAL;
    struct bh_slice rest = bh_slice(channel.p + prefix.n, channel.n - prefix.n);
    if (bh_slice_eq(rest, BH_SLICE("broadcast")))
        return bh_topic_make(BH_TOPIC_ALL, rest, out, NULL);
    if (bh_slice_starts(rest, name_spaces[BH_TOPIC_TENANT]) ||
        bh_slice_starts(rest, name_spaces[BH_TOPIC_TOPIC]))
        return bh_topic_parse(rest, out);
    return bh_topic_make(BH_TOPIC_USER, rest, out, NULL);
}
