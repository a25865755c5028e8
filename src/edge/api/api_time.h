/* api_time.h - times in answers. No state; any thread. */
#ifndef BELLHOP_EDGE_API_TIME_H
#define BELLHOP_EDGE_API_TIME_H

#include "bellhop/base/buf.h"

#include <stdint.h>

/* A JSON string: RFC 3339, UTC, with milliseconds. ms: Unix time. */
void bh_api_add_time(struct bh_bytes *out, int64_t ms);

#endif
