/* streams.h - the order of each stream on this instance.
 *
 * One object of the bus, beside the interest map: a stream for each topic with history that the
 * broker is asked to subscribe. It knows the position up to which everything was dispatched.
 * A message that follows is dispatched, an older one dropped; a later one is held and what is
 * missing read (healing). Topics without traffic have their tops compared.
 *
 * Everything of a stream goes to a worker through its one mailbox in order: messages, GAP, REWOUND,
 * TOMBSTONE (the position has moved), and the answers to requests. So an answer holds exactly what
 * was dispatched to the worker before it. While the history cannot be read nothing is told; it is
 * tried until it can. Thread: the bus. */
#ifndef BELLHOP_SRC_CORE_STREAMS_H
#define BELLHOP_SRC_CORE_STREAMS_H

#include "bellhop/base/map.h"
#include "bellhop/core/node.h"

#define BH_STREAM_READS_PER_SECOND 2000
#define BH_STREAM_READS_MAX        64 /* under way */
#define BH_STREAM_CHECK_MS         30000
#define BH_STREAM_HELD_MAX         1000 /* messages of one stream */
#define BH_STREAM_HELD_BYTES       (1024 * 1024)
#define BH_STREAM_HELD_BYTES_ALL   (16 * 1024 * 1024)

struct bh_streams {
    struct bh_node *node;
    struct bh_map map;
    struct bh_slots handles;
    bool stopped;

    struct bh_list reads_first; /* healing, and streams whose epoch is not known */
    struct bh_list reads;       /* of clients that come back */
    struct bh_list checks;
    unsigned reading, checking; /* under way */
    uint64_t budget_ms;         /* when the number of reads allowed was computed */
    unsigned budget;
    struct bh_defer pump;
    struct bh_timer pump_later;

    struct bh_list window; /* streams with a tail, the longest unused first */
    size_t window_bytes;
    size_t held_bytes;

    struct bh_list answering; /* streams with more answers than fit into a turn of the loop */
    struct bh_defer answer_more;
    struct bh_list requests; /* waiting, the oldest first */
    struct bh_timer deadline;
};

/* A worker asks for what a subscriber has missed. Heap; the sender's until it is posted, then the
 * bus', then given to `done` on the worker's thread, which frees it with bh_stream_request_free.
 * Without an answer when the node stops. */
struct bh_stream_request {
    struct bh_mail mail; /* fn: bh_streams_on_request */
    struct bh_worker *worker;
    void (*done)(struct bh_stream_request *r);
    bh_handle subscriber;
    uint32_t ticket;
    struct bh_topic topic;
    struct bh_position since; /* in, epoch 0: none; out: the messages are those behind it */
    size_t bytes;             /* that the subscriber has room for */

    struct bh_list waiting, by_age; /* the bus' */
    uint64_t until_ms;
    unsigned reads; /* that have not answered it */
    bool covered;   /* it was there when the current read began */

    struct bh_position top; /* up to which the worker has been sent everything; may be unknown */
    struct bh_range *range; /* a reference; may begin before `since`; NULL: nothing is missing */
    const char *gap;        /* BH_GAP_...; NULL: none */
    bool rewound;
};

/* Zeroed, but for these. */
struct bh_stream_request *bh_stream_request_new(struct bh_worker *w, const struct bh_topic *topic);
void bh_stream_request_free(struct bh_stream_request *r);

void bh_streams_init(struct bh_streams *st, struct bh_node *node);
void bh_streams_stop(struct bh_streams *st); /* before the history's; frees the requests */
void bh_streams_deinit(struct bh_streams *st);

/* From the interest map. */
void bh_streams_added(void *streams, struct bh_slice topic, bool live);
void bh_streams_gone(void *streams, struct bh_slice topic);
/* From the broker. */
/* True: it is a stream, whose topic is live for the interest map when its position is known, too
 * (bh_stream_tell_live). */
bool bh_streams_live(struct bh_streams *st, struct bh_slice topic);
/* Its subscription alone was lost, and will be live again. */
void bh_streams_lost(struct bh_streams *st, struct bh_slice topic);
void bh_streams_shard_down(struct bh_streams *st, unsigned shard);
/* A message with a position. False: its topic is no stream here. */
bool bh_streams_message(struct bh_streams *st, struct bh_message *m);
/* A plain PUBLISH: counted if its topic is a stream. */
void bh_streams_raw(struct bh_streams *st, const struct bh_message *m);
/* From a worker, on the bus. */
void bh_streams_on_request(struct bh_mail *mail);

#endif
