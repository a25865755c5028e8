/* commands.h - a script's command on a link. Private to the backend. Thread: the link's. */
#ifndef BELLHOP_BACKEND_REDIS_COMMANDS_H
#define BELLHOP_BACKEND_REDIS_COMMANDS_H

#include "link/link.h"

/* As bh_redis_vt.call, on this link. */
void bh_redis_command(struct bh_redis_link *link, size_t argc, const struct bh_slice *argv,
                      bh_reply_cb done, void *ud, bh_handle handle);
/* Why it is refused (it would block the link, or change it for all its users), or NULL. */
const char *bh_redis_command_refused(size_t argc, const struct bh_slice *argv);
/* Refuses it: an error reply with `why`. */
void bh_redis_command_refuse(size_t argc, const struct bh_slice *argv, const char *why,
                             bh_reply_cb done, void *ud, bh_handle handle);

#endif
