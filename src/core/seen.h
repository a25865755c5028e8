/* seen.h - recent message ids of this instance, to drop duplicates. Thread: the bus.
 *
 * An id belongs to one topic: the same idempotency key for two users means two messages. Number and
 * age are limited; the oldest are removed first. */
#ifndef BELLHOP_SRC_CORE_SEEN_H
#define BELLHOP_SRC_CORE_SEEN_H

#include "bellhop/base/list.h"
#include "bellhop/base/map.h"
#include "bellhop/core/publish.h"

struct bh_seen {
    struct bh_map entries;
    struct bh_list by_age;
    size_t max;
    uint64_t keep_ms;
};

struct bh_seen_entry {
    struct bh_list node;
    uint64_t until_ms;
    bool delivered; /* to this instance's sockets */
    bool published; /* accepted by the broker: a repetition is a duplicate */
    uint8_t status; /* enum bh_publish_status, the answer to a repetition. PUBLISHED, if the message
                       came from another instance. */
    uint16_t len;
    char key[];
};

void bh_seen_init(struct bh_seen *s, size_t max, uint64_t keep_ms);
void bh_seen_deinit(struct bh_seen *s);
/* NULL when it is not known, or no longer. */
struct bh_seen_entry *bh_seen_find(struct bh_seen *s, struct bh_slice topic, struct bh_slice id,
                                   uint64_t now_ms);
/* The entry, which is created if it does not exist; valid until the next call. */
struct bh_seen_entry *bh_seen_note(struct bh_seen *s, struct bh_slice topic, struct bh_slice id,
                                   uint64_t now_ms);

#endif
