/* redis.h - many instances on one Redis: the broker, and commands for scripts.
 *
 * One object, two ports. The bus owns a subscriber link and a link for probes; each worker owns a
 * pipelined command link. Every link reconnects by itself with capped, jittered back-off,
 * authenticates and selects its database again; the subscriber link then subscribes everything
 * again. What is published is proven to come back by a probe on a channel of this instance;
 * readiness is red until it does, and a link that answers nothing is dropped and made anew.
 *
 * Where Redis is, a URL says:
 *
 *   redis://[user:password@]host[:6379][/db]
 *       One Redis. `:password@` is the old AUTH without a user. An IPv6 address stands in brackets.
 *   unix://[user:password@]/path/to/socket[?db=N]
 *       The same through a unix socket.
 *   rediss://[user:password@]host[:6379][/db][?ca=FILE][&cert=FILE&key=FILE]
 *       Over TLS. The certificate of the server must be good for `host` and signed by the CA in
 *       `ca` (PEM; without it: by one that the system trusts). There is no switch to skip that: for
 *       a self-signed certificate name itself as `ca`. `cert` and `key` (PEM; `key` may be in the
 *       file of `cert`) are for a Redis that asks its clients for a certificate.
 *   redis+sentinel://[user:password@]host1[:26379],host2,.../master-name[/db]
 *       [?sentinel_user=U&sentinel_password=P]
 *       The Sentinels are asked in turn where the master of that name is, again whenever a link is
 *       lost, and a failover that they announce moves all links at once. user and password are
 *       those of Redis; the Sentinels' own, if they want any, are in the query. Links ask Redis for
 *       its ROLE and stay with a master only.
 *   rediss+sentinel://...
 *       TLS to the Sentinels and to Redis, with ca, cert and key as above; certificates must be
 *       good for what the Sentinels call the master: an address, or a host name if they are told
 *       to (`sentinel resolve-hostnames`, `announce-hostnames`).
 *
 * User, password, host, path, master name and the values of the query are percent-decoded. ?db=N is
 * the same as /db. Nothing ever repeats a password: no error, no log. */
#ifndef BELLHOP_BACKEND_REDIS_H
#define BELLHOP_BACKEND_REDIS_H

#include "bellhop/core/broker.h"
#include "bellhop/core/redis.h"
#include "bellhop/core/tracker.h"

#define BH_REDIS_CONNECT_TIMEOUT_MS 5000
#define BH_REDIS_COMMAND_TIMEOUT_MS 5000
#define BH_REDIS_PROBE_MS           2000
#define BH_REDIS_BACKOFF_MIN_MS     50
#define BH_REDIS_BACKOFF_MAX_MS     5000

/* All strings but channel_prefix and instance are made by bh_redis_config_parse. Times of 0 mean
 * their defaults. */
struct bh_redis_config {
    /* Where Redis is: one of host, unix_path, sentinels; the others are NULL. */
    const char *host; /* name or address */
    uint16_t port;
    const char *unix_path;
    const char *sentinels;         /* "host:port,[v6]:port,..." */
    const char *master;            /* what the Sentinels call it; NULL without them */
    const char *sentinel_user;     /* as user and password, for the Sentinels */
    const char *sentinel_password; /* NULL: no AUTH */
    const char *user;              /* NULL: the old AUTH with a password alone */
    const char *password;          /* NULL: no AUTH */
    unsigned database;
    bool tls;
    const char *ca_file;        /* NULL: whom the system trusts */
    const char *cert_file;      /* NULL: we have no certificate */
    const char *key_file;       /* NULL: in cert_file */
    const char *channel_prefix; /* "notification:"; at most 64 bytes */
    const char *instance;
    uint64_t connect_timeout_ms; /* until the link is authenticated and answers */
    uint64_t command_timeout_ms; /* a link that owes a reply for so long is dropped */
    uint64_t probe_ms;           /* interval of the self-probe */
    uint64_t backoff_min_ms;
    uint64_t backoff_max_ms;
    /* Publishes of each worker that wait for Redis to come back, and for how long; 0: none, they
     * are refused at once. */
    uint64_t publish_queue, publish_wait_ms;
};

/* From a URL as above; what it does not say is set to its default. All strings belong to *out, free
 * with bh_redis_config_deinit; channel_prefix and instance are borrowed (deinit leaves them alone).
 * 0, or BH_EINVAL with *why, which repeats no part of the URL. */
int bh_redis_config_parse(struct bh_slice url, struct bh_redis_config *out, const char **why);
/* Reads the files that TLS needs, to say at start-up what is wrong with them: 0, or BH_EINVAL with
 * *error (bh_free). The links read them by themselves, again after a failed handshake. */
int bh_redis_config_check(const struct bh_redis_config *c, char **error);
void bh_redis_config_deinit(struct bh_redis_config *c);

/* Copies the configuration; a time of 0 means its default. workers: how many worker sides there
 * will be. */
