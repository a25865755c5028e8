/* history_model.h - what a stream is, said as plainly as possible, to compare a history with.
 *
 * A stream is an epoch, a number of messages so far (top), and a list of the entries that are kept,
 * each with its offset. Nothing here is fast, and nothing is shared with the code under test. The
 * model does not know epochs: a test takes them from the history, and the model only says when a
 * new one begins (`life` changes). Times are milliseconds of any one clock.
 *
 * The rules, of the library in Redis as of the memory:
 *
 *   append   a known id (younger than ids_ms, of this life of the stream) changes nothing and gives
 *            its old position. Else: a log whose last append is longer ago than ttl is emptied; the
 *            entry gets offset top + 1; an entry that is kept and was appended with the same
 *            collapse key, and was not removed, becomes a tombstone; then the oldest entries go
 *            while there are more than `size`, or more than `bytes` bytes, but never the last one.
 *   read     without a position: new. Of another epoch, or beyond the top: a gap. Nothing behind
 *            the position: ok. Positions below the floor are the floor. More entries than are kept,
 *            than the limit, or than the bytes: a gap. Else all entries behind it.
 *   latest   a read gives the entry, unless the position is the top: ok, whatever the position.
 *   page     entries that are not tombstones and not expired, from a position up or down.
 *   remove   one entry becomes a tombstone; or all go, and the floor is the top.
 *   time     ttl after the last append no entry is kept; position_ttl after it (or after the first
 *            read) the stream is gone, and the next one has another epoch and begins with 1. */
#ifndef BELLHOP_TESTS_SUPPORT_HISTORY_MODEL_H
#define BELLHOP_TESTS_SUPPORT_HISTORY_MODEL_H

#include "bellhop/core/history.h"

#define MODEL_ENTRIES 4096 /* appends in one life */
#define MODEL_IDS     64
#define MODEL_KEYS    8

struct model_entry {
    bool data;         /* else a tombstone */
    int key;           /* of collapse; -1: none */
    size_t bytes;      /* of the entry, 48 of a tombstone */
    uint64_t until_ms; /* 0: it does not expire */
    unsigned number;   /* what its payload says */
};

struct model_stream {
    bool there;
    unsigned life;
    uint64_t top, floor, first; /* first: the oldest that is kept; top + 1: none */
    uint64_t last_ms;
    const struct bh_history_rule *rule;
    struct model_entry entries[MODEL_ENTRIES]; /* by offset */
    struct {
        uint64_t offset, at_ms; /* offset 0: unknown */
    } ids[MODEL_IDS];
};

struct model {
    uint64_t ids_ms;
    uint64_t now_ms;
    struct model_stream stream;
};

struct model_result {
    enum bh_history_outcome outcome;
    uint64_t top, since;
    size_t count;
    uint64_t offsets[MODEL_ENTRIES];
    bool gap, more; /* of a page */
};

/* Whether the stream has expired; called by the others. */
void model_pass(struct model *m);
/* Returns its offset. id, key: -1: none. */
uint64_t model_append(struct model *m, const struct bh_history_rule *rule, int id, int key,
                      size_t bytes, uint64_t ttl_ms, unsigned number, bool *known);
/* known: the epoch of the position is that of the stream; epoch_given: there is a position. */
void model_read(struct model *m, const struct bh_history_rule *rule, bool epoch_given, bool known,
                uint64_t offset, uint32_t limit, size_t bytes, struct model_result *out);
void model_page(struct model *m, bool ascending, bool epoch_given, bool known, uint64_t offset,
                uint32_t limit, size_t bytes, struct model_result *out);
/* offset 0: all. */
int64_t model_remove(struct model *m, bool known, uint64_t offset);

/* --- random operations on a history and the model, whose results must be the same --- */

struct model_play {
    struct bh_history *history; /* started, with worker 0 */
    struct bh_loop *loop;       /* of both */
    const char *topic;
    const struct bh_history_rule
        *rules; /* one is chosen for each life of the stream, at times another */
    size_t rule_count;
    uint64_t ids_ms;
    uint64_t (*now_ms)(void);
    void (*pass)(uint64_t ms); /* time; NULL: it does not pass */
    uint64_t pass_max_ms;      /* at most so much in one step */
};

/* Fails the test at the first difference. The stream must not be there yet. */
void model_play(const struct model_play *play, unsigned steps);

#endif
