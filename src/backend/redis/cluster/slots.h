/* slots.h - the slot of a key (Redis Cluster specification: CRC16/XMODEM, hash tags). Private to
 * the backend. Thread: any. */
#ifndef BELLHOP_BACKEND_REDIS_CLUSTER_SLOTS_H
#define BELLHOP_BACKEND_REDIS_CLUSTER_SLOTS_H

#include "bellhop/base/slice.h"

#define BH_REDIS_SLOTS 16384
/* Slots of one shard of the broker: a group of slots, whatever masters they are on, so that the
 * shard of a topic never changes. */
#define BH_REDIS_GROUP_SLOTS 1024
#define BH_REDIS_GROUPS      (BH_REDIS_SLOTS / BH_REDIS_GROUP_SLOTS)

unsigned bh_redis_slot(struct bh_slice key);
/* The part of the key that counts for it: what is between the first '{' and the next '}', if
 * anything is, else the whole key. */
struct bh_slice bh_redis_hash_tag(struct bh_slice key);
static inline unsigned bh_redis_group(unsigned slot) {
    return slot / BH_REDIS_GROUP_SLOTS;
}

#define BH_REDIS_SLOT_TAG_MAX 8
/* A hash tag (without braces, NUL-terminated) whose slot is one for which `wanted` is true; false:
 * there is none. */
bool bh_redis_slot_tag(bool (*wanted)(const void *ud, unsigned slot), const void *ud,
                       char tag[BH_REDIS_SLOT_TAG_MAX]);

#endif