struct bh_broker *bh_redis_broker_new(const struct bh_redis_config *config, unsigned workers);
/* The command port over the same links; lives as long as the broker. Of a broker over several nodes
 * it is the one of the first node in the list, so scripts find their keys in one place. */
struct bh_redis *bh_redis_broker_commands(struct bh_broker *broker);

/* A broker over several Redis servers that know nothing of one another: each topic lives on one of
 * them. One that is down takes only its topics down; readiness is red meanwhile, and publishing to
 * those topics fails with BH_EUNAVAIL. workers: as above. With a count of 1 it is
 * bh_redis_broker_new. NULL: no nodes, more than BH_SHARDS_MAX, or two of the same name.
 * Scripts' keys and the tracker (whose config is configs[0]) are on the first node alone.
 *
 * Whoever publishes with a Redis client of his own must choose the node as follows (rendezvous
 * hashing; the same in every process and every release):
 *
 *   node    its name: HOST:PORT/DB ([HOST]:PORT/DB when the host contains a ':'), the path of its
 *           unix socket, or MASTER/DB with Sentinels (so a failover moves nothing, and two masters
 *           must not have one name). The host is taken byte for byte as it is configured, after
 *           percent-decoding: "localhost" and "127.0.0.1" are two names, so write it alike
 *           everywhere. Port and database are decimal and always there: redis://cache-a is
 *           "cache-a:6379/0", with or without TLS.
 *   topic   user:ID, tenant:ID, topic:ID or all; published on the channels notification:ID,
 *           notification:tenant:ID, notification:topic:ID and notification:broadcast.
 *   h       FNV-1a, 64 bits, over the bytes of node, one zero byte, the bytes of topic:
 *               h = 0xcbf29ce484222325; for each byte: h = (h ^ byte) * 0x100000001b3 mod 2^64
 *   weight  h after the finaliser of MurmurHash3, mod 2^64:
 *               h ^= h >> 33; h *= 0xff51afd7ed558ccd;
 *               h ^= h >> 33; h *= 0xc4ceb9fe1a85ec53; h ^= h >> 33
 *
 * The topic lives on the node of the greatest weight (unsigned); among equals, on the one whose
 * name is the least by its bytes. The order of the list does not matter, and a node that is added
 * or removed moves no topics but its own. For example, with the greatest weight of a:6379/0,
 * b:6379/0 and c:6379/0:
 *
 *   user:42     d3ab97301852dc73  c:6379/0
 *   topic:news  b68fd1990739c7d7  a:6379/0
 *   all         944cf28f73eef0e4  c:6379/0
 *
 * While the list is being changed, instances with the old list and with the new one do not reach
 * each other on the topics that move. */
struct bh_broker *bh_redis_shards_new(const struct bh_redis_config *configs, size_t count,
                                      unsigned workers);
/* Whether two of them have one name; which ones. */
bool bh_redis_shards_twins(const struct bh_redis_config *configs, size_t count, size_t *a,
                           size_t *b);

/* A tracker over the same Redis: every connection of every instance, under leases. It copies what
 * it needs of config and makes a link of its own on the bus; questions go over the workers' links
 * of the broker, which it borrows.
 *
 * Keys, behind key_prefix ("ws:"):
 *   connections:<user>   hash  <instance>:<connection> -> "<opened_at> <tenant>"
 *   instances            zset  <instance> -> when its lease ends, ms of Redis' clock
 *   instance:<instance>  hash  <connection> -> <user>, for whoever has to clean up after it
 *   tenant:<tenant>      hash  <instance> -> its connections of this tenant
 *   tenants:<instance>   set   the tenants that it has written
 *   presence             hash  <user> -> 1, announced as online
 *   leaving              zset  <user> -> when they may be announced as offline
 *   reaper:<instance>    string, expiring: who cleans up after it
 *   events:<instance>    zset  "<when> +<user>" or "<when> -<user>" -> when; decided, and not yet
 *                        known to have been raised
 *   reaped               zset  <instance> -> since when others clean up after it; for a day
 *   arriving             zset  <user> -> since when; they may have been online before Redis forgot
 *   restoring            zset  <instance> -> when its lease ends; it has not yet told of all
 *   pulse                hash  the last heartbeat of anybody, and whether others may be missing
 *
 * <instance> there is the instance's id, "~" and a mark of this registration: what a registration
 * has lost sight of (a dead link, a FLUSHALL) is left behind under the old mark and reaped, and all
 * is registered anew under the next one. Readers see the id alone. */
struct bh_redis_tracker_config {
    const char *key_prefix; /* at most 64 bytes */
    uint64_t lease_ms;      /* how long a dead instance's connections count; at least 1000 */
    uint64_t debounce_ms;   /* how long a user must be away to be offline */
};
struct bh_tracker *bh_redis_tracker_new(const struct bh_redis_config *config,
                                        const struct bh_redis_tracker_config *tracker,
                                        struct bh_broker *broker);

void bh_redis_metrics_register(void);

#endif
