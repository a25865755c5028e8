/* url.c - a Redis URL into a configuration. Pure; any thread.
 *
 * The URL is taken apart left to right: scheme, user info (everything before the last '@' of the
 * authority), host and port, path, query. Only then are the parts percent-decoded, so an encoded
 * '@' or '/' in a password separates nothing. No error repeats a part of the URL. */
#include "bellhop/backend/redis.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/addr.h"

#include <limits.h>

#define DEFAULT_PORT 6379

struct parts {
    bool is_unix;
    bool has_user_info;
    struct bh_slice user_info, host, path, query;
};

static int refuse(const char **why, const char *reason) {
    *why = reason;
    return BH_EINVAL;
}

static bool take_prefix(struct bh_slice *s, const char *prefix) {
    struct bh_slice p = bh_slice_cstr(prefix);
    if (s->n < p.n || !bh_slice_caseeq(bh_slice(s->p, p.n), p))
        return false;
    *s = bh_slice(s->p + p.n, s->n - p.n);
    return true;
}

/* Cuts s at the first c; what follows it (without c) is returned. */
static struct bh_slice cut(struct bh_slice *s, char c, bool *found) {
    const char *at = s->n ? memchr(s->p, c, s->n) : NULL;
    *found = at != NULL;
    if (!at)
        return bh_slice(NULL, 0);
    struct bh_slice rest = bh_slice(at + 1, (size_t)(s->p + s->n - at) - 1);
    s->n = (size_t)(at - s->p);
    return rest;
}

static int split(struct bh_slice url, struct parts *out, const char **why) {
    *out = (struct parts){0};
    if (take_prefix(&url, "rediss://"))
        return refuse(why, "rediss:// (TLS) is not supported; use redis:// or a local TLS tunnel");
    if (take_prefix(&url, "unix://"))
        out->is_unix = true;
    else if (!take_prefix(&url, "redis://"))
        return refuse(why, "a Redis URL begins with redis:// or unix://");
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

static int decode(struct bh_slice s, const char **out, const char **why) {
    char *text = bh_malloc(s.n + 1);
    int n = bh_slice_urldecode(s, false, text);
    if (n < 0 || memchr(text, '\0', (size_t)n)) {
        bh_free(text);
        return refuse(why, "the Redis URL has a bad percent-encoding (write % itself as %25)");
    }
    text[n] = '\0';
    *out = text;
    return 0;
}

static int parse_user_info(struct bh_slice user, struct bh_redis_config *out, const char **why) {
    bool has_password;
    struct bh_slice password = cut(&user, ':', &has_password);
    if (!has_password)
        return refuse(why, "the Redis URL has a user without a password: write user:password@ or "
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
        return refuse(why, "the database in the Redis URL is not a number");
    out->database = (unsigned)n;
    return 0;
}

static int parse_query(struct bh_slice query, struct bh_redis_config *out, const char **why) {
    if (query.n == 0)
        return 0;
    if (!take_prefix(&query, "db="))
        return refuse(why, "the only parameter of a Redis URL is ?db=NUMBER");
    return parse_database(query, out, why);
}

static int parse_unix(const struct parts *u, struct bh_redis_config *out, const char **why) {
    struct bh_addr addr;
    if (u->host.n)
        return refuse(why, "a unix socket has an absolute path: unix:///run/redis.sock");
    int error = decode(u->path, &out->unix_path, why);
    if (!error)
        error = bh_addr_parse(bh_slice_cstr(out->unix_path), &addr, why);
    return error;
}

static int parse_tcp(const struct parts *u, struct bh_redis_config *out, const char **why) {
    struct bh_slice host = u->host;
    bool bracketed = host.n && host.p[host.n - 1] == ']';
    if (!bracketed && host.n && memchr(host.p, ':', host.n) &&
        bh_addr_split(host, &host, &out->port) != 0)
        return refuse(why,
                      "the host and port of the Redis URL are written HOST:PORT or [IPV6]:PORT");
    if (bracketed && (host.p[0] != '[' || host.n < 3))
        return refuse(why, "an IPv6 address in the Redis URL is written [IPV6]");
    if (bracketed)
        host = bh_slice(host.p + 1, host.n - 2);
    if (host.n == 0)
        return refuse(why, "the Redis URL names no host");
    if (out->port == 0)
        return refuse(why, "the port of the Redis URL is 1..65535");
    int error = decode(host, &out->host, why);
    if (error || u->path.n <= 1)
        return error;
    return parse_database(bh_slice(u->path.p + 1, u->path.n - 1), out, why);
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
        error = parts.is_unix ? parse_unix(&parts, out, why) : parse_tcp(&parts, out, why);
    if (!error)
        error = parse_query(parts.query, out, why);
    if (!error && parts.has_user_info)
        error = parse_user_info(parts.user_info, out, why);
    if (error)
        bh_redis_config_deinit(out);
    return error;
}

void bh_redis_config_deinit(struct bh_redis_config *c) {
    bh_free((char *)c->host);
    bh_free((char *)c->unix_path);
    bh_free((char *)c->user);
    bh_free((char *)c->password);
    *c = (struct bh_redis_config){0};
}
