/* range.c - messages from the entries of a reply. The bytes may be anybody's: a list can be written
 * by others. */
#include "history/range.h"

#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/core/envelope.h"
#include "link/metrics.h"

bool bh_redis_range_head(struct bh_redis_functions *f, const struct bh_reply *r,
                         struct bh_redis_range_head *out) {
    uint64_t n[BH_REDIS_RANGE_HEAD];
    if (r->type != BH_REPLY_ARRAY || r->count < BH_REDIS_RANGE_HEAD)
        return false;
    for (size_t i = 0; i < BH_REDIS_RANGE_HEAD; i++) {
        n[i] = (uint64_t)r->elements[i].integer;
        if (r->elements[i].type != BH_REPLY_INTEGER || n[i] >= BH_POSITION_END)
            return false;
    }
    *out = (struct bh_redis_range_head){
        .status = n[0], .top = {.epoch = n[1], .offset = n[2]}, .fourth = n[3]};
    if (n[0] > BH_REDIS_RANGE_ABSENT || (n[1] == 0 && n[0] != BH_REDIS_RANGE_ABSENT))
        return false;
    bh_redis_functions_note_time(f, (int64_t)n[4]);
    return true;
}

/* NULL: malformed. */
static struct bh_message *open_entry(const struct bh_topic *topic, const struct bh_reply *entry,
                                     uint64_t now_ms) {
    struct bh_message *m = NULL;
    const char *why = "no string";
    if (entry->type == BH_REPLY_STRING)
        bh_envelope_open(topic, entry->str, now_ms, &m, &why);
    if (m && m->flags & BH_MESSAGE_POSITION &&
        (m->kind == BH_MESSAGE_DATA || m->kind == BH_MESSAGE_TOMBSTONE))
        return m;
    if (m)
        why = "no entry of a stream";
    bh_message_unref(m);
    bh_metric_inc(&bh_redis_metrics[BH_REDIS_HISTORY_MALFORMED]);
    bh_warn_limited("malformed entry in the history", bh_kv_slice("topic", bh_topic_name(topic)),
                    bh_kv_str("reason", why));
    return NULL;
}

struct bh_range *bh_redis_range_new(const struct bh_redis_functions *f,
                                    const struct bh_topic *topic, const struct bh_reply *r,
                                    struct bh_position top, uint64_t now_ms) {
    size_t entries = r->count - BH_REDIS_RANGE_HEAD, count = 0;
    struct bh_message **messages = bh_malloc((entries + 1) * sizeof(struct bh_message *));
    int64_t redis_ms = bh_redis_functions_time(f);
    for (size_t i = 0; i < entries; i++) {
        struct bh_message *m = open_entry(topic, &r->elements[BH_REDIS_RANGE_HEAD + i], now_ms);
        if (!m)
            continue;
        int64_t age_ms = redis_ms - (int64_t)m->stored_ms;
        bh_envelope_set_age(m, age_ms > 0 ? (uint64_t)age_ms : 0);
        m->position.epoch = top.epoch;
        messages[count++] = m;
    }
    struct bh_range *range = bh_range_new(count, messages);
    range->top = range->since = top;
    bh_free(messages);
    return range;
}
