/* ws_inflaters.h - the inflaters of a thread, and the line for them.
 *
 * Nearly every compressed message is inflated in one step, with an inflater that it borrows for
 * that step; that never waits. A longer one holds a place until it is done, which may take many
 * turns of the loop: at most BH_INFLATERS_PLACES do so at once. The others wait in line, first come
 * first served. A place stands for an inflater and for unfinished output: a message of a connection
 * with context takeover, which has an inflater of its own, needs one, too.
 *
 * Embedded in its owner; readers (ws_message.h) use it. Thread: the owner's. */
#ifndef BELLHOP_PROTO_WS_INFLATERS_H
#define BELLHOP_PROTO_WS_INFLATERS_H

#include "bellhop/base/list.h"
#include "bellhop/proto/ws_deflate.h"

/* They share one thread, so more places would make no message complete earlier on average, and what
 * they cost is memory: 40 KiB for zlib and up to a whole message of output each. With fewer, a
 * handful of slow bombs would make every long message wait for a whole one. */
#define BH_INFLATERS_PLACES 16

struct bh_ws_reader;

struct bh_inflaters {
    struct bh_inflater *spare; /* for the next message; NULL: made when it is needed */
    unsigned held;             /* places */
    struct bh_list line;       /* struct bh_inflate_place */
    void (*wake)(struct bh_ws_reader *r);
};

/* Embedded in a message, which sets the reader and zeroes the rest. */
struct bh_inflate_place {
    struct bh_ws_reader *reader;
    struct bh_list node; /* while it waits */
    enum { BH_INFLATER_NONE, BH_INFLATER_WAITS, BH_INFLATER_HELD } state;
};

/* wake: this reader's message has come to its turn; continue it with bh_ws_reader_next, but later:
 * it is called by what the reader of another connection does. */
void bh_inflaters_init(struct bh_inflaters *all, void (*wake)(struct bh_ws_reader *r));
/* No reader may use it any more. */
void bh_inflaters_deinit(struct bh_inflaters *all);

/* --- for readers --- */

/* An inflater for the largest window, without takeover; NULL without memory. */
struct bh_inflater *bh_inflaters_borrow(struct bh_inflaters *all);
void bh_inflaters_give_back(struct bh_inflaters *all, struct bh_inflater *i);
/* True when the message holds a place now. Else it waits in line until `wake`. */
bool bh_inflaters_hold(struct bh_inflaters *all, struct bh_inflate_place *place);
/* Leaves the place to the first in line, or leaves the line. */
void bh_inflaters_leave(struct bh_inflaters *all, struct bh_inflate_place *place);

#endif
