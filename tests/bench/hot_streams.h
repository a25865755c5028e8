/* hot_streams.h - the hot paths of topics with history, for hot_paths.c. */
#ifndef BELLHOP_BENCH_HOT_STREAMS_H
#define BELLHOP_BENCH_HOT_STREAMS_H

#include "bellhop/base/slice.h"

/* Those without sockets, and those with `crowd` of them; payload: of each message. */
void count_streams(struct bh_slice payload);
void count_stream_crowds(struct bh_slice payload, unsigned crowd);

#endif
