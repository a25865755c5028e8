/* redis.h - many instances on one Redis: the broker, the tracker, and commands for scripts.
 *
 * The broker implements two ports, the broker's and the commands'. The bus owns a subscriber link
 * and a link for probes; each worker owns a pipelined command link. Every link reconnects by itself
 * with capped, jittered back-off, authenticates and selects its database again; the subscriber link
 * then subscribes to all channels again. A probe on a channel of this instance proves that
 * published messages come back; readiness is red until it does. A link that does not answer is
 * dropped, and sooner, when a probe is missing, a second one is opened beside it, which takes over
 * if it does better.
 *
 * A URL names the server:
 *
 *   redis://[user:password@]host[:6379][/db]
 *       One Redis. `:password@` is the old AUTH without a user. An IPv6 address is put in brackets.
 *       All addresses of a host name are tried in turn.
 *   unix://[user:password@]/path/to/socket[?db=N]
 *       The same over a unix socket.
 *   rediss://[user:password@]host[:6379][/db][?ca=FILE][&cert=FILE&key=FILE]
 *       Over TLS. The certificate of the server must be valid for `host` and signed by the CA in
 *       `ca` (PEM; without it: by a CA of the system). This cannot be switched off: for a
 * self-signed certificate name the certificate itself as `ca`. `cert` and `key` (PEM; `key` may be
 * in the file of `cert`) are for a Redis that requires a client certificate.
 *   redis+sentinel://[user:password@]host1[:26379],host2,.../master-name[/db]
 *       [?sentinel_user=U&sentinel_password=P]
 *       The Sentinels are asked in turn for the master of that name, again whenever a link is lost,
 *       and a failover that they announce moves all links at once. user and password are those of
 *       Redis; those of the Sentinels, if they require any, are in the query. A link asks Redis for
 *       its ROLE and uses only a master.
 *   rediss+sentinel://...
 *       TLS to the Sentinels and to Redis, with ca, cert and key as above; certificates must be
 *       valid for the name that the Sentinels give the master: an address, or a host name if they
 * are configured for it (`sentinel resolve-hostnames`, `announce-hostnames`).
 *
 *   redis+cluster://[user:password@]host1[:6379],host2,...[?ca=...]
 *       A Redis Cluster (Redis 7 or later): the nodes of the URL are asked for the others. It is
 * the only URL of a configuration, and has no database but 0. user and password are the same on all
 * nodes. Masters are reached by the address that CLUSTER SLOTS says. rediss+cluster://... TLS to
 * all nodes, with ca, cert and key as above; their certificates must be valid for what CLUSTER
 * SLOTS says: an address, or the host name of each node when Redis is configured for it
 * (cluster-announce-hostname, cluster-preferred-endpoint-type hostname).
 *
 * User, password, host, path, master name and the values of the query are percent-decoded. ?db=N is
 * the same as /db. No error and no log line contains a password. */
#ifndef BELLHOP_BACKEND_REDIS_H
#define BELLHOP_BACKEND_REDIS_H

#include "bellhop/core/broker.h"
#include "bellhop/core/history.h"
#include "bellhop/core/redis.h"
#include "bellhop/core/tracker.h"

#define BH_REDIS_CONNECT_TIMEOUT_MS 5000
#define BH_REDIS_COMMAND_TIMEOUT_MS 5000
#define BH_REDIS_PROBE_MS           2000
#define BH_REDIS_BACKOFF_MIN_MS     50
#define BH_REDIS_BACKOFF_MAX_MS     5000

/* bh_redis_config_parse sets all strings except channel_prefix and instance. A time of 0 means its
 * default. */
