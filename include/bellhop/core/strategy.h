/* strategy.h - from the name of a delivery strategy to a plan. Pure. */
#ifndef BELLHOP_CORE_STRATEGY_H
#define BELLHOP_CORE_STRATEGY_H

#include "bellhop/base/slice.h"

enum bh_strategy {
    BH_STRATEGY_DEFAULT, /* what the configuration says */
    BH_STRATEGY_LOCAL_FIRST,
    BH_STRATEGY_REDIS,
    BH_STRATEGY_BOTH,
    BH_STRATEGY_LOCAL,
};

struct bh_plan {
    bool local;   /* deliver to this instance's sockets at once */
    bool publish; /* hand it to the broker */
    bool echo;    /* this instance delivers when the broker brings it back */
    bool dedup;   /* receivers drop it by message id */
};

/* 0, or BH_EINVAL with *why (which names the strategies there are). */
int bh_strategy_parse(struct bh_slice name, enum bh_strategy *out, const char **why);
const char *bh_strategy_name(enum bh_strategy strategy);
/* shared: the broker may reach other instances. Without it local_first and both need no broker. */
struct bh_plan bh_strategy_plan(enum bh_strategy strategy, bool shared);

#endif
