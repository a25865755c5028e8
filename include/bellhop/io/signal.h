/* signal.h - signals delivered to a loop. (Descriptors are streams, listeners and watches.) Thread:
 * the loop's; only one loop of the process may watch signals. */
#ifndef BELLHOP_IO_SIGNAL_H
#define BELLHOP_IO_SIGNAL_H

#include "bellhop/io/loop.h"

struct bh_signal; /* opaque */

struct bh_signal *bh_signal_new(struct bh_loop *loop, int signo, void (*on_signal)(int, void *),
                                void *ud);
void bh_signal_free(struct bh_signal *s);

#endif
