/* url.c - parses a Redis URL into a configuration. Thread: any.
 *
 * The URL is split from left to right: scheme, user info (everything before the last '@' of the
 * authority), host and port or a list of them, path, query. The parts are percent-decoded after
 * that, so an encoded '@' or '/' in a password separates nothing. No error shows a part of the URL.
 */
#include "bellhop/backend/redis.h"

#include "bellhop/base/buf.h"
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/addr.h"

#include <limits.h>

#define DEFAULT_PORT     6379
#define DEFAULT_SENTINEL 26379
#define HOSTS_MAX        32

enum form { TCP, UNIX, SENTINEL, CLUSTER };

static const struct scheme {
    const char *prefix;
    enum form form;
    bool tls;
} schemes[] = {
    {"redis://", TCP, false},
    {"rediss://", TCP, true},
    {"unix://", UNIX, false},
    {"redis+sentinel://", SENTINEL, false},
    {"rediss+sentinel://", SENTINEL, true},
    {"redis+cluster://", CLUSTER, false},
    {"rediss+cluster://", CLUSTER, true},
};

struct parts {
    const struct scheme *scheme;
    bool has_user_info;
    struct bh_slice user_info, host, path, query;
};

static int fail(const char **why, const char *reason) {
    *why = reason;
    return BH_EINVAL;
}

static bool skip_prefix(struct bh_slice *s, const char *prefix) {
    struct bh_slice p = bh_slice_cstr(prefix);
    if (s->n < p.n || !bh_slice_caseeq(bh_slice(s->p, p.n), p))
        return false;
    *s = bh_slice(s->p + p.n, s->n - p.n);
    return true;
}

/* Cuts s at the first c; returns what follows it. */
static struct bh_slice cut(struct bh_slice *s, char c, bool *found) {
    const char *at = s->n ? memchr(s->p, c, s->n) : NULL;
    *found = at != NULL;
    if (!at)
        return bh_slice(NULL, 0);
    struct bh_slice rest = bh_slice(at + 1, (size_t)(s->p + s->n - at) - 1);
    s->n = (size_t)(at - s->p);
    return rest;
}

static const struct scheme *parse_scheme(struct bh_slice *url) {
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (skip_prefix(url, schemes[i].prefix))
            return &schemes[i];
    return NULL;
}

static int split(struct bh_slice url, struct parts *out, const char **why) {
    *out = (struct parts){.scheme = parse_scheme(&url)};
    if (!out->scheme)
        return fail(why, "a Redis URL begins with redis://, rediss:// (TLS), unix://, "
                         "redis+sentinel:// or redis+cluster:// (TLS: rediss+...)");
    bool found;
    out->query = cut(&url, '?', &found);
    const char *slash = url.n ? memchr(url.p, '/', url.n) : NULL;
    struct bh_slice authority = bh_slice(url.p, slash ? (size_t)(slash - url.p) : url.n);
    out->path = bh_slice(url.p + authority.n, url.n - authority.n);
    const char *at = authority.n ? memrchr(authority.p, '@', authority.n) : NULL;
    out->host = authority;
    if (!at)
        return 0;
    out->has_user_info = true;
    out->user_info = bh_slice(authority.p, (size_t)(at - authority.p));
    out->host = bh_slice(at + 1, authority.n - out->user_info.n - 1);
    return 0;
}

/* Frees the previous *out. A line end at the end of a password comes from the file that had it. */
static int decode(struct bh_slice s, const char **out, const char **why) {
    char *text = bh_malloc(s.n + 1);
    int n = bh_slice_urldecode(s, false, text);
    if (n < 0 || memchr(text, '\0', (size_t)n)) {
        bh_free(text);
        return fail(why, "invalid percent-encoding in the Redis URL (write % as %25)");
    }
    struct bh_slice decoded = bh_slice_chomp(bh_slice(text, (size_t)n));
    text[decoded.n] = '\0';
    if (bh_slice_control(decoded) < decoded.n) {
        bh_free(text);
        return fail(why, "a control character in the Redis URL (only one line feed at the end of a "
                         "part, %0A, is removed)");
    }
    bh_free((char *)*out);
    *out = text;
    return 0;
}

