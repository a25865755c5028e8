/* config.h - copies and TLS files of a configuration. Private to the backend. Thread: any. */
#ifndef BELLHOP_BACKEND_REDIS_CONFIG_H
#define BELLHOP_BACKEND_REDIS_CONFIG_H

#include "bellhop/backend/redis.h"
#include "bellhop/io/tls.h"

/* A copy that owns all of its strings, with the default for each time that is 0. */
void bh_redis_config_copy(struct bh_redis_config *out, const struct bh_redis_config *c);
void bh_redis_config_free_copy(struct bh_redis_config *c);
/* Reads the CA and the certificate of the configuration. 0, or BH_EINVAL with *error (bh_free). */
int bh_redis_config_tls(const struct bh_redis_config *c, struct bh_tls_connector **out,
                        char **error);

#endif
