/* header.h - one header line of a request or a response: one struct for the HTTP parser, hooks,
 * answers and the HTTP client, so that nothing is copied between them. The slices are borrowed.
 * Thread: any. */
#ifndef BELLHOP_BASE_HEADER_H
#define BELLHOP_BASE_HEADER_H

#include "bellhop/base/slice.h"

struct bh_header {
    struct bh_slice name, value;
};

#endif
