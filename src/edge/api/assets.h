/* assets.h - files that are part of the binary. The table is generated (embed.cmake). */
#ifndef BELLHOP_EDGE_ASSETS_H
#define BELLHOP_EDGE_ASSETS_H

#include "bellhop/base/slice.h"

struct bh_asset {
    struct bh_slice path; /* in the request */
    const char *content_type;
    struct bh_slice bytes;
};

extern const struct bh_asset bh_assets[];
extern const size_t bh_asset_count;

#endif
