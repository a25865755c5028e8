/* map.c - the map of slots, and redirections. */
#include "cluster/map.h"

#include "bellhop/backend/redis.h"
#include "bellhop/base/mem.h"
#include "link/locator.h"

/* --- masters --- */

struct bh_redis_cluster_master *bh_redis_cluster_master_new(const struct bh_redis_config *config,
                                                            unsigned workers, const char *host,
                                                            uint16_t port) {
    size_t n = strlen(host) + 1;
    struct bh_redis_cluster_master *m = bh_calloc(1, sizeof *m + n);
    struct bh_redis_config node = *config;
    atomic_init(&m->refs, 1);
    memcpy(m->host, host, n);
    m->port = port;
    node.cluster = NULL;
    node.host = m->host;
    node.port = port;
    node.sharded = true;
    m->broker = bh_redis_broker_new(&node, workers);
    return m;
}

struct bh_redis_cluster_master *bh_redis_cluster_master_ref(struct bh_redis_cluster_master *m) {
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void bh_redis_cluster_master_unref(struct bh_redis_cluster_master *m) {
    if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) > 1)
        return;
    m->broker->vt->free(m->broker);
    bh_free(m);
}

/* --- maps --- */

struct bh_redis_cluster_map *bh_redis_cluster_map_ref(struct bh_redis_cluster_map *map) {
    atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    return map;
}

void bh_redis_cluster_map_unref(struct bh_redis_cluster_map *map) {
    if (!map || atomic_fetch_sub_explicit(&map->refs, 1, memory_order_acq_rel) > 1)
        return;
    for (unsigned i = 0; i < map->count; i++)
        bh_redis_cluster_master_unref(map->masters[i]);
    bh_free(map->masters);
    bh_free(map);
}

unsigned bh_redis_cluster_map_find(const struct bh_redis_cluster_map *map, struct bh_slice host,
                                   uint16_t port) {
    for (unsigned i = 0; i < map->count; i++)
        if (map->masters[i]->port == port &&
            bh_slice_eq(bh_slice_cstr(map->masters[i]->host), host))
            return i;
    return BH_REDIS_NOBODY;
}

bool bh_redis_cluster_map_incomplete(const struct bh_redis_cluster_map *map) {
    for (unsigned slot = 0; slot < BH_REDIS_SLOTS; slot++)
        if (map->owner[slot] == BH_REDIS_NOBODY)
            return true;
    return false;
}

static struct bh_redis_cluster_map *map_new(size_t masters) {
    struct bh_redis_cluster_map *map = bh_calloc(1, sizeof *map);
    atomic_init(&map->refs, 1);
    map->masters = bh_calloc(masters ? masters : 1, sizeof *map->masters);
    memset(map->owner, 0xff, sizeof map->owner); /* BH_REDIS_NOBODY */
    return map;
}

/* --- CLUSTER SLOTS --- */

static const char malformed[] = "protocol error from Redis: invalid CLUSTER SLOTS";

struct parse {
    struct bh_redis_cluster_map *map;
    const struct bh_redis_cluster_map *known;
    struct bh_slice asked;
    struct bh_redis_cluster_master *(*make)(void *ud, const char *host, uint16_t port);
    void *ud;
    const char *why; /* what is wrong, or NULL */
};

static bool is_text(const struct bh_reply *r) {
    return r->type == BH_REPLY_STRING || r->type == BH_REPLY_STATUS;
}

static bool is_port(const struct bh_reply *r) {
    return r->type == BH_REPLY_INTEGER && r->integer >= 0 && r->integer <= UINT16_MAX;
}

/* The value of `name` in a flat list of names and values; empty: it is not there. */
static struct bh_slice value_of(const struct bh_reply *list, const char *name) {
    for (size_t i = 0; list->type == BH_REPLY_ARRAY && i + 1 < list->count; i += 2)
        if (is_text(&list->elements[i]) && is_text(&list->elements[i + 1]) &&
            bh_slice_eq(list->elements[i].str, bh_slice_cstr(name)))
            return list->elements[i + 1].str;
    return BH_SLICE("");
}

/* A node whose host name is preferred and not known says "?", and its address behind its id. */
static struct bh_slice host_of(const struct parse *p, const struct bh_reply *node) {
    struct bh_slice host = is_text(&node->elements[0]) ? node->elements[0].str : BH_SLICE("");
    if (bh_slice_eq(host, BH_SLICE("?")))
        return node->count > 3 ? value_of(&node->elements[3], "ip") : BH_SLICE("");
    return host.n ? host : p->asked;
}

