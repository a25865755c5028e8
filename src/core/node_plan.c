/* node_plan.c - whether a publish is appended to the history of its topic.
 *
 * On a stream every strategy but `local` means durable. What the publisher asks for and cannot have
 * is refused, because a message that is silently not stored is a gap that nobody is told of.
 * Thread: any. */
#include "node_internal.h"

#include "bellhop/base/error.h"

static const char no_history[] =
    "strategy durable is for topics with history; add a rule for this topic to `history` in the "
    "configuration";

/* What contradicts itself; NULL: nothing. */
static const char *contradiction(const struct bh_publish *p) {
    if (p->strategy == BH_STRATEGY_LOCAL && p->history == BH_PUBLISH_HISTORY_ON)
        return "strategy local stores nothing; leave out one of strategy and history";
    if (p->strategy == BH_STRATEGY_DURABLE && p->history == BH_PUBLISH_HISTORY_OFF)
        return "strategy durable stores the message; leave out one of strategy and history";
    return NULL;
}

static bool is_local(const struct bh_node *n, const struct bh_publish *p) {
    if (p->strategy == BH_STRATEGY_DEFAULT) /* the publisher's wish is more than the default */
        return n->config.strategy == BH_STRATEGY_LOCAL && p->history != BH_PUBLISH_HISTORY_ON;
    return p->strategy == BH_STRATEGY_LOCAL;
}

int bh_node_plan_history(const struct bh_node *n, const struct bh_publish *p,
                         const struct bh_history_rule **rule, const char **why) {
    *rule = NULL;
    *why = contradiction(p);
    if (!*why && n->history && p->history != BH_PUBLISH_HISTORY_OFF && !is_local(n, p))
        *rule = bh_history_rule_of(&n->config.history, &p->topic);
    if (*why || *rule)
        return *why ? BH_EINVAL : 0;
    if (p->strategy == BH_STRATEGY_DURABLE)
        *why = no_history;
    else if (p->history == BH_PUBLISH_HISTORY_ON)
        *why = "this topic has no history; add a rule for it to `history` in the configuration";
    else if (p->collapse)
        *why = "collapse replaces a message in the history of its topic, and this one is not "
               "stored";
    return *why ? BH_EINVAL : 0;
}
