/* http.h - the fetch port on libcurl: HTTP/1.1 and HTTP/2, TLS that is always verified, a pool of
 * connections.
 *
 * Each worker has one of its own, on its loop. Requests beyond per_host (to one scheme, host and
 * port) or total wait for their turn, in order for each host. Names are resolved in threads of
 * libcurl's, and connections that are kept are shared by all requests of the worker. Environment
 * variables (http_proxy, ...), .netrc and cookies are not looked at. */
#ifndef BELLHOP_BACKEND_HTTP_H
#define BELLHOP_BACKEND_HTTP_H

#include "bellhop/core/fetch.h"
#include "bellhop/io/cidr.h"
#include "bellhop/io/loop.h"

/* Copied, but for the strings and lists, which are borrowed. */
struct bh_http_config {
    uint64_t timeout_ms, connect_timeout_ms;
    size_t max_bytes;
    unsigned per_host, total; /* requests under way, and so connections */
    size_t queue;             /* requests that wait for their turn */
    const char *ca_file;      /* PEM; NULL or "": whom the system trusts */
    const char *proxy;        /* a URL; NULL or "": none */
    const char *no_proxy;     /* hosts with commas that go without the proxy; NULL or "": none */
    /* Addresses (after name resolution, on each connection; of the proxy, where there is one). An
     * empty allow list allows all; deny beats allow. */
    const struct bh_cidr *allow, *deny;
    size_t allow_count, deny_count;
};

/* Whether the files can be used: 0, or BH_EINVAL with *error (bh_free). */
int bh_http_config_check(const struct bh_http_config *config, char **error);

/* Not on two threads at the same time. */
struct bh_fetch *bh_http_fetch_new(const struct bh_http_config *config, struct bh_loop *loop);
/* Aborts what is under way without calling done. On the loop's thread, or when that has ended;
 * before the loop is freed. NULL is allowed. */
void bh_http_fetch_free(struct bh_fetch *f);

void bh_http_metrics_register(void);

#endif