static int parse_user_info(struct bh_slice user, struct bh_redis_config *out, const char **why) {
    bool has_password;
    struct bh_slice password = cut(&user, ':', &has_password);
    if (!has_password)
        return fail(why, "user without a password in the Redis URL: write user:password@ or "
                         ":password@");
    int error = 0;
    if (user.n)
        error = decode(user, &out->user, why);
    if (!error && (user.n || password.n))
        error = decode(password, &out->password, why);
    return error;
}

static int parse_database(struct bh_slice digits, struct bh_redis_config *out, const char **why) {
    uint64_t n;
    if (bh_slice_u64(digits, INT_MAX, &n) != 0)
        return fail(why, "the database in the Redis URL is not a number");
    out->database = (unsigned)n;
    return 0;
}

/* Nothing, "/" or "/DATABASE". */
static int parse_path(struct bh_slice path, struct bh_redis_config *out, const char **why) {
    return path.n > 1 ? parse_database(bh_slice(path.p + 1, path.n - 1), out, why) : 0;
}

static int parse_file(struct bh_slice value, const struct parts *u, const char **out,
                      const char **why) {
    if (!u->scheme->tls)
        return fail(why, "ca, cert and key are for rediss:// (TLS)");
    if (value.n == 0)
        return fail(why, "ca, cert and key of the Redis URL each name a file");
    return decode(value, out, why);
}

static int parse_sentinel_login(struct bh_slice value, const struct parts *u, const char **out,
                                const char **why) {
    if (u->scheme->form != SENTINEL)
        return fail(why, "sentinel_user and sentinel_password are for redis+sentinel://");
    return decode(value, out, why);
}

static int parse_parameter(struct bh_slice name, struct bh_slice value, const struct parts *u,
                           struct bh_redis_config *out, const char **why) {
    if (bh_slice_eq(name, BH_SLICE("db")))
        return parse_database(value, out, why);
    if (bh_slice_eq(name, BH_SLICE("ca")))
        return parse_file(value, u, &out->ca_file, why);
    if (bh_slice_eq(name, BH_SLICE("cert")))
        return parse_file(value, u, &out->cert_file, why);
    if (bh_slice_eq(name, BH_SLICE("key")))
        return parse_file(value, u, &out->key_file, why);
    if (bh_slice_eq(name, BH_SLICE("sentinel_user")))
        return parse_sentinel_login(value, u, &out->sentinel_user, why);
    if (bh_slice_eq(name, BH_SLICE("sentinel_password")))
        return parse_sentinel_login(value, u, &out->sentinel_password, why);
    if (bh_slice_eq(name, BH_SLICE("insecure")))
        return fail(why, "insecure TLS is not supported: name the CA of Redis with ca=FILE (a "
                         "self-signed certificate is its own CA)");
    return fail(why, "the parameters of a Redis URL are db, ca, cert, key, sentinel_user and "
                     "sentinel_password");
}

static int parse_query(const struct parts *u, struct bh_redis_config *out, const char **why) {
    struct bh_slice rest = u->query, part;
    bool found;
    while (u->query.n && bh_slice_split(&rest, '&', &part)) {
        struct bh_slice value = cut(&part, '=', &found);
        int error = parse_parameter(part, value, u, out, why);
        if (error)
            return error;
    }
    if (out->key_file && !out->cert_file)
        return fail(why, "key= in the Redis URL requires cert=");
    if (out->sentinel_user && !out->sentinel_password)
        return fail(why, "sentinel_user in the Redis URL requires sentinel_password");
    if (out->cluster && out->database)
        return fail(why, "a Redis Cluster has database 0 only: leave the database out of the URL");
    return 0;
}

static int parse_unix(const struct parts *u, struct bh_redis_config *out, const char **why) {
    struct bh_addr addr;
    if (u->host.n)
        return fail(why, "a unix socket has an absolute path: unix:///run/redis.sock");
    int error = decode(u->path, &out->unix_path, why);
    if (!error)
        error = bh_addr_parse(bh_slice_cstr(out->unix_path), &addr, why);
    return error;
}

