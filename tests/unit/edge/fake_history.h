/* fake_history.h - an instance whose history is fake: it keeps the last question, and answers when
 * the test says so. Users, the topic a/b/messages and broadcasts have one. */
#ifndef BELLHOP_TESTS_UNIT_EDGE_FAKE_HISTORY_H
#define BELLHOP_TESTS_UNIT_EDGE_FAKE_HISTORY_H

#include "edge_client.h"

#define KEY "Authorization: Bearer first-key\r\n"

struct fake {
    struct bh_history base;
    int pages, removes;
    struct bh_page_query query;
    struct bh_topic topic;
    struct bh_position position;
    bh_page_cb page_done;
    bh_removed_cb removed;
    void *ud;
    bh_handle handle;
    int error; /* of an append */
    bool known;
    char collapse[BH_COLLAPSE_MAX + 1]; /* of the last one */
};

struct world {
    struct test t;
    struct fake history;
    struct client api;
    struct bh_bytes answer;
};

void begin(struct world *w);
void end(struct world *w);
void ask(struct world *w, const char *method, const char *target);
int request(struct world *w, const char *method, const char *target);
/* Returns when the history was asked. */
void ask_page(struct world *w, const char *target);
struct bh_message *message(uint64_t offset, enum bh_opcode opcode, struct bh_slice payload);
/* The answer to the last question; takes over the references. */
void give_page(struct world *w, size_t count, struct bh_message *const *messages, bool gap,
               bool more);
/* Leaves without a FIN, behind which a client may still wait for its answer. */
void reset(struct client *c);

#endif
