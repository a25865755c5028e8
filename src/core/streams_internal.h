/* streams_internal.h - one stream, shared by the streams_*.c files. Calls go one way:
 * streams -> check -> read -> answer -> order -> window. Thread: the bus. */
#ifndef BELLHOP_SRC_CORE_STREAMS_INTERNAL_H
#define BELLHOP_SRC_CORE_STREAMS_INTERNAL_H

#include "streams.h"

enum bh_stream_work {
    BH_STREAM_IDLE, /* its timer may run: the next check, or a read that is put off */
    BH_STREAM_CHECK_QUEUED,
    BH_STREAM_CHECKING,
    BH_STREAM_READ_QUEUED,
    BH_STREAM_READING,
};

struct bh_stream {
    struct bh_streams *streams;
    const struct bh_history_rule *rule;
    bh_handle handle;
    struct bh_position known; /* everything up to it was dispatched; epoch 0: unknown */
    uint8_t work;             /* enum bh_stream_work */
    uint8_t shard;
    uint8_t failures; /* in a row */
    uint8_t holes;    /* reads in a row that have left a hole */
    bool live;        /* its subscription */
    bool told_live;   /* the interest map knows */
    bool doubted;     /* of the tail something may have been removed: nobody is answered */
    bool absent;      /* nothing was there: what comes begins at offset 1 */
    bool unsure;      /* messages may have been lost while the position was unknown */
    bool behind;      /* the log has more than `known`, or another epoch */
    bool pending;     /* a worker was told that the position is unknown */
    bool recheck;     /* after what is under way */
    bool put_off;     /* the timer is for a read or a retry; nothing hurries it */
    bool healing;     /* the current read is for `behind` */
    bool urgent;      /* in reads_first */
    bool raw_logged;
    struct bh_list queue; /* in one of reads_first, reads, checks */
    struct bh_timer timer;

    /* The last messages, contiguous up to `known`: a ring. */
    struct bh_list window; /* in streams->window while the tail is not empty */
    struct bh_message **tail;
    uint32_t tail_cap, tail_first, tail_count;
    size_t tail_bytes;
    uint64_t tail_ms;        /* when it was last appended to */
    struct bh_range *shared; /* the answer to requests, while `known` is its top */

    struct bh_message **held; /* messages that do not follow */
    uint32_t held_count, held_cap;
    uint32_t held_judged; /* those that were there when the current read began */
    size_t held_bytes;

    struct bh_list waiting;   /* requests */
    struct bh_list answering; /* in streams->answering while some can be answered now */
    struct bh_position asked; /* of the current read */
    size_t asked_bytes;
    struct bh_position latest; /* of a rule `latest`: where to read from */
    struct bh_position gap;    /* up to here nothing can be read, with gap_bytes */
    size_t gap_bytes;

    uint16_t len;
    char name[];
};

static inline struct bh_slice bh_stream_name(const struct bh_stream *s) {
    return bh_slice(s->name, s->len);
}

/* --- streams_window.c: the tails --- */

/* The message is at s->known; takes a reference. */
void bh_stream_tail_push(struct bh_stream *s, struct bh_message *m);
/* Makes the tail begin behind r->since, when r ends in it; s->known is at r->top or behind. */
void bh_stream_tail_extend(struct bh_stream *s, struct bh_range *r);
/* After the answers: what the limits do not allow to keep goes. */
void bh_stream_tail_settle(struct bh_stream *s);
void bh_stream_tail_clear(struct bh_stream *s);
/* The log is at `top`: what it has is read again if the tail is doubted. What it has lost only the
 * tail has, which is kept. */
void bh_stream_tail_judge(struct bh_stream *s, struct bh_position top);
/* What is behind offset, up to s->known, with a reference; NULL: the tail does not reach there. The
 * range may begin earlier. Not for s->known itself. */
struct bh_range *bh_stream_tail_range(struct bh_stream *s, uint64_t offset);
/* Entries were removed: they become tombstones, and so do those that are held. */
void bh_stream_purge(struct bh_stream *s, const struct bh_message *purge);
/* A message of that kind about s, without payload if why is NULL. */
struct bh_message *bh_stream_note(const struct bh_stream *s, enum bh_message_kind kind,
                                  struct bh_position at, const char *why);

/* --- streams_order.c: what is dispatched --- */

/* Its subscription is live, and its position known, or cannot be read: connections that wait for
 * the topic are open. What is published to them is behind that position, although tops and messages
 * come by different links. */
void bh_stream_tell_live(struct bh_stream *s);
void bh_stream_message(struct bh_stream *s, struct bh_message *m);
/* The top is `top`, and nothing behind it was dispatched. */
void bh_stream_learn(struct bh_stream *s, struct bh_position top);
/* The same, as it was read. Clients that were open before, because it could not be, may have been
 * sent messages up to it that have not come: a gap. */
void bh_stream_learn_top(struct bh_stream *s, struct bh_position top);
/* A read from `asked` has found r. Sets s->behind if more must be read. */
void bh_stream_apply(struct bh_stream *s, struct bh_range *r);
void bh_stream_forget_held(struct bh_stream *s);
static inline bool bh_stream_must_heal(const struct bh_stream *s) {
    return s->known.epoch && (s->behind || s->held_count);
}

/* --- streams_answer.c: requests --- */

/* True: it is answered. Else it waits. */
bool bh_stream_ask(struct bh_stream *s, struct bh_stream_request *r);
/* Answers what can be answered from the tail and from r, which was read from s->asked (NULL: no
 * read has ended). If they are many the rest follows in the next turn of the loop. */
void bh_stream_answer(struct bh_stream *s, struct bh_range *r);
/* Where to read from for those that wait; false: none of them needs a read. epoch 0: without a
 * position. */
bool bh_stream_wanted(const struct bh_stream *s, struct bh_position *since, size_t *bytes);
/* The stream has ended, or there is none. */
void bh_stream_refuse_all(struct bh_stream *s);
void bh_stream_request_refuse(struct bh_stream_request *r);
void bh_streams_on_deadline(struct bh_timer *t);

/* --- streams_read.c: reads, a few at a time --- */

/* What is to be done for it: a read or a check is queued, or its timer set. Nothing while one is
 * under way, which calls this when it ends. */
void bh_stream_next(struct bh_stream *s);
/* As next, when something has turned out to be missing. */
void bh_stream_heal(struct bh_stream *s);
void bh_stream_queue_check(struct bh_stream *s);
/* A read or a check has failed. */
void bh_stream_retry(struct bh_stream *s, const char *what, int error, const char *why);
void bh_stream_on_timer(struct bh_timer *t);
/* Neither queued nor timed; what is under way completes. */
void bh_stream_rest(struct bh_stream *s);
void bh_streams_pump_reads(struct bh_streams *st);

/* --- streams_check.c: the tops of streams without traffic --- */

void bh_streams_pump_checks(struct bh_streams *st);

#endif
