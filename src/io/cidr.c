/* cidr.c - which addresses belong to a set. Pure functions; thread: any.
 *
 * A set decides which peers are trusted, so its text is parsed strictly: no leading zeros, no host
 * bits, no blanks. An IPv4 client of a dual-stack socket has an IPv4-mapped address; these become
 * IPv4 when they are read, so that each address has one form and one family. */
#include "bellhop/io/cidr.h"

#include "bellhop/base/error.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#define MAPPED_BITS 96
/* Of any other socket: it is in no set, not even "unix". */
#define FAMILY_NONE UINT8_MAX

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static void set_ip(struct bh_ip *ip, uint8_t family, const void *bytes) {
    struct bh_ip made = {.family = family};
    memcpy(made.bytes, bytes, family == 4 ? 4 : 16);
    *ip = made; /* last: the bytes may be its own */
}

static bool is_mapped(const uint8_t bytes[16]) {
    return memcmp(bytes, mapped_prefix, sizeof mapped_prefix) == 0;
}

static void set_v6(struct bh_ip *ip, const uint8_t bytes[16]) {
    if (is_mapped(bytes))
        set_ip(ip, 4, bytes + sizeof mapped_prefix);
    else
        set_ip(ip, 6, bytes);
}

void bh_ip_of(const struct bh_addr *a, struct bh_ip *out) {
    if (a->sa.sa_family == AF_INET)
        set_ip(out, 4, &((const struct sockaddr_in *)&a->storage)->sin_addr);
    else if (a->sa.sa_family == AF_INET6)
        set_v6(out, ((const struct sockaddr_in6 *)&a->storage)->sin6_addr.s6_addr);
    else
        *out = (struct bh_ip){.family = a->sa.sa_family == AF_UNIX ? 0 : FAMILY_NONE};
}

/* A mapped address is still IPv6. */
static int parse_as_written(struct bh_slice text, struct bh_ip *out) {
    char copy[INET6_ADDRSTRLEN];
    uint8_t bytes[16];
    if (text.n == 0 || text.n >= sizeof copy || memchr(text.p, '\0', text.n))
        return BH_EINVAL;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    if (inet_pton(AF_INET, copy, bytes) == 1)
        set_ip(out, 4, bytes);
    else if (inet_pton(AF_INET6, copy, bytes) == 1)
        set_ip(out, 6, bytes);
    else
        return BH_EINVAL;
    return 0;
}

int bh_ip_parse(struct bh_slice text, struct bh_ip *out) {
    struct bh_ip ip;
    if (parse_as_written(text, &ip))
        return BH_EINVAL;
    if (ip.family == 6)
        set_v6(out, ip.bytes);
    else
        *out = ip;
    return 0;
}

/* Runs for each connection, and inet_ntop uses printf. */
static void format_v4(const uint8_t bytes[4], char *out) {
    for (int i = 0; i < 4; i++) {
        uint8_t b = bytes[i];
        if (b >= 100)
            *out++ = (char)('0' + b / 100);
        if (b >= 10)
            *out++ = (char)('0' + b / 10 % 10);
        *out++ = (char)('0' + b % 10);
        *out++ = i < 3 ? '.' : '\0';
    }
}

void bh_ip_format(const struct bh_ip *ip, char out[BH_ADDR_TEXT_MAX]) {
    if (ip->family == 4)
        format_v4(ip->bytes, out);
    else if (ip->family == 6)
        inet_ntop(AF_INET6, ip->bytes, out, BH_ADDR_TEXT_MAX);
    else
        snprintf(out, BH_ADDR_TEXT_MAX, "%s", ip->family == 0 ? "unix" : "?");
}

void bh_ip_to_addr(const struct bh_ip *ip, uint16_t port, struct bh_addr *out) {
    memset(out, 0, sizeof *out);
    if (ip->family == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&out->storage;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        memcpy(&v4->sin_addr, ip->bytes, 4);
        out->len = sizeof *v4;
    } else if (ip->family == 6) {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->storage;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        memcpy(&v6->sin6_addr, ip->bytes, 16);
        out->len = sizeof *v6;
    }
}

/* The mask of byte i of an address, for a prefix of that many bits. */
static uint8_t mask_of(unsigned bits, size_t i) {
    if (bits >= 8 * (i + 1))
        return 0xff;
    return bits <= 8 * i ? 0 : (uint8_t)(0xff << (8 * (i + 1) - bits));
}

static bool has_host_bits(const struct bh_ip *ip, unsigned bits) {
    for (size_t i = 0; i < (ip->family == 4 ? 4 : 16); i++)
        if (ip->bytes[i] & ~mask_of(bits, i))
            return true;
    return false;
}

static int fail(const char **why, const char *reason) {
    *why = reason;
    return BH_EINVAL;
}

/* Text without a slash is one address: *bits stays as it is. */
static int read_bits(struct bh_slice text, uint64_t *bits, const char **why) {
    if (!text.p)
        return 0;
    bool zeros = text.n > 1 && text.p[0] == '0';
    if (zeros || bh_slice_u64(text, *bits, bits) != 0)
        return fail(why, "the prefix length must be a number from 0 to 32 (IPv4) or 128 (IPv6)");
    return 0;
}

int bh_cidr_parse(struct bh_slice text, struct bh_cidr *out, const char **why) {
    const char *ignored;
    why = why ? why : &ignored;
    *why = NULL;
    if (bh_slice_eq(text, BH_SLICE("unix"))) {
        *out = (struct bh_cidr){0};
        return 0;
    }
    struct bh_slice rest = text, address = {0};
    struct bh_ip net;
    bh_slice_split(&rest, '/', &address);
    if (parse_as_written(address, &net))
        return fail(why, "expected ADDRESS, ADDRESS/BITS or unix");
    uint64_t bits = net.family == 4 ? 32 : 128;
    if (read_bits(rest, &bits, why))
        return BH_EINVAL;
    if (has_host_bits(&net, (unsigned)bits))
        return fail(why, "the address has bits beyond the prefix length");
    /* A mapped net has at least the mapped prefix, otherwise it has host bits. */
    if (net.family == 6 && is_mapped(net.bytes)) {
        set_v6(&net, net.bytes);
        bits -= MAPPED_BITS;
    }
    *out = (struct bh_cidr){.net = net, .bits = (uint8_t)bits};
    return 0;
}

bool bh_cidr_contains(const struct bh_cidr *c, const struct bh_ip *ip) {
    if (c->net.family != ip->family)
        return false;
    for (size_t i = 0; i < (c->bits + 7u) / 8; i++)
        if ((c->net.bytes[i] ^ ip->bytes[i]) & mask_of(c->bits, i))
            return false;
    return true;
}

bool bh_cidr_any(const struct bh_cidr *list, size_t count, const struct bh_ip *ip) {
    for (size_t i = 0; i < count; i++)
        if (bh_cidr_contains(&list[i], ip))
            return true;
    return false;
}
