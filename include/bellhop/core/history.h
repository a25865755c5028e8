/* history.h - the port to the history, which keeps the last messages of some topics (streams).
 *
 * The rules of the configuration decide which topics are streams. On a stream every publish but
 * `local` is appended to the log and published in one step, and comes back to the instances as a
 * message with a position. The bus side reads for streams.c (healing, recovery); the worker side
 * appends, pages (for the API and scripts) and removes.
 *
 * Everything completes exactly once, on the thread that asked, maybe before the call returns. */
#ifndef BELLHOP_CORE_HISTORY_H
#define BELLHOP_CORE_HISTORY_H

#include "bellhop/base/slots.h"
#include "bellhop/core/message.h"
#include "bellhop/io/mailbox.h"

/* --- rules --- */

struct bh_history_rule {
    struct bh_slice pattern;  /* of the topic's name, "user:*" without the star */
    bool prefix;              /* it ended in a star */
    bool latest;              /* mode latest: size is 1, and the entry is the topic's state */
    uint32_t size;            /* entries */
    uint32_t revision;        /* raised: all older positions are a gap */
    uint64_t ttl_ms;          /* after the last append */
    uint64_t position_ttl_ms; /* how long the epoch is remembered without an append */
    uint64_t bytes;           /* of all entries */
};

#define BH_HISTORY_RULES_MAX 64

struct bh_history_config {
    const struct bh_history_rule *rules; /* the first match counts */
    size_t rule_count;
    uint64_t window_bytes;    /* of the tails that the instance keeps, in all */
    uint64_t recover_wait_ms; /* how long a client that comes back waits for Redis */
    uint64_t ids_ms;          /* how long the ids of appends are remembered */
    unsigned min_replicas;    /* that have an append before it counts */
};

/* The rule of the topic; NULL: it is no stream. */
const struct bh_history_rule *bh_history_rule_of(const struct bh_history_config *config,
                                                 const struct bh_topic *topic);

/* Why messages of a stream are missing, as clients and scripts are told. */
#define BH_GAP_EXPIRED     "expired"     /* not kept any more, or of an unknown epoch */
#define BH_GAP_UNAVAILABLE "unavailable" /* Redis could not be read within recover_wait */
#define BH_GAP_LOST        "lost"        /* a message that the log does not have */
#define BH_GAP_SIZE        "size"        /* more than half the queue of the client */
#define BH_GAP_OFF         "off"         /* the topic is no stream any more */
#define BH_GAP_SLOW        "slow"        /* dropped, because the client was too slow */

/* --- results --- */

enum bh_history_outcome {
    BH_HISTORY_OK,  /* the messages are those behind `since`, up to `top`, without holes */
    BH_HISTORY_GAP, /* they cannot be given; `top` is where the stream is */
    BH_HISTORY_NEW, /* no position was given; `top` is where the stream is */
};

/* What a read has found: immutable and atomically ref-counted; shared by all who asked for the same
 * range. */
struct bh_range {
    atomic_uint refs;
    enum bh_history_outcome outcome;
    struct bh_position since; /* in the epoch of `top`; less than what was asked: the stream was
                                 rewound */
    struct bh_position top;
    bool rewound;
    size_t count;
    size_t bytes;                  /* of the payloads */
    struct bh_message *messages[]; /* a reference each; DATA and TOMBSTONE; all in the epoch of
                                      `top`, those of an older one, too */
};

/* Takes over the references. */
struct bh_range *bh_range_new(size_t count, struct bh_message *const *messages);
struct bh_range *bh_range_ref(struct bh_range *r);
void bh_range_unref(struct bh_range *r); /* NULL is allowed */

/* error: BH_EUNAVAIL (not connected), BH_EIO, BH_ETIMEDOUT, BH_EDENIED (refused by Redis, with
 * why). range: NULL with an error; borrowed. */
typedef void (*bh_range_cb)(void *ud, bh_handle handle, int error, struct bh_range *range,
                            const char *why);

