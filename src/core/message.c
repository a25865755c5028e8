/* message.c - one allocation: the struct, then topic, id, origin and filter, then the payload
 * unless it has a buffer of its own. */
#include "bellhop/core/message.h"

#include "bellhop/base/mem.h"

_Static_assert(offsetof(struct bh_message, bytes) % _Alignof(struct bh_topic) == 0,
               "the topic is aligned");

struct bh_message *bh_message_new(const struct bh_message *parts) {
    size_t bytes = bh_topic_size(parts->topic) + parts->id.n + parts->origin.n + parts->filter.n;
    if (!parts->buf)
        bytes += parts->payload.n;
    struct bh_message *m = bh_try_malloc(sizeof *m + bytes);
    if (!m)
        return NULL;
    memcpy(m, parts, sizeof *m);
    atomic_init(&m->refs, 1);
    m->topic = bh_topic_copy(m->bytes, parts->topic);
    char *at = m->bytes + bh_topic_size(parts->topic);
    m->id = bh_slice_pack(&at, parts->id);
    m->origin = bh_slice_pack(&at, parts->origin);
    m->filter = bh_slice_pack(&at, parts->filter);
    if (!m->buf)
        m->payload = bh_slice_pack(&at, parts->payload);
    return m;
}

struct bh_message *bh_message_with_position(const struct bh_message *m, struct bh_position position,
                                            uint64_t stored_ms) {
    struct bh_message parts = {0};
    size_t skip = offsetof(struct bh_message, kind); /* others count references meanwhile */
    memcpy((char *)&parts + skip, (const char *)m + skip, sizeof parts - skip);
    parts.flags = (uint8_t)((m->flags & ~BH_MESSAGE_DEDUP) | BH_MESSAGE_POSITION);
    parts.position = position;
    parts.stored_ms = stored_ms;
    if (parts.buf)
        bh_buf_ref(parts.buf);
    struct bh_message *result = bh_message_new(&parts);
    if (!result)
        bh_buf_unref(parts.buf);
    return result;
}

struct bh_message *bh_message_ref(struct bh_message *m) {
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void bh_message_unref(struct bh_message *m) {
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    bh_buf_unref(m->buf);
    bh_free(m);
}
