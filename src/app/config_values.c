/* config_values.c - a table of keys with their checks. Each one asks the parser that reads the
 * value later, so that the two cannot disagree. */
#include "config_values.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/jwt.h"
#include "bellhop/core/path.h"
#include "bellhop/edge/edge.h"
#include "bellhop/io/cidr.h"
#include "listen_address.h"

#define PREFIX_MAX 64

static int check_listen(struct bh_slice value, const char **why) {
    struct bh_edge_listen ignored;
    return bh_listen_address_parse(value, &ignored, why);
}

static int check_range(struct bh_slice value, const char **why) {
    struct bh_cidr ignored;
    return bh_cidr_parse(value, &ignored, why);
}

static int check_instance(struct bh_slice value, const char **why) {
    return bh_id_check(BH_ID_INSTANCE, value, why);
}

static int check_redis_url(struct bh_slice value, const char **why) {
    struct bh_redis_config ignored;
    int error = bh_redis_config_parse(value, &ignored, why);
    bh_redis_config_deinit(&ignored);
    return error;
}

static int check_prefix(struct bh_slice value, const char **why) {
    *why = "must not be longer than 64 bytes";
    return value.n > PREFIX_MAX ? BH_EINVAL : 0;
}

/* The hash tag of a channel's keys, {channel}, ends at the first brace. */
static int check_channel_prefix(struct bh_slice value, const char **why) {
    if (check_prefix(value, why))
        return BH_EINVAL;
    *why = "must not contain { or }";
    return memchr(value.p, '{', value.n) || memchr(value.p, '}', value.n) ? BH_EINVAL : 0;
}

static int check_algorithm(struct bh_slice value, const char **why) {
    *why = "unknown algorithm; expected HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384, "
           "ES512, PS256 or EdDSA";
    return bh_jwt_alg_from_name(value) ? 0 : BH_EINVAL;
}

static const struct {
    const char *path;
    bh_config_value_cb check;
} checks[] = {
    {"server.listen", check_listen},
    {"server.admin_listen", check_listen},
    {"server.instance", check_instance},
    {"server.trusted_proxies", check_range},
    {"websocket.paths", bh_path_check},
    {"sse.paths", bh_path_check},
    {"websocket.origins", bh_edge_check_origin},
    {"api.cors_origins", bh_edge_check_origin},
    {"redis.url", check_redis_url},
    {"redis.channel_prefix", check_channel_prefix},
    {"fetch.allow", check_range},
    {"fetch.deny", check_range},
    {"tracking.key_prefix", check_prefix},
    {"auth.jwt.algorithms", check_algorithm},
};

bh_config_value_cb bh_config_value_check(const char *path) {
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (strcmp(checks[i].path, path) == 0)
            return checks[i].check;
    return NULL;
}

unsigned bh_config_jwt_algorithms(const struct bh_config *c) {
    unsigned algs = 0;
    for (size_t i = 0; i < c->jwt_algorithms.count; i++)
        algs |= bh_jwt_alg_from_name(bh_slice_cstr(c->jwt_algorithms.items[i]));
    return algs;
}
