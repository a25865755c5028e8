/* topic.c - names of topics and their channels.
 *
 * A topic and its channel differ in two places: the id is encoded in a channel, and a user's
 * channel has no name space (`notification:42`), the simplest form for a backend that has only a
 * Redis client. Because no encoded id contains ':', the part after the prefix is `broadcast`, or
 * begins with `tenant:` or `topic:`, or is a user id. A topic remembers whether its id has anything
 * to encode, so that a publish does not look for it again. Any thread. */
#include "bellhop/core/topic.h"

#include "bellhop/base/error.h"

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

static int build(enum bh_topic_kind kind, enum bh_id_form form, struct bh_slice id,
                 struct bh_topic *out) {
    struct bh_slice space = name_spaces[kind];
    if (form == BH_ID_INVALID)
        return BH_EINVAL;
    memcpy(out->name, space.p, space.n);
    if (id.n)
        memcpy(out->name + space.n, id.p, id.n);
    out->len = (uint16_t)(space.n + id.n);
    out->name[out->len] = '\0';
    out->kind = (uint8_t)kind;
    out->form = (uint8_t)form;
    return 0;
}

static int build_all(struct bh_topic *out) {
    return build(BH_TOPIC_ALL, BH_ID_PLAIN, bh_slice(NULL, 0), out);
}

int bh_topic_make(enum bh_topic_kind kind, struct bh_slice id, struct bh_topic *out,
                  const char **why) {
    if (kind == BH_TOPIC_ALL)
        return build_all(out);
    return build(kind, bh_id_given(id_kinds[kind], id, why), id, out);
}

static struct bh_slice after(struct bh_slice s, size_t n) {
    return bh_slice(s.p + n, s.n - n);
}

int bh_topic_parse(struct bh_slice name, struct bh_topic *out) {
    if (bh_slice_eq(name, name_spaces[BH_TOPIC_ALL]))
        return build_all(out);
    for (int kind = BH_TOPIC_USER; kind <= BH_TOPIC_TOPIC; kind++) {
        if (!bh_slice_starts(name, name_spaces[kind]))
            continue;
        struct bh_slice id = after(name, name_spaces[kind].n);
        return build((enum bh_topic_kind)kind, bh_id_stored(id_kinds[kind], id), id, out);
    }
    return BH_EINVAL;
}

struct bh_slice bh_topic_id(const struct bh_topic *t) {
    size_t skip = name_spaces[t->kind].n;
    return bh_slice(t->name + skip, t->len - skip);
}

/* The channel of an id that is not plain: kept apart, so that the others need no room for it. */
static size_t to_encoded_channel(const struct bh_topic *t, struct bh_slice prefix, char *out) {
    char encoded[BH_ID_ENCODED_MAX], *at = out;
    bh_slice_pack(&at, prefix);
    if (t->kind != BH_TOPIC_USER)
        bh_slice_pack(&at, name_spaces[t->kind]);
    bh_slice_pack(&at, bh_id_encode(id_kinds[t->kind], bh_topic_id(t), encoded));
    *at = '\0';
    return (size_t)(at - out);
}

size_t bh_topic_to_channel(const struct bh_topic *t, struct bh_slice prefix,
                           char out[BH_CHANNEL_MAX + 1]) {
    assert(prefix.n <= 64);
    if (t->form == BH_ID_WIDE)
        return to_encoded_channel(t, prefix, out);
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

static int from_encoded(enum bh_topic_kind kind, struct bh_slice encoded, struct bh_topic *out) {
    char decoded[BH_TOPIC_ID_MAX];
    struct bh_slice id;
    enum bh_id_form form = bh_id_decode(id_kinds[kind], encoded, decoded, &id);
    return build(kind, form, id, out);
}

int bh_topic_from_channel(struct bh_slice channel, struct bh_slice prefix, struct bh_topic *out) {
    if (!bh_slice_starts(channel, prefix))
        return BH_EINVAL;
    struct bh_slice rest = after(channel, prefix.n);
    if (bh_slice_eq(rest, BH_SLICE("broadcast")))
        return build_all(out);
    enum bh_topic_kind kind = BH_TOPIC_USER;
    if (bh_slice_starts(rest, name_spaces[BH_TOPIC_TENANT]))
        kind = BH_TOPIC_TENANT;
    else if (bh_slice_starts(rest, name_spaces[BH_TOPIC_TOPIC]))
        kind = BH_TOPIC_TOPIC;
    if (kind != BH_TOPIC_USER)
        rest = after(rest, name_spaces[kind].n);
    if (bh_id_is_plain(id_kinds[kind], rest))
        return build(kind, BH_ID_PLAIN, rest, out);
    return from_encoded(kind, rest, out);
}
