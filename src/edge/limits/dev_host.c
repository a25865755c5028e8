/* dev_host.c - see dev_host.h. Whatever cannot be read is not local: fail closed. */
#include "limits/dev_host.h"

#include "limits/origin.h"

static bool ends_with(struct bh_slice s, struct bh_slice tail) {
    return s.n > tail.n && bh_slice_caseeq(bh_slice(s.p + s.n - tail.n, tail.n), tail);
}

/* "host:port", "[v6]:port" */
static struct bh_slice without_port(struct bh_slice host) {
    const char *bracket = host.p[0] == '[' ? memchr(host.p, ']', host.n) : NULL;
    const char *from = bracket ? bracket : host.p;
    const char *colon = memchr(from, ':', (size_t)(host.p + host.n - from));
    return colon ? bh_slice(host.p, (size_t)(colon - host.p)) : host;
}

static bool is_address(struct bh_slice name) {
    struct bh_ip ip;
    if (name.p[0] != '[')
        return bh_ip_parse(name, &ip) == 0;
    return name.n > 2 && name.p[name.n - 1] == ']' &&
           bh_ip_parse(bh_slice(name.p + 1, name.n - 2), &ip) == 0;
}

bool bh_dev_host_ok(const struct bh_edge_config *config, struct bh_slice host) {
    if (host.n == 0)
        return true;
    struct bh_slice name = without_port(host);
    /* "ai." is a name of the public DNS; "ai" is looked up on this machine and network first. */
    bool is_absolute = name.n && name.p[name.n - 1] == '.';
    name.n -= is_absolute;
    if (name.n == 0)
        return false;
    return is_address(name) || bh_slice_caseeq(name, BH_SLICE("localhost")) ||
           ends_with(name, BH_SLICE(".localhost")) ||
           (!is_absolute && name.p[0] != '[' && !memchr(name.p, '.', name.n)) ||
           bh_origin_names(config->origins, config->origin_count, name) ||
           bh_origin_names(config->cors, config->cors_count, name);
}
