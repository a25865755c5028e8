/* config.c - copies of a configuration, and the files that it names.
 *
 * A configuration consists of strings and numbers, so a copy is independent: the broker and the
 * tracker have one each. */
#include "link/config.h"

#include "bellhop/base/mem.h"

/* Each string that bh_redis_config_parse makes. */
#define OWN_STRINGS(X)                                                                             \
    X(host)                                                                                        \
    X(unix_path)                                                                                   \
    X(sentinels)                                                                                   \
    X(master)                                                                                      \
    X(cluster)                                                                                     \
    X(sentinel_user)                                                                               \
    X(sentinel_password)                                                                           \
    X(user)                                                                                        \
    X(password)                                                                                    \
    X(ca_file)                                                                                     \
    X(cert_file)                                                                                   \
    X(key_file)

static char *copy(const char *s) {
    return s ? bh_strdup(s) : NULL;
}

static uint64_t or_default(uint64_t ms, uint64_t otherwise) {
    return ms ? ms : otherwise;
}

void bh_redis_config_copy(struct bh_redis_config *out, const struct bh_redis_config *c) {
    *out = *c;
#define COPY(name) out->name = copy(c->name);
    OWN_STRINGS(COPY)
#undef COPY
    out->channel_prefix = bh_strdup(c->channel_prefix ? c->channel_prefix : BH_CHANNEL_PREFIX);
    out->instance = copy(c->instance);
    out->connect_timeout_ms = or_default(c->connect_timeout_ms, BH_REDIS_CONNECT_TIMEOUT_MS);
    out->command_timeout_ms = or_default(c->command_timeout_ms, BH_REDIS_COMMAND_TIMEOUT_MS);
    out->probe_ms = or_default(c->probe_ms, BH_REDIS_PROBE_MS);
    out->backoff_min_ms = or_default(c->backoff_min_ms, BH_REDIS_BACKOFF_MIN_MS);
    out->backoff_max_ms = or_default(c->backoff_max_ms, BH_REDIS_BACKOFF_MAX_MS);
}

void bh_redis_config_deinit(struct bh_redis_config *c) {
#define FREE(name) bh_free((char *)c->name);
    OWN_STRINGS(FREE)
#undef FREE
    *c = (struct bh_redis_config){0};
}

void bh_redis_config_free_copy(struct bh_redis_config *c) {
    bh_free((char *)c->channel_prefix);
    bh_free((char *)c->instance);
    bh_redis_config_deinit(c);
}

int bh_redis_config_tls(const struct bh_redis_config *c, struct bh_tls_connector **out,
                        char **error) {
    struct bh_tls_connector_config files = {
        .ca_file = c->ca_file, .certificate = c->cert_file, .key = c->key_file};
    return bh_tls_connector_new(&files, out, error);
}

int bh_redis_config_check(const struct bh_redis_config *c, char **error) {
    struct bh_tls_connector *tls = NULL;
    *error = NULL;
    int result = c->tls ? bh_redis_config_tls(c, &tls, error) : 0;
    bh_tls_connector_unref(tls);
    return result;
}
