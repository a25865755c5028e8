/* history.c - which topics are streams, and what a read has found. Any thread. */
#include "bellhop/core/history.h"

#include "bellhop/base/mem.h"

static bool matches(const struct bh_history_rule *rule, struct bh_slice name) {
    return rule->prefix ? bh_slice_starts(name, rule->pattern) : bh_slice_eq(name, rule->pattern);
}

const struct bh_history_rule *bh_history_rule_of(const struct bh_history_config *config,
                                                 const struct bh_topic *topic) {
    for (size_t i = 0; i < config->rule_count; i++)
        if (matches(&config->rules[i], bh_topic_name(topic)))
            return &config->rules[i];
    return NULL;
}

struct bh_range *bh_range_new(size_t count, struct bh_message *const *messages) {
    struct bh_range *r = bh_malloc(sizeof *r + count * sizeof r->messages[0]);
    *r = (struct bh_range){.count = count};
    atomic_init(&r->refs, 1);
    for (size_t i = 0; i < count; i++) {
        r->messages[i] = messages[i];
        r->bytes += messages[i]->payload.n;
    }
    return r;
}

struct bh_range *bh_range_ref(struct bh_range *r) {
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void bh_range_unref(struct bh_range *r) {
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < r->count; i++)
        bh_message_unref(r->messages[i]);
    bh_free(r);
}
