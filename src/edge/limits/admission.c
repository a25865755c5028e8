/* admission.c - the counters behind connections_max and connections_per_ip, and the end of a drain.
 *
 * The number of sockets is the one variable that all workers of the edge share; the counters of
 * addresses are in quota.c. */
#include "limits/admission.h"

#include "bellhop/base/log.h"
#include "bellhop/edge/edge.h"
#include "limits/edge_metrics.h"
#include "limits/quota.h"

#include <stdatomic.h>

static atomic_size_t sockets;

static bool acquire_socket(const struct bh_admission *a) {
    size_t max = a->config->connections_max;
    size_t open = atomic_fetch_add_explicit(&sockets, 1, memory_order_relaxed);
    bh_edge_count(BH_EDGE_SOCKETS, 1);
    if (max == 0 || open < max)
        return true;
    bh_admission_release_socket();
    bh_edge_count(BH_EDGE_LIMIT_CONNECTIONS, 1);
    bh_warn_limited("connections_max reached: only health, metrics and the API are served",
                    bh_kv_int("connections_max", (int64_t)max));
    return false;
}

void bh_admission_release_socket(void) {
    atomic_fetch_sub_explicit(&sockets, 1, memory_order_relaxed);
    bh_edge_count(BH_EDGE_SOCKETS, -1);
}

bool bh_admission_acquire(struct bh_admission *a, enum bh_place place) {
    if (place == BH_PLACE_SOCKET)
        return acquire_socket(a);
    if (a->places[place] >= BH_EDGE_PLACES)
        return false;
    a->places[place]++;
    if (place == BH_PLACE_RESERVE)
        bh_edge_count(BH_EDGE_RESERVE, 1);
    return true;
}

void bh_admission_release(struct bh_admission *a, enum bh_place place) {
    if (place == BH_PLACE_SOCKET) {
        bh_admission_release_socket();
        return;
    }
    a->places[place]--;
    if (place == BH_PLACE_RESERVE)
        bh_edge_count(BH_EDGE_RESERVE, -1);
}

size_t bh_edge_socket_count(void) {
    return atomic_load_explicit(&sockets, memory_order_relaxed);
}

/* A client with IPv6 has a whole network of addresses, so only the first 64 bits are the key. */
struct bh_slice bh_admission_address_key(const struct bh_ip *ip) {
    return bh_slice((const char *)ip->bytes, ip->family == 4 ? 4 : ip->family == 6 ? 8 : 0);
}

static bool is_loopback(const struct bh_ip *ip) {
    static const uint8_t v6[16] = {[15] = 1};
    return ip->family == 4 ? ip->bytes[0] == 127 : memcmp(ip->bytes, v6, sizeof v6) == 0;
}

static size_t address_limit(const struct bh_admission *a, const struct bh_ip *ip) {
    if (a->config->connections_per_ip)
        return a->config->connections_per_ip;
    return is_loopback(ip) ? 0 : BH_EDGE_PER_IP_DEFAULT;
}

bool bh_admission_acquire_address(const struct bh_admission *a, const struct bh_ip *ip) {
    if (bh_quota_acquire(BH_QUOTA_IP, bh_admission_address_key(ip), address_limit(a, ip)))
        return true;
    char text[BH_ADDR_TEXT_MAX];
    bh_ip_format(ip, text);
    bh_edge_count(BH_EDGE_LIMIT_PER_IP, 1);
    bh_warn_limited("connection refused: connections_per_ip reached", bh_kv_str("ip", text));
    return false;
}

void bh_admission_release_address(const struct bh_admission *a, const struct bh_ip *ip) {
    bh_quota_release(BH_QUOTA_IP, bh_admission_address_key(ip), address_limit(a, ip));
}

/* --- draining --- */

void bh_admission_enter(struct bh_admission *a) {
    a->connections++;
}

void bh_admission_leave(struct bh_admission *a) {
    a->connections--;
    bh_admission_check_drained(a);
}

void bh_admission_drain(struct bh_admission *a, void (*on_drained)(void *ud), void *ud) {
    a->on_drained = on_drained;
    a->drained_ud = ud;
}

void bh_admission_check_drained(struct bh_admission *a) {
    void (*on_drained)(void *) = a->on_drained;
    if (!on_drained || a->connections > 0)
        return;
    a->on_drained = NULL;
    on_drained(a->drained_ud);
}
