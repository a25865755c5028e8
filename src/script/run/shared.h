/* shared.h - values that the workers of one instance share: bh.shared.
 *
 * A store of stores: each name has keys, each key a string, number or boolean, perhaps with an end.
 * It outlives reloads. Bounded in bytes; when it is full, `set` tells so after what is over has
 * been removed. Thread: any; a lock is held for the time of one look-up. */
#ifndef BELLHOP_SCRIPT_SHARED_H
#define BELLHOP_SCRIPT_SHARED_H

#include "bellhop/script/script.h"

enum bh_shared_type {
    BH_SHARED_NIL,
    BH_SHARED_STRING,
    BH_SHARED_INTEGER,
    BH_SHARED_DOUBLE,
    BH_SHARED_BOOL
};

struct bh_shared_value {
    enum bh_shared_type type;
    struct bh_slice string;
    int64_t integer;
    double number;
    bool boolean;
};

/* A key names its store, too: "<name>\0<key>". ttl_ms 0: for good. now_ms: the wall clock. */

/* The value is copied into *bytes when it is a string. NIL: there is none. */
void bh_shared_get(struct bh_shared *s, struct bh_slice key, int64_t now_ms,
                   struct bh_shared_value *out, struct bh_bytes *bytes);
/* NIL removes it. 0, or BH_ENOMEM: it is full. */
int bh_shared_set(struct bh_shared *s, struct bh_slice key, const struct bh_shared_value *value,
                  uint64_t ttl_ms, int64_t now_ms);
/* Sets it if there is none: 0, BH_EEXIST, BH_ENOMEM. */
int bh_shared_add(struct bh_shared *s, struct bh_slice key, const struct bh_shared_value *value,
                  uint64_t ttl_ms, int64_t now_ms);
/* Sets it if it equals `expected` (NIL: there is none): 0, BH_ENOTFOUND (it does not), BH_ENOMEM.
 */
int bh_shared_cas(struct bh_shared *s, struct bh_slice key, const struct bh_shared_value *expected,
                  const struct bh_shared_value *value, uint64_t ttl_ms, int64_t now_ms);
/* Adds to an integer, or to 0; ttl_ms counts for a new one only. 0, BH_EINVAL (no integer),
 * BH_ETOOBIG (overflow), BH_ENOMEM. */
int bh_shared_incr(struct bh_shared *s, struct bh_slice key, int64_t by, uint64_t ttl_ms,
                   int64_t now_ms, int64_t *out);

#endif
