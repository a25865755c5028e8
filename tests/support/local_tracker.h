/* local_tracker.h - a tracker that asks the node itself, and counts what the node reports to it;
 * for tests of the layers above core. */
#ifndef BELLHOP_TESTS_SUPPORT_LOCAL_TRACKER_H
#define BELLHOP_TESTS_SUPPORT_LOCAL_TRACKER_H

#include "bellhop/core/node.h"

struct local_tracker {
    struct bh_tracker base;
    struct bh_tracker_sink sink;
    int came, went, restored;
    int again; /* of those that came: reported for a restore */
};

extern const struct bh_tracker_vt local_tracker_vt;

#endif
