/* filter.c - packed tags: built by the publisher, compared in place for each receiver.
 *
 * They are few and short, so nothing is sorted or hashed: most comparisons end at the length. A
 * malformed filter matches nobody, because it must never widen the receivers. */
#include "bellhop/core/filter.h"

#include "bellhop/base/error.h"

#define HEAD 3

bool bh_filter_next(struct bh_slice *rest, struct bh_tag *pair) {
    const unsigned char *h = (const unsigned char *)rest->p;
    if (rest->n < HEAD)
        return false;
    size_t name = h[0], value = (size_t)h[1] << 8 | h[2];
    if (rest->n - HEAD < name + value)
        return false;
    pair->name = bh_slice(rest->p + HEAD, name);
    pair->value = bh_slice(rest->p + HEAD + name, value);
    *rest = bh_slice(rest->p + HEAD + name + value, rest->n - HEAD - name - value);
    return true;
}

/* Why this tag cannot be added to those before it, or NULL. */
static const char *check_tag(struct bh_slice before, struct bh_slice name, struct bh_slice value) {
    struct bh_tag other;
    size_t count = 0;
    if (name.n == 0 || name.n > BH_FILTER_NAME_MAX)
        return "the name of a filter's tag must have 1 to 64 bytes";
    if (value.n > BH_FILTER_VALUE_MAX)
        return "the value of a filter's tag must have at most 256 bytes";
    for (; bh_filter_next(&before, &other); count++)
        if (bh_slice_eq(other.name, name))
            return "a filter may name each tag only once: a receiver must have all of its tags";
    return count < BH_FILTER_TAGS_MAX ? NULL : "a filter can have at most 8 tags";
}

int bh_filter_add(struct bh_buf **filter, struct bh_slice name, struct bh_slice value,
                  const char **why) {
    struct bh_slice before = bh_buf_slice(*filter);
    *why = check_tag(before, name, value);
    if (*why)
        return BH_EINVAL;
    struct bh_buf *longer = bh_buf_new(before.n + HEAD + name.n + value.n);
    char *at = (char *)longer->data;
    bh_slice_pack(&at, before);
    *at++ = (char)name.n;
    *at++ = (char)(value.n >> 8);
    *at++ = (char)value.n;
    bh_slice_pack(&at, name);
    bh_slice_pack(&at, value);
    bh_buf_unref(*filter);
    *filter = longer;
    return 0;
}

int bh_filter_check(struct bh_slice bytes) {
    struct bh_slice rest = bytes;
    struct bh_tag pair;
    while (rest.n) {
        struct bh_slice before = bh_slice(bytes.p, bytes.n - rest.n);
        if (!bh_filter_next(&rest, &pair) || check_tag(before, pair.name, pair.value))
            return BH_EPROTO;
    }
    return 0;
}

static bool has_tag(const struct bh_identity *identity, const struct bh_tag *tag) {
    for (size_t i = 0; i < identity->tag_count; i++)
        if (bh_slice_eq(identity->tags[i].name, tag->name))
            return bh_slice_eq(identity->tags[i].value, tag->value);
    return false;
}

bool bh_filter_matches(struct bh_slice filter, const struct bh_identity *identity) {
    struct bh_tag wanted;
    while (bh_filter_next(&filter, &wanted))
        if (!has_tag(identity, &wanted))
            return false;
    return filter.n == 0;
}
