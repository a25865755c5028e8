/* history_store.h - the streams of this process: logs, positions, ids and collapse keys.
 *
 * It does what the functions of the library in Redis do (lua/redis/history/), with the same
 * results, so that a configuration without Redis behaves alike. Only marks and parents are missing:
 * nothing is restored here, so a stream has one epoch in its life, and another one when its rule's
 * revision changes.
 *
 * All calls are in one thread. now_ms is monotonic (bh_loop_now). */
#ifndef BELLHOP_SRC_MEMORY_HISTORY_STORE_H
#define BELLHOP_SRC_MEMORY_HISTORY_STORE_H

#include "bellhop/base/map.h"
#include "bellhop/core/history.h"

#define BH_HISTORY_IDS_MAX 100000 /* the oldest ids are forgotten first */

struct bh_history_store {
    const struct bh_history_config *config; /* borrowed, with its rules: those of all calls */
    uint64_t bytes_max;                     /* 0: no limit */
    uint64_t bytes;                         /* of everything that is stored here */
    struct bh_map streams;                  /* by topic */
    struct bh_map ids, keys;                /* by stream and text */
    struct bh_list id_order;                /* by the time of their append */
    struct bh_list *fresh, *idle;           /* for each rule: streams with and without entries */
};

void bh_history_store_init(struct bh_history_store *st, const struct bh_history_config *config,
                           uint64_t bytes_max);
void bh_history_store_deinit(struct bh_history_store *st);

/* What an append or a removal tells the instances, in this order; a reference each, or NULL. */
struct bh_history_news {
    struct bh_message *purge, *message;
};

/* 0, or BH_ENOMEM or BH_ETOOBIG with *why. */
int bh_history_store_append(struct bh_history_store *st, const struct bh_message *m,
                            const struct bh_history_rule *rule, struct bh_slice collapse,
                            uint64_t now_ms, struct bh_appended *out, struct bh_history_news *news,
                            const char **why);
/* Gives a stream that is not there an epoch. limit: of messages; bytes: of entries. 0 with a
 * reference in *out, or BH_EUNAVAIL with *why when there is no room for the stream. */
int bh_history_store_read(struct bh_history_store *st, const struct bh_topic *topic,
                          const struct bh_history_rule *rule, struct bh_position since,
                          uint32_t limit, size_t bytes, uint64_t now_ms, struct bh_range **out,
                          const char **why);
/* Epoch 0: there is no such stream. */
struct bh_position bh_history_store_top(struct bh_history_store *st, const struct bh_topic *topic,
                                        uint64_t now_ms);
/* A reference. */
struct bh_range *bh_history_store_page(struct bh_history_store *st,
                                       const struct bh_page_query *query, uint64_t now_ms,
                                       bool *gap, bool *more);
/* The number of messages that are removed; offset 0: all. */
int64_t bh_history_store_remove(struct bh_history_store *st, const struct bh_topic *topic,
                                struct bh_position position, uint64_t now_ms,
                                struct bh_history_news *news);

/* Tests only: as if so many messages had been appended to a stream that is there. */
void bh_history_store_set_top(struct bh_history_store *st, const struct bh_topic *topic,
                              uint64_t top);

/* Frees what has expired, at most about `max` things; false: there is more. What has expired is
 * never found, so this is about memory only. */
bool bh_history_store_sweep(struct bh_history_store *st, unsigned max, uint64_t now_ms);

#endif