struct bh_appended {
    struct bh_position position;
    int64_t receivers; /* instances; -1: unknown */
    bool known;        /* its id was appended before, with that position; nothing was published. Not
                          if that may have been an attempt of this append, whose reply was lost */
};

/* error: BH_EUNAVAIL (not appended), BH_EIO (lost, or on too few replicas: maybe appended, repeat
 * it with its id), BH_ENOMEM (Redis is out of memory), BH_EDENIED (refused, with why), BH_ETOOBIG
 * (the offsets have ended). appended: NULL with an error. */
typedef void (*bh_appended_cb)(void *ud, bh_handle handle, int error,
                               const struct bh_appended *appended, const char *why);

#define BH_PAGE_LIMIT     100 /* messages, unless the query says otherwise */
#define BH_PAGE_LIMIT_MAX 1000
#define BH_PAGE_BYTES     (1024 * 1024) /* of payloads */

/* A page, newest or oldest first; for people and backends: partial is fine. */
struct bh_page_query {
    struct bh_topic topic;
    struct bh_position from; /* epoch 0: from the end where the order begins */
    bool ascending;          /* behind `from`, oldest first; else before it, newest first */
    uint32_t limit;
    size_t bytes;
};
/* gap: `from` is unknown or its messages are not kept; the page begins with the oldest. */
typedef void (*bh_page_cb)(void *ud, bh_handle handle, int error, struct bh_range *page, bool gap,
                           bool more, const char *why);

typedef void (*bh_removed_cb)(void *ud, bh_handle handle, int error, int64_t removed,
                              const char *why);

/* The tops of several streams: epoch 0 where it is not known. Borrowed. */
typedef void (*bh_tops_cb)(void *ud, bh_handle handle, int error, const struct bh_position *tops,
                           size_t count);

/* --- the port --- */

struct bh_history;

struct bh_history_vt {
    /* Bus thread, after the broker's start and before its stop. */
    int (*start)(struct bh_history *h, struct bh_loop *bus);
    void (*stop)(struct bh_history *h); /* completes what is open with BH_EIO */
    int (*worker_start)(struct bh_history *h, unsigned worker, struct bh_loop *loop,
                        struct bh_mailbox *mailbox);
    void (*worker_stop)(struct bh_history *h, unsigned worker); /* as stop */

    /* Bus thread. The messages behind `since`; more than `limit` entries or `bytes` are a gap. */
    void (*read)(struct bh_history *h, const struct bh_topic *topic,
                 const struct bh_history_rule *rule, struct bh_position since, uint32_t limit,
                 size_t bytes, bh_range_cb done, void *ud, bh_handle handle);
    /* Bus thread; at most BH_HISTORY_TOPS_MAX topics. */
    void (*tops)(struct bh_history *h, const struct bh_topic *topics, size_t count, bh_tops_cb done,
                 void *ud, bh_handle handle);

    /* Worker thread. Appends and publishes m, which has an id; its position is the result's, not
     * its own. collapse: key, or empty. publish_timeout as for the broker. */
    void (*append)(struct bh_history *h, unsigned worker, struct bh_message *m,
                   const struct bh_history_rule *rule, struct bh_slice collapse,
                   bh_appended_cb done, void *ud, bh_handle handle);
    void (*page)(struct bh_history *h, unsigned worker, const struct bh_page_query *query,
                 bh_page_cb done, void *ud, bh_handle handle);
    /* offset 0: all. The instances are told by PURGE. */
    void (*remove)(struct bh_history *h, unsigned worker, const struct bh_topic *topic,
                   struct bh_position position, bh_removed_cb done, void *ud, bh_handle handle);
    /* Any thread; may be NULL. 0, or BH_EUNAVAIL and *why, valid as long as the history: it is
     * refused, and an operator has to put that right. */
    int (*ready)(const struct bh_history *h, const char **why);
    void (*free)(struct bh_history *h); /* after all stops; no thread runs */
};

#define BH_HISTORY_TOPS_MAX 500

struct bh_history {
    const struct bh_history_vt *vt;
};

#endif
