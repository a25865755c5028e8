/* publish.c - what a publish holds, and the words for what became of it, which are the same in HTTP
 * and in Lua. */
#include "bellhop/core/publish.h"

static const char *const names[] = {
    [BH_PUBLISH_DELIVERED] = "delivered",
    [BH_PUBLISH_PUBLISHED] = "published",
    [BH_PUBLISH_OFFLINE] = "offline",
};

void bh_publish_release(struct bh_publish *p) {
    bh_buf_unref(p->data);
    bh_buf_unref(p->filter);
}

const char *bh_publish_status_name(const struct bh_publish_result *result) {
    return names[result->duplicate ? BH_PUBLISH_PUBLISHED : result->status];
}
