/* hook_table.c - the hooks by number, and the metrics of scripts. */
#include "run/hook_table.h"

#include "bellhop/base/metrics.h"
#include "bellhop/core/hooks.h"
#include "bellhop/script/script.h"

static const struct {
    const char *name;
    unsigned bit; /* enum bh_hook; 0: not of the port */
} hooks[HOOK_COUNT] = {
    [HOOK_INIT] = {"on_init", 0},
    [HOOK_TENANT] = {"on_tenant", 0},
    [HOOK_HANDSHAKE] = {"on_handshake", BH_HOOK_HANDSHAKE},
    [HOOK_API] = {"on_api", BH_HOOK_API},
    [HOOK_OPEN] = {"on_open", BH_HOOK_OPEN},
    [HOOK_MESSAGE] = {"on_message", BH_HOOK_MESSAGE},
    [HOOK_PUBLISH] = {"on_publish", BH_HOOK_PUBLISH},
    [HOOK_DELIVER] = {"on_deliver", BH_HOOK_DELIVER},
    [HOOK_SLOW] = {"on_slow", BH_HOOK_SLOW},
    [HOOK_PRESENCE] = {"on_presence", BH_HOOK_PRESENCE},
    [HOOK_OFFLINE] = {"on_offline", BH_HOOK_OFFLINE},
    [HOOK_SUBSCRIBE] = {"on_subscribe", BH_HOOK_SUBSCRIBE},
    [HOOK_UNSUBSCRIBE] = {"on_unsubscribe", BH_HOOK_UNSUBSCRIBE},
    [HOOK_CLOSE] = {"on_close", BH_HOOK_CLOSE},
    [HOOK_EXPIRE] = {"on_expire", BH_HOOK_EXPIRE},
    [HOOK_GAP] = {"on_gap", BH_HOOK_GAP},
    [HOOK_SHUTDOWN] = {"on_shutdown", 0},
    [HOOK_TIMER] = {"timers", 0},
    [HOOK_HTTP] = {"http", BH_HOOK_HTTP},
};

#define ERRORS(hook)                                                                               \
    {                                                                                              \
        .name = "bellhop_script_errors_total", .labels = "hook=\"" hook "\"",                      \
        .help = "script functions that failed", .type = BH_COUNTER                                 \
    }

static struct bh_metric errors[HOOK_COUNT + 1] = {
    [HOOK_INIT] = ERRORS("on_init"),
    [HOOK_TENANT] = ERRORS("on_tenant"),
    [HOOK_HANDSHAKE] = ERRORS("on_handshake"),
    [HOOK_API] = ERRORS("on_api"),
    [HOOK_OPEN] = ERRORS("on_open"),
    [HOOK_MESSAGE] = ERRORS("on_message"),
    [HOOK_PUBLISH] = ERRORS("on_publish"),
    [HOOK_DELIVER] = ERRORS("on_deliver"),
    [HOOK_SLOW] = ERRORS("on_slow"),
    [HOOK_PRESENCE] = ERRORS("on_presence"),
    [HOOK_OFFLINE] = ERRORS("on_offline"),
    [HOOK_SUBSCRIBE] = ERRORS("on_subscribe"),
    [HOOK_UNSUBSCRIBE] = ERRORS("on_unsubscribe"),
    [HOOK_CLOSE] = ERRORS("on_close"),
    [HOOK_EXPIRE] = ERRORS("on_expire"),
    [HOOK_GAP] = ERRORS("on_gap"),
    [HOOK_SHUTDOWN] = ERRORS("on_shutdown"),
    [HOOK_TIMER] = ERRORS("timers"),
    [HOOK_HTTP] = ERRORS("http"),
    [HOOK_NONE] = ERRORS("task"),
};

static struct bh_metric cpu_limit = {
    .name = "bellhop_script_cpu_limit_total",
    .help = "hooks and tasks aborted because they exceeded script.cpu_limit or deliver_limit",
    .type = BH_COUNTER,
};

static struct bh_metric deliver_off = {
    .name = "bellhop_script_deliver_off_total",
    .help = "connections closed because on_deliver exceeded script.deliver_limit repeatedly",
    .type = BH_COUNTER,
};

void bh_script_count_cpu_limit(void) {
    bh_metric_inc(&cpu_limit);
}

void bh_script_count_deliver_off(void) {
    bh_metric_inc(&deliver_off);
}

void bh_script_metrics_register(void) {
    bh_metrics_register(&cpu_limit, 1);
    bh_metrics_register(&deliver_off, 1);
    bh_metrics_register(errors, sizeof errors / sizeof *errors);
}

void bh_script_count_error(enum bh_script_hook hook) {
    bh_metric_inc(&errors[hook]);
}

const char *bh_script_hook_name(enum bh_script_hook hook) {
    return hook < HOOK_COUNT ? hooks[hook].name : "task";
}

unsigned bh_script_hook_bit(enum bh_script_hook hook) {
    return hooks[hook].bit;
}
