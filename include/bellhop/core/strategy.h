/* strategy.h - delivery strategies: names and plans. Pure; any thread. */
#ifndef BELLHOP_CORE_STRATEGY_H
#define BELLHOP_CORE_STRATEGY_H

#include "bellhop/base/slice.h"

enum bh_strategy {
    BH_STRATEGY_DEFAULT, /* the configured one */
    BH_STRATEGY_LOCAL_FIRST,
    BH_STRATEGY_REDIS,
    BH_STRATEGY_BOTH,
    BH_STRATEGY_LOCAL,
    BH_STRATEGY_DURABLE, /* of a topic with history */
};

struct bh_plan {
    bool local;   /* deliver to this instance's sockets at once */
    bool publish; /* give it to the broker */
    bool echo;    /* deliver to them when the broker sends it back */
    bool dedup;   /* receivers drop it when they have seen its id */
    bool append;  /* publish by an append to the topic's history */
};

/* 0, or BH_EINVAL with *why, which lists the strategies. */
int bh_strategy_parse(struct bh_slice name, enum bh_strategy *out, const char **why);
const char *bh_strategy_name(enum bh_strategy strategy);
/* shared: the broker may reach other instances. If not, local_first and both do not use it. */
struct bh_plan bh_strategy_plan(enum bh_strategy strategy, bool shared);

#endif
