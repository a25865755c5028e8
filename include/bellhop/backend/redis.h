/* redis.h - many instances on one Redis: the broker, and commands for scripts.
 *
 * One object, two ports. The bus owns a subscriber link and a link for probes; each worker owns a
 * pipelined command link. Every link reconnects by itself with capped, jittered back-off,
 * authenticates and selects its database again; the subscriber link then subscribes everything
 * again. What is published is proven to come back by a probe on a channel of this instance;
 * readiness is red until it does, and a link that answers nothing is dropped and made anew. */
#ifndef BELLHOP_BACKEND_REDIS_H
#define BELLHOP_BACKEND_REDIS_H

#include "bellhop/core/broker.h"
#include "bellhop/core/redis.h"

#define BH_REDIS_CONNECT_TIMEOUT_MS 5000
#define BH_REDIS_COMMAND_TIMEOUT_MS 5000
#define BH_REDIS_PROBE_MS           2000
#define BH_REDIS_BACKOFF_MIN_MS     50
#define BH_REDIS_BACKOFF_MAX_MS     5000

struct bh_redis_config {
    const char *host; /* name or address; NULL with a unix socket */
    uint16_t port;
    const char *unix_path; /* NULL with a host */
    const char *user;      /* NULL: the old AUTH with a password alone */
    const char *password;  /* NULL: no AUTH */
    unsigned database;
    const char *channel_prefix; /* "notification:"; at most 64 bytes */
    const char *instance;
    uint64_t connect_timeout_ms; /* until the link is authenticated and answers */
    uint64_t
        command_timeout_ms; /* a link that owes a reply and gives none for so long is dropped */
    uint64_t probe_ms;      /* interval of the self-probe */
    uint64_t backoff_min_ms;
    uint64_t backoff_max_ms;
};

/* From redis://[user:pass@]host[:port][/db], redis://:pass@host, unix://[user:pass@]/path[?db=n]
 * (user info, host and path percent-decoded); what the URL does not say is set to its default.
 * Address, user and password belong to *out, free with bh_redis_config_deinit; channel_prefix and
 * instance are borrowed. 0, or BH_EINVAL with *why, which never repeats the password. rediss:// is
 * refused with a clear word. */
int bh_redis_config_parse(struct bh_slice url, struct bh_redis_config *out, const char **why);
void bh_redis_config_deinit(struct bh_redis_config *c);

/* Copies the configuration; a time of 0 means its default. workers: how many worker sides there
 * will be. */
struct bh_broker *bh_redis_broker_new(const struct bh_redis_config *config, unsigned workers);
/* The command port over the same links; lives as long as the broker. */
struct bh_redis *bh_redis_broker_commands(struct bh_broker *broker);

void bh_redis_metrics_register(void);

#endif
