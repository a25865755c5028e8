/* redis_config.c - the Redis nodes of the configuration: one for each URL, with the settings that
 * all share. bh_config_load has checked the URLs. */
#include "app.h"

#include "bellhop/base/mem.h"

static void check_files(const struct bh_config *c, size_t which, const struct bh_redis_config *node,
                        struct bh_report *report) {
    char *why = NULL;
    size_t count = c->redis_urls.count;
    if (bh_redis_config_check(node, &why)) {
        if (count == 1)
            bh_report_key(report, c, "redis.url", "redis.url: %s", why);
        else
            bh_report_key(report, c, "redis.url", "redis.url, URL %zu of %zu: %s", which + 1, count,
                          why);
    }
    bh_free(why);
}

static void read_node(const struct bh_config *c, const char *instance, size_t which,
                      struct bh_redis_config *out) {
    const char *why;
    bh_redis_config_parse(bh_slice_cstr(c->redis_urls.items[which]), out, &why);
    out->channel_prefix = c->channel_prefix;
    out->instance = instance;
    out->connect_timeout_ms = c->connect_timeout;
    out->command_timeout_ms = c->command_timeout;
    out->probe_ms = c->probe_interval;
    out->publish_queue = c->publish_queue;
    out->publish_wait_ms = c->publish_wait;
}

void bh_app_redis_config(const struct bh_config *c, const char *instance, struct bh_app_redis *out,
                         struct bh_report *report) {
    *out = (struct bh_app_redis){
        .tracking = {.key_prefix = *c->tracking_key_prefix ? c->tracking_key_prefix : NULL,
                     .lease_ms = c->tracking_lease,
                     .debounce_ms = c->tracking_debounce}};
    for (; out->count < c->redis_urls.count && out->count < BH_SHARDS_MAX; out->count++) {
        read_node(c, instance, out->count, &out->nodes[out->count]);
        check_files(c, out->count, &out->nodes[out->count], report);
    }
}

void bh_app_redis_free(struct bh_app_redis *r) {
    for (size_t i = 0; i < r->count; i++)
        bh_redis_config_deinit(&r->nodes[i]);
}
