/* strategy.c - names and plans of the delivery strategies.
 *
 * All strategies deliver to local sockets at once, except `redis` and `durable`, which wait for the
 * broker's echo so that every instance sees the same order. Without other instances the others do
 * not need the broker. Any thread. */
#include "bellhop/core/strategy.h"

#include "bellhop/base/error.h"

static const char *const names[] = {
    [BH_STRATEGY_DEFAULT] = "default", [BH_STRATEGY_LOCAL_FIRST] = "local_first",
    [BH_STRATEGY_REDIS] = "redis",     [BH_STRATEGY_BOTH] = "both",
    [BH_STRATEGY_LOCAL] = "local",     [BH_STRATEGY_DURABLE] = "durable",
};

int bh_strategy_parse(struct bh_slice name, enum bh_strategy *out, const char **why) {
    for (int i = BH_STRATEGY_LOCAL_FIRST; i <= BH_STRATEGY_DURABLE; i++) {
        if (bh_slice_eq(name, bh_slice_cstr(names[i]))) {
            *out = (enum bh_strategy)i;
            return 0;
        }
    }
    if (why)
        *why = "unknown strategy; use local_first, redis, both, local or durable";
    return BH_EINVAL;
}

const char *bh_strategy_name(enum bh_strategy strategy) {
    return names[strategy];
}

struct bh_plan bh_strategy_plan(enum bh_strategy strategy, bool shared) {
    switch (strategy) {
    case BH_STRATEGY_REDIS:
        return (struct bh_plan){.publish = true, .echo = true};
    case BH_STRATEGY_BOTH:
        return (struct bh_plan){.local = true, .publish = shared, .dedup = true};
    case BH_STRATEGY_LOCAL:
        return (struct bh_plan){.local = true};
    case BH_STRATEGY_DURABLE:
        return (struct bh_plan){.publish = true, .echo = true, .append = true};
    case BH_STRATEGY_LOCAL_FIRST:
    case BH_STRATEGY_DEFAULT:
        break;
    }
    return (struct bh_plan){.local = true, .publish = shared};
}
