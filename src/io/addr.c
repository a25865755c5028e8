/* addr.c - socket addresses as text and back. Pure functions; thread: any. */
#include "bellhop/io/addr.h"

#include "bellhop/base/error.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

#define UNIX_PREFIX "unix:"

_Static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof UNIX_PREFIX <= BH_ADDR_TEXT_MAX,
               "the longest address fits its text");

static const struct sockaddr_in *as_v4(const struct bh_addr *a) {
    return (const struct sockaddr_in *)&a->storage;
}

static const struct sockaddr_in6 *as_v6(const struct bh_addr *a) {
    return (const struct sockaddr_in6 *)&a->storage;
}

static int fail(const char **why, const char *reason) {
    *why = reason;
    return BH_EINVAL;
}

static int parse_unix(struct bh_slice path, struct bh_addr *out, const char **why) {
    struct sockaddr_un *un = (struct sockaddr_un *)&out->storage;
    if (path.n == 0 || path.p[0] != '/')
        return fail(why, "the path of a unix socket must be absolute");
    if (path.n >= sizeof un->sun_path)
        return fail(why, "the path of a unix socket must be shorter than 108 bytes");
    if (memchr(path.p, '\0', path.n))
        return fail(why, "the path of a unix socket contains a NUL");
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path.p, path.n);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
    return 0;
}

static bool parse_numeric(struct bh_slice host, uint16_t port, struct bh_addr *out) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)&out->storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->storage;
    char text[INET6_ADDRSTRLEN];
    if (host.n >= sizeof text)
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        out->len = sizeof *v4;
        return true;
    }
    if (host.n == 0 || inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6; /* the empty host: all zeros is every interface */
        v6->sin6_port = htons(port);
        out->len = sizeof *v6;
        return true;
    }
    return false;
}

int bh_addr_parse(struct bh_slice text, struct bh_addr *out, const char **why) {
    const char *ignored;
    why = why ? why : &ignored;
    *why = NULL;
    memset(out, 0, sizeof *out);
    if (bh_slice_starts(text, BH_SLICE(UNIX_PREFIX)))
        return parse_unix(bh_slice(text.p + 5, text.n - 5), out, why);
    if (bh_slice_starts(text, BH_SLICE("/")))
        return parse_unix(text, out, why);

    struct bh_slice host;
    uint16_t port;
    if (bh_addr_split(text, &host, &port) != 0)
        return fail(why, "expected ADDRESS:PORT, [IPV6]:PORT, :PORT or unix:/PATH");
    if (!parse_numeric(host, port, out))
        return fail(why, "the host is not a numeric address");
    return 0;
}

static bool is_host_byte(char c, bool bracketed) {
    return c > ' ' && c < 127 && c != '[' && c != ']' && c != '/' && (bracketed || c != ':');
}

int bh_addr_split(struct bh_slice text, struct bh_slice *host, uint16_t *port) {
    const char *colon = text.n ? memrchr(text.p, ':', text.n) : NULL;
    if (!colon)
        return BH_EINVAL;
    uint64_t number;
    const char *after = colon + 1;
    if (bh_slice_u64(bh_slice(after, (size_t)(text.p + text.n - after)), UINT16_MAX, &number) != 0)
        return BH_EINVAL;

    struct bh_slice h = bh_slice(text.p, (size_t)(colon - text.p));
    bool bracketed = h.n > 2 && h.p[0] == '[' && h.p[h.n - 1] == ']';
    if (bracketed)
        h = bh_slice(h.p + 1, h.n - 2);
    for (size_t i = 0; i < h.n; i++)
        if (!is_host_byte(h.p[i], bracketed))
            return BH_EINVAL;
    *host = h;
    *port = (uint16_t)number;
    return 0;
}

/* The kernel ends a path by the address length, not always by a NUL; an unnamed socket has none, an
 * abstract name starts with a NUL. */
static void format_unix(const struct bh_addr *a, char out[BH_ADDR_TEXT_MAX]) {
    const struct sockaddr_un *un = (const struct sockaddr_un *)&a->storage;
    size_t max = a->len > offsetof(struct sockaddr_un, sun_path)
                     ? a->len - offsetof(struct sockaddr_un, sun_path)
                     : 0;
    if (max > sizeof un->sun_path)
        max = sizeof un->sun_path;
    if (max > 1 && un->sun_path[0] == '\0')
        snprintf(out, BH_ADDR_TEXT_MAX, UNIX_PREFIX "@%.*s", (int)max - 1, un->sun_path + 1);
    else
        snprintf(out, BH_ADDR_TEXT_MAX, UNIX_PREFIX "%.*s", (int)max, un->sun_path);
}

void bh_addr_format(const struct bh_addr *a, char out[BH_ADDR_TEXT_MAX]) {
    char host[INET6_ADDRSTRLEN];
    switch (a->sa.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &as_v4(a)->sin_addr, host, sizeof host);
        snprintf(out, BH_ADDR_TEXT_MAX, "%s:%u", host, bh_addr_port(a));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &as_v6(a)->sin6_addr, host, sizeof host);
        snprintf(out, BH_ADDR_TEXT_MAX, "[%s]:%u", host, bh_addr_port(a));
        break;
    case AF_UNIX:
        format_unix(a, out);
        break;
    default:
        snprintf(out, BH_ADDR_TEXT_MAX, "?");
    }
}

void bh_addr_format_ip(const struct bh_addr *a, char out[BH_ADDR_TEXT_MAX]) {
    if (a->sa.sa_family == AF_INET)
        inet_ntop(AF_INET, &as_v4(a)->sin_addr, out, BH_ADDR_TEXT_MAX);
    else if (a->sa.sa_family != AF_INET6)
        snprintf(out, BH_ADDR_TEXT_MAX, "%s", a->sa.sa_family == AF_UNIX ? "unix" : "?");
    else if (IN6_IS_ADDR_V4MAPPED(&as_v6(a)->sin6_addr))
        inet_ntop(AF_INET, &as_v6(a)->sin6_addr.s6_addr[12], out, BH_ADDR_TEXT_MAX);
    else
        inet_ntop(AF_INET6, &as_v6(a)->sin6_addr, out, BH_ADDR_TEXT_MAX);
}

uint16_t bh_addr_port(const struct bh_addr *a) {
    if (a->sa.sa_family == AF_INET)
        return ntohs(as_v4(a)->sin_port);
    return a->sa.sa_family == AF_INET6 ? ntohs(as_v6(a)->sin6_port) : 0;
}

bool bh_addr_is_loopback(const struct bh_addr *a) {
    const struct in6_addr *v6 = &as_v6(a)->sin6_addr;
    switch (a->sa.sa_family) {
    case AF_INET:
        return ntohl(as_v4(a)->sin_addr.s_addr) >> 24 == 127;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
    default:
        return a->sa.sa_family == AF_UNIX;
    }
}
