/* keys.h - which argument of a command is its first key: in a cluster the key decides where the
 * command goes. Private to the backend. Thread: any.
 *
 * All keys of a command are in one slot, or Redis answers CROSSSLOT; so the first one is enough. A
 * command that is not in the table (of a module, or of a newer Redis) has its key where most have
 * it, in the first argument. Where that is wrong, Redis answers MOVED with the slot of the key. */
#ifndef BELLHOP_BACKEND_REDIS_KEYS_H
#define BELLHOP_BACKEND_REDIS_KEYS_H

#include "bellhop/base/slice.h"

/* The first key of a command, a part of argv. NULL with *key: it goes to the server of that key;
 * key->p is NULL: it has no key, and any server will do. Otherwise why it cannot be sent in a
 * cluster, a constant sentence for "<command> was not sent: ...". */
const char *bh_redis_command_key(size_t argc, const struct bh_slice *argv, struct bh_slice *key);

#endif
