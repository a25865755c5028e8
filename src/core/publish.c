/* publish.c - what HTTP and Lua agree on: the words for the result of a publish, for compression
 * and for formats, and the headers that an answer may carry. */
#include "bellhop/core/hooks.h"

#include "bellhop/base/error.h"
#include "bellhop/base/utf8.h"

static const char *const names[] = {
    [BH_PUBLISH_DELIVERED] = "delivered",
    [BH_PUBLISH_PUBLISHED] = "published",
    [BH_PUBLISH_OFFLINE] = "offline",
    [BH_PUBLISH_STORED] = "stored",
};

const char *const bh_compression_names[BH_COMPRESSION_COUNT] = {
    [BH_COMPRESSION_OFF] = "off",
    [BH_COMPRESSION_NO_TAKEOVER] = "no_takeover",
    [BH_COMPRESSION_TAKEOVER] = "takeover",
};

const char *const bh_format_names[BH_FORMAT_COUNT] = {
    [BH_FORMAT_RAW] = "raw",
    [BH_FORMAT_JSON] = "json",
};

void bh_publish_release(struct bh_publish *p) {
    bh_buf_unref(p->data);
    bh_buf_unref(p->filter);
    bh_buf_unref(p->collapse);
    bh_message_unref(p->stored);
}

int bh_publish_set_collapse(struct bh_publish *p, struct bh_slice key, const char **why) {
    *why = "collapse must be a key of 1 to 128 bytes of UTF-8 without control characters";
    if (key.n == 0 || key.n > BH_COLLAPSE_MAX || bh_slice_control(key) < key.n ||
        !bh_utf8_valid(key))
        return BH_EINVAL;
    bh_buf_unref(p->collapse);
    p->collapse = bh_buf_copy(key);
    return 0;
}

const char *bh_publish_status_name(const struct bh_publish_result *result) {
    return names[result->status];
}

bool bh_response_header_ok(struct bh_slice name) {
    static const struct bh_slice of_the_connection[] = {
        BH_SLICE("Connection"), BH_SLICE("Content-Length"),    BH_SLICE("Date"),
        BH_SLICE("Keep-Alive"), BH_SLICE("Transfer-Encoding"), BH_SLICE("Upgrade"),
    };
    for (size_t i = 0; i < sizeof of_the_connection / sizeof *of_the_connection; i++)
        if (bh_slice_caseeq(name, of_the_connection[i]))
            return false;
    return true;
}
