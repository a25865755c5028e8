/* redis_config.c - the Redis nodes of the configuration: one for each URL, with the settings that
 * all share. */
#include "app.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#define PREFIX_MAX 64

static int refuse_node(size_t which, size_t count, const char *why, char **error) {
    if (count == 1)
        return bh_error_set(error, "redis.url: %s", why);
    return bh_error_set(error, "redis.url, URL %zu of %zu: %s", which + 1, count, why);
}

static int read_node(const struct bh_config *c, const char *instance, size_t which,
                     struct bh_redis_config *out, char **error) {
    size_t count = c->redis_urls.count;
    const char *why = NULL;
    char *problem = NULL;
    if (bh_redis_config_parse(bh_slice_cstr(c->redis_urls.items[which]), out, &why))
        return refuse_node(which, count, why, error);
    out->channel_prefix = c->channel_prefix;
    out->instance = instance;
    out->connect_timeout_ms = c->connect_timeout;
    out->command_timeout_ms = c->command_timeout;
    out->probe_ms = c->probe_interval;
    out->publish_queue = c->publish_queue;
    out->publish_wait_ms = c->publish_wait;
    int result = 0;
    if (bh_redis_config_check(out, &problem))
        result = refuse_node(which, count, problem, error);
    bh_free(problem);
    return result;
}

int bh_app_redis_config(const struct bh_config *c, const char *instance, struct bh_app_redis *out,
                        char **error) {
    *out = (struct bh_app_redis){.tracking = {.key_prefix = c->tracking_key_prefix,
                                              .lease_ms = c->tracking_lease,
                                              .debounce_ms = c->tracking_debounce}};
    if (strlen(c->channel_prefix) > PREFIX_MAX)
        return bh_error_set(error, "redis.channel_prefix must not be longer than %d bytes",
                            PREFIX_MAX);
    if (strlen(c->tracking_key_prefix) > PREFIX_MAX)
        return bh_error_set(error, "tracking.key_prefix must not be longer than %d bytes",
                            PREFIX_MAX);
    if (c->redis_urls.count > BH_SHARDS_MAX)
        return bh_error_set(error, "redis.url has %zu URLs; the maximum is %d", c->redis_urls.count,
                            BH_SHARDS_MAX);
    int result = 0;
    while (!result && out->count < c->redis_urls.count) {
        result = read_node(c, instance, out->count, &out->nodes[out->count], error);
        out->count++;
    }
    size_t a, b;
    if (!result && bh_redis_shards_twins(out->nodes, out->count, &a, &b))
        return bh_error_set(error, "redis.url: URLs %zu and %zu are the same node", a + 1, b + 1);
    return result;
}

void bh_app_redis_free(struct bh_app_redis *r) {
    for (size_t i = 0; i < r->count; i++)
        bh_redis_config_deinit(&r->nodes[i]);
}
