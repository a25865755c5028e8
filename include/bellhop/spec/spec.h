/* spec.h - `bellhop test`: runs busted specs of policies in the real core and script runtime.
 *
 * A spec runs in its own Lua state, which has all libraries. It creates environments: a node with
 * the memory broker, clients that record what they are sent, Redis and HTTP servers that the spec
 * implements, and a clock that only the spec moves. Everything runs on one thread. The C side of
 * the Lua API is the module `bellhop.test.core`; specs use lua/bellhop/test.lua. */
#ifndef BELLHOP_SPEC_SPEC_H
#define BELLHOP_SPEC_SPEC_H

#include "bellhop/script/script.h"

struct bh_spec_config {
    const struct bh_script_config *script; /* as in production, but its `files` are ignored */
    struct bh_broker *(*broker)(void);
    struct bh_tracker *(*tracker)(uint64_t debounce_ms);
    struct bh_history *(*history)(const struct bh_history_config *config, struct bh_broker *broker,
                                  uint64_t bytes_max);
    /* The rules in the configuration of an environment; they point into it. 0 with *error (bh_free)
     * when there is a mistake. */
    size_t (*history_rules)(const struct bh_json *config, struct bh_history_rule *out,
                            char **error);
    uint64_t debounce_ms;
    size_t payload_max;
};

/* Runs busted with these arguments (files and options). Returns the exit status: 2 when busted is
 * not installed. busted itself may exit the process. */
int bh_spec_run(const struct bh_spec_config *config, int argc, char **argv);

#endif
