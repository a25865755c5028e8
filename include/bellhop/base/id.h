/* id.h - checking ids, and generating unique ones. Thread: any.
 *
 * User, tenant and topic ids: 1..128 bytes of [A-Za-z0-9_.@-], topics also '/'. ':' is not allowed,
 * so no id can name another channel. `broadcast` is reserved and not a valid user id. */
#ifndef BELLHOP_BASE_ID_H
#define BELLHOP_BASE_ID_H

#include "bellhop/base/slice.h"

#define BH_ID_MAX         128
#define BH_UNIQUE_ID_LEN  22 /* 128 random bits in base64url */
#define BH_MESSAGE_ID_MAX 128

enum bh_id_kind { BH_ID_USER, BH_ID_TENANT, BH_ID_TOPIC, BH_ID_INSTANCE, BH_ID_MESSAGE };

/* 0 or BH_EINVAL; on error *why (if not NULL) is a sentence for the caller. Instance ids follow the
 * rule of tenants. Message ids (idempotency keys) follow the rule of topics, plus ':' '+' '='. */
int bh_id_check(enum bh_id_kind kind, struct bh_slice id, const char **why);

/* A new unguessable id; writes BH_UNIQUE_ID_LEN bytes and a NUL. */
void bh_id_unique(char out[BH_UNIQUE_ID_LEN + 1]);

#endif
