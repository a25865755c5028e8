/* hooks.c - the port bh_hooks, as scripts implement it: one verb for each hook. */
#include "hooks/hooks.h"

#include "run/sched.h"

static void hook_cancel(struct bh_hooks *h, bh_handle ticket) {
    const struct bh_script *s = (struct bh_script *)h;
    struct bh_task *t = bh_slots_get(&s->script_worker->slots, ticket);
    if (t && t->ticket == ticket)
        bh_task_cancel(t);
}

const struct bh_hooks_vt bh_script_hooks_vt = {
    .handshake = bh_hook_handshake,
    .cancel = hook_cancel,
    .api = bh_hook_api,
    .open = bh_hook_open,
    .message = bh_hook_message,
    .close = bh_hook_close,
    .expire = bh_hook_expire,
    .subscribe = bh_hook_subscribe,
    .unsubscribe = bh_hook_unsubscribe,
    .publish = bh_hook_publish,
    .deliver = bh_hook_deliver,
    .slow = bh_hook_slow,
    .gap = bh_hook_gap,
    .presence = bh_hook_presence,
    .offline = bh_hook_offline,
    .route = bh_hook_route,
    .http = bh_hook_http,
};
