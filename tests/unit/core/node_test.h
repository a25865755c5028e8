/* node_test.h - a node in one process: bus and workers share a loop that the test ticks; the
 * broker, the hooks and the subscribers are fakes that record their calls. */
#ifndef BELLHOP_TESTS_UNIT_NODE_TEST_H
#define BELLHOP_TESTS_UNIT_NODE_TEST_H

#include "bellhop/base/log.h"
#include "bellhop/core/node.h"
#include "local_tracker.h"

#include "core_test.h"

#define LINGER      1000
#define SEEN_MS     60000
#define PAYLOAD_MAX 1000

struct fake_broker {
    struct bh_broker broker;
    struct bh_broker_vt vt;
    struct bh_broker_sink sink;
    struct bh_mailbox *bus;
    bool live_at_once, echo, hold;
    int start_error, publish_error;
    char calls[4096];        /* "+user:1 -user:1 " */
    int64_t receivers;       /* what a publish that succeeds answers */
    unsigned published;      /* how often publish was called */
    struct bh_message *last; /* what was published last */
    bh_broker_published_cb held;
    void *held_ud;
    bh_handle held_handle;
};

void fake_broker_init(struct fake_broker *f, bool shared);
void fake_stop(struct bh_broker *b);

struct sub {
    struct bh_subscriber s;
    char got[1024]; /* "payload payload " */
    unsigned closes, code;
    char reason[64];
    void (*on_deliver)(struct sub *sub, struct bh_message *m);
};

extern const struct bh_subscriber_vt sub_vt;
int sub_send(struct bh_subscriber *s, enum bh_opcode opcode, struct bh_slice data);
/* As the edge does it: leaves the node at once. */
void sub_close(struct bh_subscriber *s, unsigned code, struct bh_slice reason);

struct fake_hooks {
    struct bh_hooks hooks;
    struct bh_hooks_vt vt;
    char log[1024];
    bool refuse, hold; /* on_subscribe, on_publish */
    int publish_error;
    void (*on_unsubscribe)(struct bh_subscriber *s, struct bh_slice topic);
    void (*on_publish)(struct bh_publish *p);
    void (*on_deliver)(struct bh_subscriber *s, struct bh_message *m);
    void (*on_gap)(struct bh_subscriber *s, struct bh_slice topic, const char *why);
    enum bh_verdict verdict;
    bh_allowed_cb held_allowed;
    void (*held_published)(void *ud, int error, const char *why);
    void *held_ud;
    bh_handle held_handle;
};

/* --- the node --- */

extern struct bh_loop *loop;
extern struct bh_mailbox *bus;
extern struct bh_node *node;
extern struct bh_worker *worker[3];
extern struct fake_broker broker;
extern struct fake_hooks hooks;
extern struct sub subs[8];
extern struct local_tracker tracker;
/* For the next node_up; none by default, and none again after node_down. */
extern struct bh_history *history;
extern struct bh_history_config history_config;

void node_up(unsigned workers, bool shared);
/* t NULL: the local tracker. */
void node_up_with(unsigned workers, bool shared, enum bh_strategy strategy, struct bh_tracker *t);
/* In the order of the daemon: subscribers, node, mailboxes, memory. */
void node_down(void);
int node_teardown(void **state);
/* Installs the fake hooks, with this set of enum bh_hook. */
void with_hooks(unsigned present);
/* Ticks until mail between workers and bus has gone to and fro. */
void settle(void);
void pass(uint64_t ms);

/* --- results --- */

struct answer {
    int count, error;
    bh_handle handle;
    bool duplicate;
    enum bh_publish_status status;
    int64_t instances, local;
    struct bh_position position;
    enum bh_strategy strategy;
    char id[BH_MESSAGE_ID_MAX + 1], why[128];
};

#define assert_answer(a, expected)                                                                 \
    do {                                                                                           \
        assert_int_equal((a).count, 1);                                                            \
        assert_int_equal((a).error, expected);                                                     \
    } while (0)

void on_joined(void *ud, bh_handle handle, int error);
void on_published(void *ud, bh_handle handle, const struct bh_publish_result *r);

/* --- connections --- */

struct bh_identity *identity(const char *user, const char *tenant, const char *topic);
void open_sub(unsigned w, struct sub *sub, const char *user, struct answer *a);
/* The broker confirms all topics of a connection that is being opened. */
void all_live(const char *user, const struct answer *a);
/* Opens it, with all topics live. */
void opened(unsigned w, struct sub *sub, const char *user);

/* --- messages --- */

struct bh_publish publish_of(const char *topic, const char *payload);
void with_id(struct bh_publish *p, const char *id);
void publish(unsigned w, struct bh_publish p, struct answer *a);
struct answer publish_and_settle(unsigned w, struct bh_publish p);
/* As if another instance had published it. */
void arrives(const char *topic, const char *payload, const char *id, uint8_t flags);

#define assert_got(sub, expected)                                                                  \
    do {                                                                                           \
        assert_string_equal((sub).got, expected);                                                  \
        (sub).got[0] = '\0';                                                                       \
    } while (0)

#endif