struct bh_redis_config {
    /* The server: one of host, unix_path, sentinels, cluster; the others are NULL. */
    const char *host; /* name or address */
    uint16_t port;
    const char *unix_path;
    const char *sentinels;         /* "host:port,[v6]:port,..." */
    const char *master;            /* its name at the Sentinels; NULL without them */
    const char *cluster;           /* nodes to begin with, as in `sentinels` */
    bool sharded;                  /* a master of a cluster: SSUBSCRIBE and SPUBLISH */
    const char *sentinel_user;     /* as user and password, for the Sentinels */
    const char *sentinel_password; /* NULL: no AUTH */
    const char *user;              /* NULL: the old AUTH with a password alone */
    const char *password;          /* NULL: no AUTH */
    unsigned database;
    bool tls;
    const char *ca_file;        /* NULL: the CAs of the system */
    const char *cert_file;      /* NULL: no client certificate */
    const char *key_file;       /* NULL: in cert_file */
    const char *channel_prefix; /* "notification:"; at most 64 bytes */
    const char *instance;
    uint64_t connect_timeout_ms; /* until the link is READY */
    uint64_t command_timeout_ms; /* without a reply for that long the link is dropped */
    uint64_t probe_ms;           /* interval of the self-probe */
    uint64_t backoff_min_ms;
    uint64_t backoff_max_ms;
    /* Publishes of each worker that wait until Redis is back, and for how long; 0: they are
     * rejected at once. */
    uint64_t publish_queue, publish_wait_ms;
};

/* From a URL as above, with defaults for the rest. All strings belong to *out, free them with
 * bh_redis_config_deinit, except channel_prefix and instance, which are borrowed. 0, or BH_EINVAL
 * with *why, which contains no part of the URL. */
int bh_redis_config_parse(struct bh_slice url, struct bh_redis_config *out, const char **why);
/* Checks the TLS files at start-up: 0, or BH_EINVAL with *error (bh_free). The links read the files
 * themselves, again after a failed handshake. */
int bh_redis_config_check(const struct bh_redis_config *c, char **error);
void bh_redis_config_deinit(struct bh_redis_config *c);

/* Copies the configuration. workers: of the process. */
struct bh_broker *bh_redis_broker_new(const struct bh_redis_config *config, unsigned workers);
/* The command port over the same links; lives as long as the broker. With several nodes it is that
 * of the first node in the list, so that scripts have their keys in one place. */
struct bh_redis *bh_redis_broker_commands(struct bh_broker *broker);

/* A broker over several independent Redis servers: each topic lives on one of them. A node that is
 * down takes only its topics down; readiness is red meanwhile, and publishing to those topics fails
 * with BH_EUNAVAIL. workers: as above. With a count of 1 it is bh_redis_broker_new, or the broker
 * of a Redis Cluster, when the configuration names one. NULL: no nodes, more than BH_SHARDS_MAX, or
 * two of the same name. Scripts' keys are on the first node only.
 *
 * A backend that publishes with its own Redis client must choose the node as follows (rendezvous
 * hashing; the same in every process and every release):
 *
 *   node    its name: HOST:PORT/DB ([HOST]:PORT/DB when the host contains a ':'), the path of its
 *           unix socket, or MASTER/DB with Sentinels (so a failover moves nothing, and two masters
 *           must not have the same name). The host is used byte for byte as configured, after
 *           percent-decoding: "localhost" and "127.0.0.1" are two names, so write it the same way
 *           everywhere. Port and database are decimal and always present: redis://cache-a is
 *           "cache-a:6379/0", with or without TLS.
 *   topic   user:ID, tenant:ID, topic:ID or all, with the ID as it is; published on the channels
 *           notification:ID, notification:tenant:ID, notification:topic:ID, with the ID encoded
 *           (base/id.h), and notification:broadcast.
 *   h       FNV-1a, 64 bits, over the bytes of node, one zero byte, the bytes of topic:
 *               h = 0xcbf29ce484222325; for each byte: h = (h ^ byte) * 0x100000001b3 mod 2^64
 *   weight  h after the finaliser of MurmurHash3, mod 2^64:
 *               h ^= h >> 33; h *= 0xff51afd7ed558ccd;
 *               h ^= h >> 33; h *= 0xc4ceb9fe1a85ec53; h ^= h >> 33
 *
 * The topic lives on the node with the greatest weight (unsigned); among equal weights, on the node
 * whose name is the least by its bytes. The order of the list does not matter, and adding or
 * removing a node moves only its own topics. For example, the greatest weights among a:6379/0,
 * b:6379/0 and c:6379/0:
 *
 *   user:42     d3ab97301852dc73  c:6379/0
 *   topic:news  b68fd1990739c7d7  a:6379/0
 *   all         944cf28f73eef0e4  c:6379/0
 *
 * During a change of the list, instances with the old list and with the new one do not reach each
 * other on the topics that move. */
struct bh_broker *bh_redis_shards_new(const struct bh_redis_config *configs, size_t count,
                                      unsigned workers);
