/* hook_table.h - the hooks of scripts: numbers, names, bits of the port, error counters.
 *
 * Constant, except for the counters. Any thread. */
#ifndef BELLHOP_SCRIPT_HOOK_TABLE_H
#define BELLHOP_SCRIPT_HOOK_TABLE_H

enum bh_script_hook {
    HOOK_INIT,
    HOOK_TENANT,
    HOOK_HANDSHAKE,
    HOOK_API,
    HOOK_OPEN,
    HOOK_MESSAGE,
    HOOK_PUBLISH,
    HOOK_DELIVER,
    HOOK_SLOW,
    HOOK_PRESENCE,
    HOOK_OFFLINE,
    HOOK_SUBSCRIBE,
    HOOK_UNSUBSCRIBE,
    HOOK_CLOSE,
    HOOK_EXPIRE,
    HOOK_GAP,
    HOOK_SHUTDOWN,
    HOOK_TIMER, /* no chain: see timers.h */
    HOOK_HTTP,  /* no chain: see routes.h */
    HOOK_COUNT,
    HOOK_NONE = HOOK_COUNT, /* a background task: bh.spawn, bh.after */
};

const char *bh_script_hook_name(enum bh_script_hook hook);
unsigned bh_script_hook_bit(enum bh_script_hook hook); /* of enum bh_hook; 0: none */

void bh_script_count_error(enum bh_script_hook hook);
void bh_script_count_cpu_limit(void);
void bh_script_count_deliver_off(void); /* on_deliver, for a connection */

#endif
