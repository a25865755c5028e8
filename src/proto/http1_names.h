/* http1_names.h - the methods that exist. Thread: any. */
#ifndef BELLHOP_PROTO_HTTP1_NAMES_H
#define BELLHOP_PROTO_HTTP1_NAMES_H

#include "bellhop/base/slice.h"

/* Method names are case-sensitive. */
bool bh_http1_is_method(struct bh_slice name);

#endif
