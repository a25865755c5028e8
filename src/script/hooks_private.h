/* hooks_private.h - the port's verbs, by file. */
#ifndef BELLHOP_SCRIPT_HOOKS_PRIVATE_H
#define BELLHOP_SCRIPT_HOOKS_PRIVATE_H

#include "state.h"

/* hooks_request.c */
bh_handle bh_hook_handshake(struct bh_hooks *h, const struct bh_request *request,
                            bh_welcome_cb done, void *ud, bh_handle handle);
bh_handle bh_hook_api(struct bh_hooks *h, const struct bh_request *request, bh_allowed_cb done,
                      void *ud, bh_handle handle);

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
