/* http.h - the fetch port on libcurl: HTTP/1.1 and HTTP/2, TLS that is always verified, a pool of
 * connections.
 *
 * Each worker has its own, on its loop. Requests beyond per_host (to one scheme, host and port) or
 * total are queued, in order for each host. Names are resolved in threads of libcurl, and all
 * requests of the worker share its idle connections. Environment variables (http_proxy, ...),
 * .netrc and cookies are ignored. */
#ifndef BELLHOP_BACKEND_HTTP_H
#define BELLHOP_BACKEND_HTTP_H

#include "bellhop/core/fetch.h"
#include "bellhop/io/cidr.h"
#include "bellhop/io/loop.h"

/* Copied, except the strings and lists, which are borrowed. */
struct bh_http_config {
    uint64_t timeout_ms, connect_timeout_ms;
    size_t max_bytes;
    unsigned per_host, total; /* active requests, and so connections */
    size_t queue;             /* requests that wait */
    const char *ca_file;      /* PEM; NULL or "": the CAs of the system */
    const char *proxy;        /* a URL; NULL or "": none */
    const char *no_proxy;     /* hosts, separated by commas, without the proxy; NULL or "": none */
    /* Addresses, checked after name resolution on each connection (to the proxy, if there is one).
     * An empty allow list allows all; deny takes precedence. */
    const struct bh_cidr *allow, *deny;
    size_t allow_count, deny_count;
};

/* Whether the files can be used: 0, or BH_EINVAL with *error (bh_free). */
int bh_http_config_check(const struct bh_http_config *config, char **error);

/* Not on two threads at the same time. */
struct bh_fetch *bh_http_fetch_new(const struct bh_http_config *config, struct bh_loop *loop);
/* Aborts active and queued requests without calling done. On the loop's thread, or when that has
 * ended; before the loop is freed. NULL is allowed. */
void bh_http_fetch_free(struct bh_fetch *f);

void bh_http_metrics_register(void);

#endif