static bool is_host(struct bh_slice host) {
    return host.n <= BH_REDIS_HOST_MAX && bh_slice_control(host) == host.n;
}

static unsigned add_master(struct parse *p, struct bh_slice host, uint16_t port) {
    unsigned known = p->known ? bh_redis_cluster_map_find(p->known, host, port) : BH_REDIS_NOBODY;
    char text[BH_REDIS_HOST_MAX + 1];
    if (p->map->count == BH_REDIS_MASTERS_MAX) {
        p->why = "the Redis cluster has more than 1000 masters";
        return BH_REDIS_NOBODY;
    }
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    p->map->masters[p->map->count] = known != BH_REDIS_NOBODY
                                         ? bh_redis_cluster_master_ref(p->known->masters[known])
                                         : p->make(p->ud, text, port);
    return p->map->count++;
}

/* NOBODY: its host or port is not known; or with p->why. */
static unsigned find_or_add(struct parse *p, const struct bh_reply *node) {
    if (node->type != BH_REPLY_ARRAY || node->count < 2 || !is_port(&node->elements[1])) {
        p->why = malformed;
        return BH_REDIS_NOBODY;
    }
    struct bh_slice host = host_of(p, node);
    uint16_t port = (uint16_t)node->elements[1].integer;
    if (!is_host(host))
        p->why = malformed;
    if (p->why || host.n == 0 || port == 0)
        return BH_REDIS_NOBODY;
    unsigned at = bh_redis_cluster_map_find(p->map, host, port);
    return at != BH_REDIS_NOBODY ? at : add_master(p, host, port);
}

static bool is_range(const struct bh_reply *r) {
    const struct bh_reply *e = r->elements;
    return r->type == BH_REPLY_ARRAY && r->count >= 3 && e[0].type == BH_REPLY_INTEGER &&
           e[1].type == BH_REPLY_INTEGER && e[0].integer >= 0 && e[0].integer <= e[1].integer &&
           e[1].integer < BH_REDIS_SLOTS;
}

/* No slot is in two ranges. */
static void parse_range(struct parse *p, const struct bh_reply *range) {
    if (!is_range(range)) {
        p->why = malformed;
        return;
    }
    unsigned owner = find_or_add(p, &range->elements[2]);
    for (int64_t slot = range->elements[0].integer;
         !p->why && owner != BH_REDIS_NOBODY && slot <= range->elements[1].integer; slot++) {
        if (p->map->owner[slot] != BH_REDIS_NOBODY)
            p->why = malformed;
        p->map->owner[slot] = (uint16_t)owner;
    }
}

struct bh_redis_cluster_map *bh_redis_cluster_map_parse(
    const struct bh_reply *slots, const char *asked, const struct bh_redis_cluster_map *known,
    struct bh_redis_cluster_master *(*make)(void *ud, const char *host, uint16_t port), void *ud,
    const char **why) {
    struct parse p = {
        .known = known, .asked = bh_slice_cstr(asked), .make = make, .ud = ud, .why = NULL};
    if (slots->type != BH_REPLY_ARRAY || slots->count > BH_REDIS_SLOTS) {
        *why = malformed;
        return NULL;
    }
    p.map = map_new(slots->count < BH_REDIS_MASTERS_MAX ? slots->count : BH_REDIS_MASTERS_MAX);
    for (size_t i = 0; i < slots->count && !p.why; i++)
        parse_range(&p, &slots->elements[i]);
    *why = p.why;
    if (!p.why)
        return p.map;
    bh_redis_cluster_map_unref(p.map);
    return NULL;
}

/* --- redirections --- */

bool bh_redis_redirection_parse(struct bh_slice error, struct bh_redis_redirection *out) {
    struct bh_slice word, number;
    uint64_t slot, port;
    if (!bh_slice_split(&error, ' ', &word) || !bh_slice_split(&error, ' ', &number))
        return false;
    out->ask = bh_slice_eq(word, BH_SLICE("ASK"));
    const char *colon = error.n ? memrchr(error.p, ':', error.n) : NULL;
    if ((!out->ask && !bh_slice_eq(word, BH_SLICE("MOVED"))) || !colon ||
        bh_slice_u64(number, BH_REDIS_SLOTS - 1, &slot) != 0)
        return false;
    out->host = bh_slice(error.p, (size_t)(colon - error.p));
    struct bh_slice digits = bh_slice(colon + 1, error.n - out->host.n - 1);
    if (!is_host(out->host) || bh_slice_u64(digits, UINT16_MAX, &port) != 0 || port == 0)
        return false;
    out->slot = (unsigned)slot;
    out->port = (uint16_t)port;
    return true;
}
