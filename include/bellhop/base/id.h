/* id.h - checking ids, writing them in names of Redis, and generating unique ones. Thread: any.
 *
 * User, tenant and topic ids: valid UTF-8 without white space, control characters, bidi controls
 * and U+FFFD (half of a surrogate pair, decoded from JSON), compared by their bytes. `broadcast` is
 * reserved and not a valid user id. The other kinds have an alphabet. An id has at most 128 bytes,
 * that of a topic 255, counted before it is encoded.
 *
 * Names of channels and keys separate their parts with ':'. So '%', ':', '{' and '}', and '/' of
 * users and tenants, are written there as '%' and two upper-case hexadecimal digits, and no id can
 * name the channel or key of another. Each id has one spelling; an id of [A-Za-z0-9_.@-] is its
 * own. Everywhere else an id is what it is. */
#ifndef BELLHOP_BASE_ID_H
#define BELLHOP_BASE_ID_H

#include "bellhop/base/slice.h"

#include <stdbool.h>

#define BH_ID_MAX         128 /* of every kind but topics */
#define BH_TOPIC_ID_MAX   255
#define BH_ID_ENCODED_MAX (3 * BH_TOPIC_ID_MAX)
#define BH_UNIQUE_ID_LEN  22 /* 128 random bits in base64url */
#define BH_MESSAGE_ID_MAX 128

/* Instance ids: [A-Za-z0-9_.@-]. Names of timers: '/', too. Message ids (idempotency keys): '/',
 * ':', '+' and '=', too. */
enum bh_id_kind {
    BH_ID_USER,
    BH_ID_TENANT,
    BH_ID_TOPIC,
    BH_ID_INSTANCE,
    BH_ID_MESSAGE,
    BH_ID_TIMER
};

/* PLAIN: of [A-Za-z0-9_.@-], or of the alphabet of its kind, so nothing of it is encoded. */
enum bh_id_form { BH_ID_INVALID, BH_ID_PLAIN, BH_ID_WIDE };

/* Whether bh_id_given accepts WIDE ids (ids.wide); at first it does. Call it before there are
 * threads. */
void bh_ids_set_wide(bool wide);

/* Whether the id is PLAIN. */
bool bh_id_is_plain(enum bh_id_kind kind, struct bh_slice id);
/* The form of an id that a client, a script or a publisher gives; when INVALID, *why (if not NULL)
 * is a sentence for the caller. */
enum bh_id_form bh_id_given(enum bh_id_kind kind, struct bh_slice id, const char **why);
/* The form of an id that an instance has accepted: of this one or of others, which may have set
 * ids.wide. */
enum bh_id_form bh_id_stored(enum bh_id_kind kind, struct bh_slice id);
/* As bh_id_given: 0 or BH_EINVAL. */
int bh_id_check(enum bh_id_kind kind, struct bh_slice id, const char **why);

/* How a valid id (user, tenant, topic) is written in the name of a channel or key: in `out`, or
 * `id` itself when nothing is encoded. */
struct bh_slice bh_id_encode(enum bh_id_kind kind, struct bh_slice id, char out[BH_ID_ENCODED_MAX]);
/* The other way: the form of the id, which is in `out` or is `encoded` itself; INVALID for what
 * bh_id_encode never returns. */
enum bh_id_form bh_id_decode(enum bh_id_kind kind, struct bh_slice encoded,
                             char out[BH_TOPIC_ID_MAX], struct bh_slice *id);

/* A new unguessable id; writes BH_UNIQUE_ID_LEN bytes and a NUL. */
void bh_id_unique(char out[BH_UNIQUE_ID_LEN + 1]);

#endif
