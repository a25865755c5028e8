/* recoveries.h - the worker's part of streams: where each is, and the clients that come back.
 *
 * A stream has a place here while a client that resumes is in its topic. A client's stream set is
 * shared with all that have the same streams; while it is being given what it missed it has a
 * recovery of its own, and nothing in the steady state. Calls go one way: open -> join -> flush ->
 * deliver -> recovery. Thread: the worker's. */
#ifndef BELLHOP_SRC_CORE_RECOVERIES_H
#define BELLHOP_SRC_CORE_RECOVERIES_H

#include "bellhop/core/recovery.h"

#include "streams.h"

struct bh_place {                /* of a stream */
    struct bh_position position; /* up to which this worker was sent everything; epoch 0: unknown */
    uint64_t moved;              /* when it has last changed: a count of the worker's */
    uint64_t hash;               /* bh_topic_hash of the name */
    unsigned sets;               /* that contain it */
    unsigned recovering;         /* subscribers that are not given its messages directly */
    uint16_t len;
    char name[];
};

struct bh_stream_set {
    unsigned refs, count;
    char *text; /* NULL: none yet */
    size_t text_len;
    uint64_t text_moves;       /* of `text` */
    struct bh_place *places[]; /* in the order of their addresses */
};

enum bh_missed_state {
    BH_MISSED_NONE,     /* a free slot */
    BH_MISSED_ASKED,    /* messages that arrive are in the answer */
    BH_MISSED_ANSWERED, /* messages that arrive wait */
};

struct bh_missed { /* of one stream */
    enum bh_missed_state state;
    uint32_t ticket; /* of the request */
    struct bh_place *place;
    struct bh_position at;  /* what the client has; epoch 0: unknown */
    struct bh_position top; /* of the answer */
    struct bh_range *range; /* what is behind `from` in it */
    uint64_t from;
    size_t bytes; /* of that */
    const char *gap;
    bool rewound;
};

struct bh_arrived {
    struct bh_place *place; /* NULL: left meanwhile */
    struct bh_message *message;
};

struct bh_recovery {
    struct bh_list ready; /* in the worker's list when it can be given everything */
    struct bh_subscriber *subscriber;
    struct bh_resume since; /* what the client gave */
    unsigned joins;         /* that are not done */
    bool flushing, closed;
    size_t bytes; /* that wait, in ranges and `arrived` */
    struct bh_missed missed[BH_RESUME_TOPICS_MAX];
    struct bh_arrived *arrived;
    size_t arrived_count, arrived_cap;
};

struct bh_resumption {
    struct bh_stream_set *set;    /* NULL: no streams */
    struct bh_recovery *recovery; /* NULL: all is live */
    bool told;                    /* vt->recovered was called */
    uint32_t moves;               /* of its own, in all its recoveries */
};

struct bh_recoveries {
    struct bh_map places;
    struct bh_map sets;
    struct bh_list ready;
    struct bh_defer flush;
    struct bh_loop *loop;
    uint64_t moves;
    uint32_t ticket;
};

/* recovery.c */
void bh_recoveries_init(struct bh_worker *w, void (*on_flush)(struct bh_defer *d));
void bh_recoveries_stop(struct bh_worker *w);
void bh_recoveries_deinit(struct bh_worker *w); /* the subscribers have been closed */
struct bh_place *bh_place_find(const struct bh_worker *w, struct bh_slice topic);
void bh_place_move(struct bh_worker *w, struct bh_place *p, struct bh_position to);
/* The set of these streams, with a reference; NULL for none. Sorts them. */
struct bh_stream_set *bh_stream_set_of(struct bh_worker *w, struct bh_place **places,
                                       unsigned count);
void bh_stream_set_unref(struct bh_worker *w, struct bh_stream_set *set);
/* Freed with the last set that contains it. */
struct bh_place *bh_place_find_or_new(struct bh_worker *w, struct bh_slice topic);
struct bh_missed *bh_recovery_missed(struct bh_recovery *r, const struct bh_place *place);
/* A message of the stream for this subscriber: true if it is not to be given it now. */
bool bh_recovery_takes(struct bh_subscriber *s, struct bh_place *place, struct bh_message *m);
/* Drops what waits for it. */
void bh_missed_drop(struct bh_recovery *r, struct bh_missed *m);
/* The place of one of its streams; NULL: it is none. */
struct bh_place *bh_subscriber_place(const struct bh_subscriber *s, struct bh_slice topic);
void bh_subscriber_tell_rewound(struct bh_subscriber *s, struct bh_slice topic);
size_t bh_subscriber_room(const struct bh_subscriber *s);
void bh_recovery_free(struct bh_recovery *r);

/* recovery_flush.c */
void bh_recoveries_on_flush(struct bh_defer *d);
void bh_recovery_on_answer(struct bh_stream_request *r);
/* Queues it if everything has come. */
void bh_recovery_check(struct bh_recovery *r);

/* recovery_join.c */
/* A subscriber that resumes is about to join topics. */
void bh_recovery_begin(struct bh_subscriber *s);
void bh_recovery_set_since(struct bh_subscriber *s, const struct bh_resume *since);
/* 0, or BH_ETOOBIG: with these topics it would be in too many streams. */
int bh_recovery_fits(const struct bh_subscriber *s, struct bh_topic *const *topics, unsigned count);
/* It has joined the topic, and the bus was told. */
void bh_recovery_join(struct bh_subscriber *s, const struct bh_topic *topic);
void bh_recovery_joined(struct bh_subscriber *s); /* as often as begin */
void bh_recovery_leave(struct bh_subscriber *s, struct bh_slice topic);
void bh_recovery_close(struct bh_subscriber *s);

#endif
