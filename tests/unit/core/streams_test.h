/* streams_test.h - a history that the test scripts, and clients that resume.
 *
 * The fake keeps a log for each topic with the rules of the real one: epochs, parents, trimming,
 * limits. Its answers come at once, or are held: then the test decides when a call is carried out,
 * and when its answer arrives. What is appended goes to the channel of the test, which delivers,
 * loses and repeats it. */
#ifndef BELLHOP_TESTS_UNIT_STREAMS_TEST_H
#define BELLHOP_TESTS_UNIT_STREAMS_TEST_H

#include "bellhop/core/recovery.h"

#include "node_test.h"

/* --- the log --- */

#define LOG_MAX  4096 /* offsets of one test */
#define CALL_MAX 256

struct log {
    char topic[64];
    uint64_t epoch, top; /* epoch 0: there is nothing */
    uint64_t first;      /* the oldest entry that is kept */
    uint64_t floor;      /* up to there all was removed */
    bool marked;         /* the next append starts an epoch */
    bool forgot;         /* an epoch: a snapshot was older */
    unsigned parents;
    struct {
        uint64_t epoch, begin; /* of the epoch that followed */
    } parent[64];
    uint64_t epochs[LOG_MAX]; /* in which each was appended; 0: a tombstone */
    char text[LOG_MAX][12];   /* payloads */
};

struct call {
    enum { CALL_READ, CALL_TOPS } what;
    struct bh_position since;
    uint32_t limit;
    size_t bytes;
    size_t count;
    struct bh_topic *topics;
    bh_range_cb done_read;
    bh_tops_cb done_tops;
    void *ud;
    bh_handle handle;
    bool carried_out;
    struct bh_range *range;
    struct bh_position *tops;
};

struct fake_history {
    struct bh_history history;
    struct log *logs;
    unsigned log_count, log_cap;
    uint64_t last_epoch;
    bool hold;
    int error; /* of each call */
    unsigned reads, tops, topics_checked;
    struct call calls[CALL_MAX]; /* held */
    unsigned call_count, call_max;
};

/* Called when an epoch begins; NULL: not. */
extern void (*log_on_epoch)(uint64_t epoch, uint64_t parent, uint64_t begin);
extern struct fake_history fake;
extern struct bh_history_rule
    rules[3]; /* user:* size 100; topic:small size 3; topic:state latest */

/* A node with the history; live: subscriptions are at once. */
void streams_up(unsigned workers, bool live);
int streams_teardown(void **state);

struct log *log_of(const char *topic);
/* Appends; returns the message as it comes from the broker, with a reference. */
struct bh_message *log_append(const char *topic, const char *text);
/* The server lost the last n entries, and the next append starts an epoch. */
void log_rewind(const char *topic, unsigned n);
void log_trim(const char *topic, unsigned keep);
/* All entries, on another instance; the message that says so is lost. */
void log_remove_all(const char *topic);

/* Carries out the held call i, as the log is now; then answers it. */
void call_carry_out(unsigned i);
void call_answer(unsigned i);
void call_fail(unsigned i, int error);
void calls_answer_all(void);

/* From the broker; releases m. */
void channel(struct bh_message *m);
/* Appends and delivers it. */
void append(const char *topic, const char *text);
void subscribed(const char *topic);
void lost(const char *topic);
void shard(bool up);

/* --- clients that resume --- */

struct client {
    struct bh_subscriber s;
    char log[2048]; /* "recovered! a b gap:user:1:expired " */
    size_t room;
    void (*on_event)(struct client *c);
    void (*on_gap)(struct client *c, struct bh_slice topic, const char *why);
    void (*on_rewound)(struct client *c, struct bh_slice topic);
    void (*on_message)(struct client *c, struct bh_message *m);
};

extern const struct bh_subscriber_vt client_vt;
extern struct client clients[8];

/* since: "<topic>:<epoch>-<offset>", a comma list; NULL: none. */
struct bh_resume since_of(const char *text);
void client_open(unsigned w, struct client *c, const char *user, const char *topic,
                 const char *since);
void client_close(struct client *c);
/* Its id, with names for hashes: "user:1=1-3 topic:a=2-7", of these names. */
void assert_id(const struct client *c, const char *expected);
#define assert_log(c, expected)                                                                    \
    do {                                                                                           \
        assert_string_equal((c).log, expected);                                                    \
        (c).log[0] = '\0';                                                                         \
    } while (0)

#endif
