/* addr.h - socket addresses: parse, print, resolve.
 *
 * Forms: "127.0.0.1:8080", "[::1]:8080", ":8080" (all interfaces), "localhost:6379",
 * "unix:/path" or "/path". */
#ifndef BELLHOP_IO_ADDR_H
#define BELLHOP_IO_ADDR_H

#include "bellhop/base/slice.h"
#include "bellhop/io/loop.h"

#include <sys/socket.h>

#define BH_ADDR_TEXT_MAX 128

struct bh_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_storage storage;
    };
};

/* A numeric or unix address; 0 or BH_EINVAL with *why. Host names are an error here. */
int bh_addr_parse(struct bh_slice text, struct bh_addr *out, const char **why);
/* Splits "host:port" or "[v6]:port" without resolving. 0 or BH_EINVAL. */
int bh_addr_split(struct bh_slice text, struct bh_slice *host, uint16_t *port);
/* "127.0.0.1:80", "[::1]:80", "unix:/path"; always NUL-terminated. */
void bh_addr_format(const struct bh_addr *a, char out[BH_ADDR_TEXT_MAX]);
/* The host part only; an IPv4-mapped IPv6 address is shown as IPv4. "unix" for a unix socket. */
void bh_addr_format_ip(const struct bh_addr *a, char out[BH_ADDR_TEXT_MAX]);
uint16_t bh_addr_port(const struct bh_addr *a);
bool bh_addr_is_loopback(const struct bh_addr *a); /* unix sockets count as loopback */

/* Resolves a host name or a numeric host without blocking the loop, as the system does: /etc/hosts,
 * nsswitch.conf, resolv.conf. on_done gets all addresses, at least one, in the order in which they
 * are to be tried (RFC 6724, as getaddrinfo gives them). It fires exactly once, never before
 * bh_resolve returns, unless cancelled before or the loop is freed; the list is valid during the
 * call and NULL with an error: BH_EINVAL (empty or too long), BH_ENOTFOUND, BH_EUNAVAIL (no answer;
 * may be retried). */
struct bh_resolve;
typedef void (*bh_resolved_cb)(void *ud, int error, const struct bh_addr *list, size_t count);
struct bh_resolve *bh_resolve(struct bh_loop *loop, const char *host, uint16_t port,
                              bh_resolved_cb on_done, void *ud);
/* Only before on_done has fired. */
void bh_resolve_cancel(struct bh_resolve *r);

#endif
