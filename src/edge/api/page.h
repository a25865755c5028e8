/* page.h - a page of a topic's history: its options, and the request that waits for it.
 *
 * A page is asked of the history (core/history.h) and written as JSON in steps, so that a large one
 * does not hold the loop. Thread: the worker's. */
#ifndef BELLHOP_EDGE_PAGE_H
#define BELLHOP_EDGE_PAGE_H

#include "bellhop/base/list.h"
#include "bellhop/core/history.h"

struct bh_http_conn;
struct bh_identity;

/* Those of one worker. So many are under way at a time, because each takes a MiB or two; the others
 * wait in line. */
#define BH_PAGES_AT_ONCE 64

struct bh_pages {
    struct bh_slots open; /* -> struct page */
    struct bh_list waiting;
    unsigned running;
};

void bh_pages_init(struct bh_pages *p);
/* Frees what is left; what completes later finds nothing, as long as the memory is there. */
void bh_pages_deinit(struct bh_pages *p);

struct bh_page_options {
    struct bh_position since;
    uint32_t limit;
    bool ordered, ascending; /* ordered: the query says how */
};

void bh_page_options_init(struct bh_page_options *o);
/* since, limit, order: 0, BH_ENOTFOUND for another name, or BH_EINVAL; *why. */
int bh_page_option(struct bh_page_options *o, struct bh_slice name, struct bh_slice value,
                   const char **why);
/* Reads the page and answers the request. A topic that is no stream is answered with 404. identity
 * (taken over; NULL: none): only messages whose filter it matches. c->scratch has headers of the
 * answer: name and value, each followed by a newline. */
void bh_page_answer(struct bh_http_conn *c, const struct bh_topic *topic,
                    const struct bh_page_options *options, struct bh_identity *identity);

/* The topic has a history; false after answering. */
bool bh_page_has_history(struct bh_http_conn *c, const struct bh_topic *topic);
/* Answers with the error of the history. */
void bh_page_fail(struct bh_http_conn *c, int error, const char *why);

#endif
