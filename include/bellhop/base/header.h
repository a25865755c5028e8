/* header.h - one header line of a request or a response: the same struct in the HTTP parser, in
 * hooks, in answers and in the HTTP client, so that nobody copies between them. The slices are
 * borrowed. Thread: any. */
#ifndef BELLHOP_BASE_HEADER_H
#define BELLHOP_BASE_HEADER_H

#include "bellhop/base/slice.h"

struct bh_header {
    struct bh_slice name, value;
};

#endif
