/* spec.h - `bellhop test`: busted, with the real core and the real script runtime beneath it.
 *
 * A spec runs in a Lua state of its own with all libraries, and makes worlds: a node with the
 * memory broker, connections that are written down instead of sent, a Redis and an HTTP client
 * whose answers the spec gives, and a clock that only the spec moves. One thread. The module
 * `bellhop.test.core` is the bridge; lua/bellhop/test.lua is what specs use. */
#ifndef BELLHOP_SCRIPT_SPEC_H
#define BELLHOP_SCRIPT_SPEC_H

#include "bellhop/script/script.h"

struct bh_spec_config {
    const struct bh_script_config *script; /* as for production; its files are not used */
    struct bh_broker *(*broker)(void);
    struct bh_tracker *(*tracker)(uint64_t debounce_ms);
    uint64_t debounce_ms;
    size_t payload_max;
};

/* argv: busted's arguments, files and options. The exit status; 2 when busted is not there. */
int bh_script_run_specs(const struct bh_spec_config *config, int argc, char **argv);

#endif
