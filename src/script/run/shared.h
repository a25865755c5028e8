/* shared.h - values that the workers of one instance share: bh.shared.
 *
 * Each named store has keys with strings, numbers or booleans, optionally with an expiry. The
 * stores outlive reloads and are bounded in bytes; when they are full, writes fail after expired
 * values have been removed. Thread: any; a lock is held for one look-up. */
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

/* A key contains the name of its store: "<name>\0<key>". ttl_ms 0: no expiry. now_ms: wall clock.
 */

/* A string is copied into *bytes. NIL: no such key. */
void bh_shared_get(struct bh_shared *s, struct bh_slice key, int64_t now_ms,
                   struct bh_shared_value *out, struct bh_bytes *bytes);
/* NIL removes the key. 0, or BH_ENOMEM: full. */
int bh_shared_set(struct bh_shared *s, struct bh_slice key, const struct bh_shared_value *value,
                  uint64_t ttl_ms, int64_t now_ms);
/* Sets a key that does not exist: 0, BH_EEXIST, BH_ENOMEM. */
int bh_shared_add(struct bh_shared *s, struct bh_slice key, const struct bh_shared_value *value,
                  uint64_t ttl_ms, int64_t now_ms);
/* Sets it if the value equals `expected` (NIL: no such key): 0, BH_ENOTFOUND (it differs),
 * BH_ENOMEM. */
int bh_shared_cas(struct bh_shared *s, struct bh_slice key, const struct bh_shared_value *expected,
                  const struct bh_shared_value *value, uint64_t ttl_ms, int64_t now_ms);
/* Adds to an integer, or to 0; ttl_ms applies to a new key only. 0, BH_EINVAL (not an integer),
 * BH_ETOOBIG (overflow), BH_ENOMEM. */
int bh_shared_incr(struct bh_shared *s, struct bh_slice key, int64_t by, uint64_t ttl_ms,
                   int64_t now_ms, int64_t *out);

/* Whether this is the first call of any worker for that matter and that generation (or a later
 * one).
 */
#define BH_SHARED_MATTERS 8
bool bh_shared_once(struct bh_shared *s, unsigned matter, unsigned generation);

#endif
