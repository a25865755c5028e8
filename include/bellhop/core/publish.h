/* publish.h - a publish on its way in: the mutable request, before it becomes a message.
 *
 * The publisher (an HTTP request, a script, a client protocol) fills one in and gives it to
 * bh_node_publish, which runs the on_publish hook on it and then makes the immutable message. Plain
 * data on the publisher's worker thread; data and filter are counted references owned by the
 * struct.
 */
#ifndef BELLHOP_CORE_PUBLISH_H
#define BELLHOP_CORE_PUBLISH_H

#include "bellhop/base/buf.h"
#include "bellhop/base/id.h"
#include "bellhop/base/slots.h"
#include "bellhop/core/position.h"
#include "bellhop/core/strategy.h"
#include "bellhop/core/topic.h"

enum bh_source { BH_SOURCE_HTTP, BH_SOURCE_SCRIPT, BH_SOURCE_CLIENT };

/* DEFAULT: appended if the topic is a stream. */
enum bh_publish_history {
    BH_PUBLISH_HISTORY_DEFAULT,
    BH_PUBLISH_HISTORY_OFF,
    BH_PUBLISH_HISTORY_ON
};

#define BH_COLLAPSE_MAX 128 /* bytes of a collapse key */

struct bh_message;

struct bh_publish {
    struct bh_buf *data;     /* changed by bh_publish_set_data only */
    struct bh_buf *filter;   /* packed (filter.h); NULL: none */
    uint8_t opcode;          /* enum bh_opcode; text must be valid UTF-8 */
    uint8_t strategy;        /* enum bh_strategy */
    uint8_t source;          /* enum bh_source */
    uint8_t priority;        /* set by the publisher; for scripts */
    bool utf8_checked;       /* data is known to be valid UTF-8 */
    bool id_given;           /* the publisher chose the id: idempotent */
    uint8_t history;         /* enum bh_publish_history */
    bool skip_hook;          /* published inside on_publish, which does not run again */
    uint32_t ttl_s;          /* 0: no expiry */
    uint64_t except;         /* connection number, 0 none */
    unsigned attempt;        /* retries by on_offline so far */
    uint64_t from;           /* for BH_SOURCE_CLIENT: the connection's number */
    struct bh_buf *collapse; /* the key of what it replaces; NULL: none */
    /* A retry by on_offline: this message is in the history, and is not appended again; only
     * whether somebody has come meanwhile is looked at. Owned; NULL: none. */
    struct bh_message *stored;
    uint8_t id_len;
    char id[BH_MESSAGE_ID_MAX + 1];
    struct bh_topic topic; /* the last: most of it is not used */
};

/* All fields are 0, except the source. */
static inline void bh_publish_init(struct bh_publish *p, enum bh_source source) {
    memset(p, 0, offsetof(struct bh_publish, topic.name));
    p->source = (uint8_t)source;
}
/* With the references; the other one is not used any more. */
static inline void bh_publish_move(struct bh_publish *to, const struct bh_publish *from) {
    memcpy(to, from, offsetof(struct bh_publish, topic) + bh_topic_size(&from->topic));
}

/* Takes over the reference; gives the old one back. */
static inline void bh_publish_set_data(struct bh_publish *p, struct bh_buf *data) {
    bh_buf_unref(p->data);
    p->data = data;
    p->utf8_checked = false;
}
/* The key is valid UTF-8 of 1 to BH_COLLAPSE_MAX bytes without control characters: 0, or BH_EINVAL
 * with *why. */
int bh_publish_set_collapse(struct bh_publish *p, struct bh_slice key, const char **why);
/* Releases its references; for a publish that is not given to the node. */
void bh_publish_release(struct bh_publish *p);

/* As of that moment: DELIVERED, a socket of this instance received it; PUBLISHED, none here, but
 * other instances accepted it (they are subscribed, or were within the linger time); OFFLINE, it
 * reached nobody;
 * STORED, it reached nobody, and is in the topic's history (of a duplicate there: always). */
enum bh_publish_status {
    BH_PUBLISH_DELIVERED,
    BH_PUBLISH_PUBLISHED,
    BH_PUBLISH_OFFLINE,
    BH_PUBLISH_STORED
};

/* The result. `id` and `why` are valid during the callback. A publish to a stream has been
 * appended, and is delivered by its echo; its duplicates have the first position. error: 0
 * accepted; BH_EINVAL bad request; BH_EDENIED a hook refused (why = its reason); BH_ESCRIPT the
 * hook failed; BH_EUTF8; BH_ETOOBIG; BH_EUNAVAIL the broker is not connected; BH_EIO the connection
 * was lost meanwhile; BH_ENOMEM: with the strategy DURABLE the history is full, and nothing was
 * done, else there is no memory for the payload. With BH_EUNAVAIL and BH_EIO local sockets may have
 * received it already; repeating it with the same id is safe. */
struct bh_publish_result {
    int error;
    const char *why;
    struct bh_slice id;
    bool duplicate;                /* known id: nothing was delivered again */
    enum bh_publish_status status; /* without error; of a duplicate, that of the first publish */
    int64_t instances; /* that accepted it, including this one if it has sockets for it */
    int64_t local; /* sockets of this instance that received it (or will, by the broker's echo) */
    struct bh_position position; /* in the topic's history; epoch 0: none */
    enum bh_strategy strategy;   /* that was used; DEFAULT with an error before the plan */
};

/* "delivered", "published", "offline" or "stored", for a result without error. */
const char *bh_publish_status_name(const struct bh_publish_result *result);

/* Exactly once, on the publisher's worker thread, maybe before the call returns. */
typedef void (*bh_published_cb)(void *ud, bh_handle handle, const struct bh_publish_result *result);

#endif