/* HOST[:PORT]; without a port *port is unchanged. */
static int parse_host(struct bh_slice host, const char **out, uint16_t *port, const char **why) {
    bool bracketed = host.n && host.p[host.n - 1] == ']';
    if (!bracketed && host.n && memchr(host.p, ':', host.n) &&
        bh_addr_split(host, &host, port) != 0)
        return fail(why, "the host and port of the Redis URL are written HOST:PORT or [IPV6]:PORT");
    if (bracketed && (host.p[0] != '[' || host.n < 3))
        return fail(why, "an IPv6 address in the Redis URL is written [IPV6]");
    if (bracketed)
        host = bh_slice(host.p + 1, host.n - 2);
    if (host.n == 0)
        return fail(why, "no host in the Redis URL");
    if (*port == 0)
        return fail(why, "the port of the Redis URL is 1..65535");
    return decode(host, out, why);
}

static int parse_tcp(const struct parts *u, struct bh_redis_config *out, const char **why) {
    int error = parse_host(u->host, &out->host, &out->port, why);
    return error ? error : parse_path(u->path, out, why);
}

static int add_host(struct bh_bytes *list, struct bh_slice one, uint16_t port, const char **why) {
    const char *host = NULL;
    uint16_t again;
    struct bh_slice decoded;
    int error = parse_host(one, &host, &port, why);
    if (error)
        return error;
    if (list->len)
        bh_bytes_addc(list, ',');
    size_t begins = list->len;
    bh_bytes_addf(list, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
    if (strchr(host, ',') ||
        bh_addr_split(bh_slice(list->p + begins, list->len - begins), &decoded, &again) != 0)
        error = fail(why, "invalid host name in the Redis URL");
    bh_free((char *)host);
    return error;
}

/* HOST[:PORT],...; *out has a port for each. */
static int parse_hosts(struct bh_slice hosts, uint16_t default_port, const char **out,
                       const char **why) {
    struct bh_bytes list = {0};
    struct bh_slice one;
    int error = 0;
    for (unsigned count = 0; !error && bh_slice_split(&hosts, ',', &one); count++)
        error = count < HOSTS_MAX ? add_host(&list, one, default_port, why)
                                  : fail(why, "more than 32 hosts in the Redis URL");
    if (!error) {
        bh_bytes_addc(&list, '\0');
        *out = bh_strdup(list.p);
    }
    bh_bytes_free(&list);
    return error;
}

static int parse_sentinel(const struct parts *u, struct bh_redis_config *out, const char **why) {
    struct bh_slice name = u->path;
    bool has_database;
    skip_prefix(&name, "/");
    struct bh_slice database = cut(&name, '/', &has_database);
    if (name.n == 0)
        return fail(why, "no master name in the Redis URL: "
                         "redis+sentinel://host1,host2/master-name");
    int error = parse_hosts(u->host, DEFAULT_SENTINEL, &out->sentinels, why);
    if (!error)
        error = decode(name, &out->master, why);
    if (!error && database.n)
        error = parse_database(database, out, why);
    return error;
}

static int parse_cluster(const struct parts *u, struct bh_redis_config *out, const char **why) {
    int error = parse_hosts(u->host, DEFAULT_PORT, &out->cluster, why);
    return error ? error : parse_path(u->path, out, why);
}

static int parse_server(const struct parts *u, struct bh_redis_config *out, const char **why) {
    switch (u->scheme->form) {
    case UNIX:
        return parse_unix(u, out, why);
    case SENTINEL:
        return parse_sentinel(u, out, why);
    case CLUSTER:
        return parse_cluster(u, out, why);
    case TCP:
        break;
    }
    return parse_tcp(u, out, why);
}

int bh_redis_config_parse(struct bh_slice url, struct bh_redis_config *out, const char **why) {
    struct parts parts;
    *out = (struct bh_redis_config){.port = DEFAULT_PORT,
                                    .channel_prefix = BH_CHANNEL_PREFIX,
                                    .connect_timeout_ms = BH_REDIS_CONNECT_TIMEOUT_MS,
                                    .command_timeout_ms = BH_REDIS_COMMAND_TIMEOUT_MS,
                                    .probe_ms = BH_REDIS_PROBE_MS,
                                    .backoff_min_ms = BH_REDIS_BACKOFF_MIN_MS,
                                    .backoff_max_ms = BH_REDIS_BACKOFF_MAX_MS};
    int error = split(url, &parts, why);
    if (!error)
        out->tls = parts.scheme->tls;
    if (!error)
        error = parse_server(&parts, out, why);
    if (!error)
        error = parse_query(&parts, out, why);
    if (!error && parts.has_user_info)
        error = parse_user_info(parts.user_info, out, why);
    if (error)
        bh_redis_config_deinit(out);
    return error;
}
