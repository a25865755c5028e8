/* hooks.h - the verbs of the port bh_hooks, by file, and on_tenant, which handshakes, API requests
 * and endpoints share. */
#ifndef BELLHOP_SCRIPT_HOOKS_H
#define BELLHOP_SCRIPT_HOOKS_H

#include "run/state.h"

extern const struct bh_hooks_vt bh_script_hooks_vt;

/* hooks_request.c */
bh_handle bh_hook_handshake(struct bh_hooks *h, const struct bh_request *request,
                            bh_handshake_cb done, void *ud, bh_handle handle);
bh_handle bh_hook_api(struct bh_hooks *h, const struct bh_request *request, bh_allowed_cb done,
                      void *ud, bh_handle handle);

struct bh_lua_request;
struct bh_tenant_call {
    bool ok;              /* true before the call; false: on_tenant failed */
    int status;           /* 0: go on; else answer with it and bh_tenant_body */
    struct bh_bytes body; /* the caller frees it */
    struct bh_lua_request *req;
};
/* Calls on_tenant, which must not wait. The req is on top of L and stays there. */
void bh_tenant_resolve(struct bh_script *s, lua_State *L, struct bh_tenant_call *call);
struct bh_slice bh_tenant_body(const struct bh_tenant_call *call);

/* hooks_http.c */
int bh_hook_route(struct bh_hooks *h, struct bh_slice method, struct bh_slice path,
                  const char **allow);
bh_handle bh_hook_http(struct bh_hooks *h, const struct bh_request *request, struct bh_slice body,
                       bh_response_cb done, void *ud, bh_handle handle);

/* hooks_conn.c */
void bh_hook_open(struct bh_hooks *h, struct bh_subscriber *sub);
void bh_hook_message(struct bh_hooks *h, struct bh_subscriber *sub, enum bh_opcode opcode,
                     struct bh_slice data);
void bh_hook_close(struct bh_hooks *h, struct bh_subscriber *sub, unsigned code,
                   struct bh_slice reason);
void bh_hook_expire(struct bh_hooks *h, struct bh_subscriber *sub, bh_expiry_cb done, void *ud,
                    bh_handle handle);
void bh_hook_subscribe(struct bh_hooks *h, struct bh_subscriber *sub, struct bh_slice topic,
                       bh_allowed_cb done, void *ud, bh_handle handle);
void bh_hook_unsubscribe(struct bh_hooks *h, struct bh_subscriber *sub, struct bh_slice topic,
                         const char *why);
void bh_hook_gap(struct bh_hooks *h, struct bh_subscriber *sub, struct bh_slice topic,
                 const char *why);

/* hooks_publish.c */
void bh_hook_publish(struct bh_hooks *h, struct bh_publish *p,
                     void (*done)(void *ud, int error, const char *why), void *ud);
enum bh_verdict bh_hook_deliver(struct bh_hooks *h, struct bh_subscriber *s, struct bh_message *m,
                                struct bh_slice *replacement);
enum bh_slow bh_hook_slow(struct bh_hooks *h, struct bh_subscriber *s, size_t queued,
                          enum bh_slow otherwise);

/* hooks_cluster.c */
void bh_hook_presence(struct bh_hooks *h, struct bh_slice user, bool online, int64_t at);
void bh_hook_offline(struct bh_hooks *h, struct bh_message *m, unsigned attempt, bh_offline_cb done,
                     void *ud, bh_handle handle);

#endif