/* Whether two of them have the same name, and which. */
bool bh_redis_shards_twins(const struct bh_redis_config *configs, size_t count, size_t *a,
                           size_t *b);

/* A tracker over the same Redis: every connection of every instance, under leases. It has links of
 * its own on the bus; lookups use the workers' links of the broker, which is borrowed.
 *
 * On one Redis, and with Sentinels, the keys have the prefix "ws:". Over several nodes the tracker
 * has 16 parts, each with keys and a registration of its own, behind the prefixes "{ws0}:" to
 * "{ws15}:". The part of a user, and of all connections and events of that user, is
 *
 *   crc16(id) mod 16
 *
 * with the CRC of Redis Cluster (CRC16/XMODEM) over the bytes of the id, or only over what is
 * between its first '{' and the next '}', if that is not empty: the slot that the id would have as
 * a key, mod 16. In Python `binascii.crc_hqx(b"42", 0) % 16`, at a node of a cluster `CLUSTER
 * KEYSLOT 42`. User 42 is in part 0, "{ws0}:", user alice in part 13. The connections of a tenant
 * are in all parts. Among independent nodes the parts are placed in their order, each on the node
 * of the greatest weight, as above with the prefix in place of the topic, of those that have fewer
 * than 16 / nodes (rounded up) parts already.
 *
 * With a key_prefix there is one part, with that prefix, on the first node, or on the cluster's
 * node of its slot.
 *
 * Keys, behind the prefix:
 *   connections:<user>   hash  <instance>:<connection> -> "<opened_at> <tenant>"
 *   instances            zset  <instance> -> when its lease ends, ms of Redis' clock
 *   instance:<instance>  hash  <connection> -> <user>, for its clean-up
 *   tenant:<tenant>      hash  <instance> -> its connections of this tenant
 *   tenants:<instance>   set   its tenants in tenant:<tenant>
 *   presence             hash  <user> -> epoch in which it was certain that the user was announced
 *                        as online
 *   leaving              zset  <user> -> when the user may be announced as offline
 *   reaper:<instance>    string, expiring: which process cleans up after it
 *   events:<instance>    zset  "<when> +<user>" or "<when> -<user>" -> when; decided, and not yet
 *                        confirmed as raised
 *   reaped               zset  <instance> -> since when others clean up after it; for a day
 *   arriving             zset  <user> -> since when; may have been online before an outage
 *   departed             zset  <user> -> when due to be offline, before Redis lost its data
 *   restoring            zset  <instance> -> when its lease ends; it is registering its connections
 *   pulse                hash  the last heartbeat of any instance, whether some may be missing, and
 *                        the epoch, which begins when Redis has lost data
 *
 * In the names of keys <user> and <tenant> are encoded (base/id.h); in fields, members and values
 * they are not. <instance> in these keys is the instance's id, "~" and a mark of its registration.
 * When it is unknown what Redis still holds (after a lost link, a FLUSHALL), all connections are
 * registered again under a new mark, and the entries of the old one are reaped. Readers see the id
 * only. */
struct bh_redis_tracker_config {
    const char *key_prefix; /* at most 64 bytes; NULL: as above */
    uint64_t lease_ms;      /* how long the connections of a dead instance count; at least 1000 */
    uint64_t debounce_ms;   /* how long a user must be away to be offline */
};
/* Whether that prefix (or NULL) may be used: in a cluster it must contain a hash tag, so that all
 * keys are in one slot. */
bool bh_redis_tracker_prefix_ok(const struct bh_redis_config *config, const char *key_prefix);
struct bh_tracker *bh_redis_tracker_new(const struct bh_redis_tracker_config *tracker,
                                        struct bh_broker *broker);

/* A history over the nodes of the broker, which is borrowed; only for a configuration with rules.
 * Each topic's history is on the node of the topic. Appends use the workers' links of the broker
 * and wait as publishes do; reads have a link to each node on the bus. Of the configuration ids_ms
 * and min_replicas are copied.
 *
 * Keys, with the topic's channel as their hash tag: `{<channel>}:log`, a list of envelopes
 * (core/envelope.h), and `{<channel>}:m`, a hash. */
struct bh_history *bh_redis_history_new(struct bh_broker *broker,
                                        const struct bh_history_config *history, unsigned workers);

void bh_redis_metrics_register(void);

#endif
