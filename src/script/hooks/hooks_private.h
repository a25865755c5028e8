/* hooks_private.h - the port's verbs, by file. */
#ifndef BELLHOP_SCRIPT_HOOKS_PRIVATE_H
#define BELLHOP_SCRIPT_HOOKS_PRIVATE_H

#include "state.h"

/* hooks_request.c */
bh_handle bh_hook_handshake(struct bh_hooks *h, const struct bh_request *request,
                            bh_welcome_cb done, void *ud, bh_handle handle);
bh_handle bh_hook_api(struct bh_hooks *h, const struct bh_request *request, bh_allowed_cb done,
                      void *ud, bh_handle handle);

/* What on_tenant says of a request, before anything else is asked. */
struct bh_lua_request;
struct bh_tenant_call {
    bool ok;              /* true before the call */
    int status;           /* 0: go on; else answer with it and bh_tenant_body */
    struct bh_bytes body; /* the caller's */
    struct bh_lua_request *req;
};
/* The req is on top of L and stays there. */
void bh_tenant_ask(struct bh_script *s, lua_State *L, struct bh_tenant_call *call);
struct bh_slice bh_tenant_body(const struct bh_tenant_call *call);

/* hooks_http.c */
int bh_hook_route(struct bh_hooks *h, struct bh_slice method, struct bh_slice path,
                  const char **allow);
bh_handle bh_hook_http(struct bh_hooks *h, const struct bh_request *request, struct bh_slice body,
                       bh_response_cb done, void *ud, bh_handle handle);

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

/* hooks_conn.c */
void bh_push_opcode(lua_State *L, unsigned opcode);
/* A code that a close frame may carry. */
bool bh_close_code_ok(lua_Integer code);

extern const struct bh_hooks_vt bh_script_hooks_vt;

#endif
