/* Addresses and sets of addresses: what was parsed and printed parses to the same value, and a net
 * contains its own address. */
#include "bellhop/base/error.h"
#include "bellhop/io/cidr.h"
#include "fuzz.h"

/* Through a socket address. */
static void check_as_addr(struct bh_slice text, const char *written) {
    struct bh_addr addr;
    struct bh_ip ip;
    struct bh_bytes bracketed = {0};
    char host[BH_ADDR_TEXT_MAX];
    bh_bytes_addf(&bracketed, "[%.*s]:80", BH_SLICE_ARG(text));
    CHECK(bh_addr_parse(bh_bytes_slice(&bracketed), &addr, NULL) == 0);
    bh_addr_format_ip(&addr, host);
    CHECK(strcmp(host, written) == 0);
    bh_ip_of(&addr, &ip);
    bh_ip_format(&ip, host);
    CHECK(strcmp(host, written) == 0);
    bh_bytes_free(&bracketed);
}

static void check_ip(struct bh_slice text) {
    struct bh_ip ip, again, through;
    struct bh_addr addr;
    char written[BH_ADDR_TEXT_MAX], of_addr[BH_ADDR_TEXT_MAX];
    int r = bh_ip_parse(text, &ip);
    CHECK(r == 0 || r == BH_EINVAL);
    if (r)
        return;
    bh_ip_format(&ip, written);
    CHECK(bh_ip_parse(bh_slice_cstr(written), &again) == 0);
    CHECK(memcmp(&ip, &again, sizeof ip) == 0);
    bh_ip_to_addr(&ip, 80, &addr);
    bh_ip_of(&addr, &through);
    CHECK(memcmp(&ip, &through, sizeof ip) == 0 && bh_addr_port(&addr) == 80);
    bh_addr_format_ip(&addr, of_addr);
    CHECK(strcmp(of_addr, written) == 0);
    check_as_addr(text, written);
}

static void check_cidr(struct bh_slice text) {
    struct bh_cidr net, again;
    const char *why = NULL;
    char written[BH_ADDR_TEXT_MAX], whole[BH_ADDR_TEXT_MAX + 8];
    int r = bh_cidr_parse(text, &net, &why);
    CHECK(r == 0 ? !why : r == BH_EINVAL && why);
    if (r)
        return;
    CHECK(net.net.family || bh_slice_eq(text, BH_SLICE("unix")));
    CHECK(bh_cidr_contains(&net, &net.net));
    CHECK(net.bits <= (net.net.family == 4 ? 32 : net.net.family == 6 ? 128 : 0));
    bh_ip_format(&net.net, written);
    snprintf(whole, sizeof whole, net.net.family ? "%s/%u" : "%s", written, net.bits);
    CHECK(bh_cidr_parse(bh_slice_cstr(whole), &again, NULL) == 0);
    CHECK(memcmp(&net.net, &again.net, sizeof net.net) == 0 && net.bits == again.bits);
    if (net.bits) {
        net.net.bytes[(net.bits - 1) / 8] ^= 0x80 >> (net.bits - 1) % 8;
        CHECK(!bh_cidr_contains(&again, &net.net));
    }
}

static void check_addr(struct bh_slice text) {
    struct bh_addr addr, again;
    const char *why = NULL;
    char written[BH_ADDR_TEXT_MAX];
    int r = bh_addr_parse(text, &addr, &why);
    CHECK(r == 0 || (r == BH_EINVAL && why));
    if (r)
        return;
    bh_addr_format(&addr, written);
    CHECK(bh_addr_parse(bh_slice_cstr(written), &again, NULL) == 0);
    CHECK(addr.len == again.len && memcmp(&addr.storage, &again.storage, addr.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = fuzz_exact(bh_slice(data, size));
    struct bh_slice in = bh_slice(copy, size);
    check_ip(in);
    check_cidr(in);
    check_addr(in);
    free(copy);
    return 0;
}
