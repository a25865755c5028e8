/* subscriber.h - a connection as core sees it: an identity, topics, and verbs.
 *
 * Embedded in the connection itself (edge's WebSocket connection, a fake in tests). It belongs to
 * one worker and is used on that worker's thread only. The owner registers it with bh_node_open
 * and, after bh_node_close, frees it in the reap phase. Completions and Lua objects hold its handle
 * and look it up with bh_worker_subscriber. */
#ifndef BELLHOP_CORE_SUBSCRIBER_H
#define BELLHOP_CORE_SUBSCRIBER_H

#include "bellhop/base/slots.h"
#include "bellhop/core/message.h"

struct bh_resumption;
struct bh_subscriber;
struct bh_worker;
struct bh_hub_topic;

struct bh_subscriber_vt {
    /* Queues a shared message for the client. 0; BH_ECLOSED; BH_ETOOBIG when the client is too
     * slow, so that the message is dropped or the connection closed. Must not block and must not
     * free the subscriber. */
    int (*deliver)(struct bh_subscriber *s, struct bh_message *m);
    /* Queues bytes for this client only; text must be valid UTF-8 (BH_EUTF8). */
    int (*send)(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data);
    /* Starts the close handshake; the reason is cut to 123 bytes. No effect when closing already.
     */
    void (*close)(struct bh_subscriber *s, unsigned code, struct bh_slice reason);
    /* Bytes queued and not yet accepted by the kernel. */
    size_t (*queued)(const struct bh_subscriber *s);
    /* Back-pressure from the hooks: false stops reading from the client, true resumes. */
    void (*read)(struct bh_subscriber *s, bool on);
    /* The peer's IP as text; the subprotocol (empty: none). Valid while the subscriber is open. */
    struct bh_slice (*ip)(struct bh_subscriber *s, char buffer[64]);
    struct bh_slice (*protocol)(const struct bh_subscriber *s);

    /* --- clients that resume (SSE, format=json): all are NULL for others --- */

    /* Once, before the first message with a position, when all its streams were read: whether it
     * gets everything behind the positions that it gave. False also when it gave none. Gaps and
     * rewinds, each before the messages of its stream, and the messages follow before the call of
     * the core ends; meanwhile bh_subscriber_resume_text is that of the client, not of the worker.
     */
    void (*recovered)(struct bh_subscriber *s, bool complete);
    /* Messages of the topic are missing for this client; why is a constant (BH_GAP_... in
     * history.h). */
    void (*gap)(struct bh_subscriber *s, struct bh_slice topic, const char *why);
    /* It may get messages of the topic again, or has seen some that Redis has lost. */
    void (*rewound)(struct bh_subscriber *s, struct bh_slice topic);
    /* The bytes of missed messages that it may be given in one turn: half its queue. More are a
     * gap. NULL: 1 MiB. */
    size_t (*room)(const struct bh_subscriber *s);
    /* It may not join this topic, which it named, so the opening ends with BH_EDENIED. status and
     * why are those of on_subscribe; 403 if nobody has decided. */
    void (*refused)(struct bh_subscriber *s, struct bh_slice topic, int status,
                    struct bh_slice why);
};

struct bh_link {
    struct bh_hub_topic *topic;
    uint32_t index; /* of this subscriber in the topic's array */
} __attribute__((packed, aligned(4)));

/* User, tenant, `all`: enough for most subscribers. */
#define BH_SUBSCRIBER_TOPICS_FEW 3

struct bh_tag {
    struct bh_slice name, value;
};

/* Limits of this connection that override the configured ones; 0: as configured. */
struct bh_identity_limits {
    uint32_t messages_per_second, bytes_per_second, queue_bytes;
};

/* Who the client is. One heap block: the struct, then everything it points to. Immutable, except
 * expires. */
struct bh_identity {
    struct bh_slice user, tenant, device; /* empty: none */
    int64_t expires;                      /* Unix seconds; 0: never */
    const struct bh_slice *topics;        /* ids of topics to join, checked */
    const struct bh_tag *tags;
    uint32_t topic_count, tag_count;
    struct bh_identity_limits limits;
    /* The last ones of topics are named by the client: if one is refused, the opening fails
     * (vt->refused). The last ones of these it did not have: on_subscribe must answer true. */
    uint16_t named, gained;
};

/* Copies everything; checks the ids: 0, or BH_EINVAL with *why. Free with bh_identity_free. */
int bh_identity_new(const struct bh_identity *parts, struct bh_identity **out, const char **why);
void bh_identity_free(struct bh_identity *identity);

/* The topics of one subscriber at a time; an identity has fewer. */
#define BH_SUBSCRIBER_TOPICS_MAX 1024

/* The fields that a delivery needs are at the end. */
struct bh_subscriber {
    union { /* the hub's; see bh_subscriber_links */
        struct bh_link few[BH_SUBSCRIBER_TOPICS_FEW];
        struct bh_link *many;
    } __attribute__((packed, aligned(4)));
    uint32_t link_count : 15, link_cap : 16; /* of `many`; 0: few */
    uint32_t closing : 1;                    /* inside bh_node_close */
    int64_t opened_at;                       /* Unix milliseconds */
    void *script;                            /* belongs to the hooks; NULL: nothing */
    struct bh_resumption *resumption;        /* of a client that resumes (recovery.h); NULL: none */
    bh_handle handle;
    struct bh_identity *identity; /* owned; NULL until bh_node_open */
    struct bh_worker *worker;
    uint64_t number; /* random, unique in the cluster; for `except` and the connection id */
    const struct bh_subscriber_vt *vt;
};

/* What is prefetched of its owner, counted from the subscriber, before a delivery. */
#define BH_SUBSCRIBER_HOT_FROM ((ptrdiff_t)offsetof(struct bh_subscriber, number))
#define BH_SUBSCRIBER_HOT_TO   (BH_SUBSCRIBER_HOT_FROM + 192)

/* Its topics, link_count of them. */
static inline const struct bh_link *bh_subscriber_links(const struct bh_subscriber *s) {
    return s->link_cap ? s->many : s->few;
}

/* The connection id that users see: the number in base64url. */
#define BH_CONNECTION_ID_LEN 11
void bh_connection_id(uint64_t number, char out[BH_CONNECTION_ID_LEN + 1]);
/* 0 or BH_EINVAL. */
int bh_connection_number(struct bh_slice id, uint64_t *number);

#endif
