/* cidr.h - sets of addresses as operators write them: "10.0.0.0/8", "::1", "unix".
 *
 * Pure functions; thread: any. */
#ifndef BELLHOP_IO_CIDR_H
#define BELLHOP_IO_CIDR_H

#include "bellhop/io/addr.h"

/* An IP address without its port. IPv4-mapped IPv6 addresses are IPv4; the unused bytes are zero,
 * so that two of them compare by memcmp. */
struct bh_ip {
    uint8_t family; /* 4, 6, or 0 for a unix socket */
    uint8_t bytes[16];
};

struct bh_cidr {
    struct bh_ip net; /* host bits are zero */
    uint8_t bits;     /* 0..32 or 0..128 */
};

void bh_ip_of(const struct bh_addr *a, struct bh_ip *out);
/* Without a port or brackets. 0 or BH_EINVAL. */
int bh_ip_parse(struct bh_slice text, struct bh_ip *out);
/* "192.0.2.1", "2001:db8::1", "unix". */
void bh_ip_format(const struct bh_ip *ip, char out[BH_ADDR_TEXT_MAX]);
/* The socket address of family 4 or 6. */
void bh_ip_to_addr(const struct bh_ip *ip, uint16_t port, struct bh_addr *out);

/* "10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "unix" (every unix socket). 0 or BH_EINVAL with *why;
 * host bits that are set are an error, because they are usually a mistake. */
int bh_cidr_parse(struct bh_slice text, struct bh_cidr *out, const char **why);
bool bh_cidr_contains(const struct bh_cidr *c, const struct bh_ip *ip);
bool bh_cidr_any(const struct bh_cidr *list, size_t count, const struct bh_ip *ip);

#endif
