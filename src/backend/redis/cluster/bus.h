/* bus.h - the bus side of a cluster: where each topic is subscribed. Private to the cluster.
 *
 * Each slot has a home, the master of which the last news has it: a map, or MOVED, which is younger
 * than the next map that says nothing new about that slot. A topic is subscribed at the home of its
 * slot; on its way there, when the home has changed, it is a stray: still at another master, or in
 * the list of topics whose slot has no home.
 *
 *   groups.c  which groups of slots are up
 *   moves.c   topics, and their ways
 *   bus.c     masters, maps, the rest
 *
 * Thread: the bus. */
#ifndef BELLHOP_BACKEND_REDIS_CLUSTER_BUS_H
#define BELLHOP_BACKEND_REDIS_CLUSTER_BUS_H

#include "bellhop/base/map.h"
#include "cluster/topology.h"
#include "cluster/twins.h"

/* Before topics of a link that is up are looked for: its server, that has given away their slot,
 * says so for each of them, and that costs nothing for the others. */
#define BH_REDIS_STRAY_MS 250

/* A master. */
struct bh_redis_place {
    struct bh_redis_cluster_bus *bus;
    struct bh_redis_cluster_master *master; /* a reference */
    unsigned index;                         /* in `places` */
    unsigned slots;                         /* that have their home here */
    unsigned mapped;                        /* slots in the last map */
    unsigned probe_slot;                    /* BH_REDIS_SLOTS: none yet */
    size_t strays;                          /* topics to be moved away: at most so many */
    size_t cursor;                          /* of the search for them */
    unsigned in_vain;                       /* searches that found none, one after the other */
    uint32_t reports;                       /* groups whose topics here are to be reported */
    size_t report_cursor, report_size;
    uint64_t since_ms; /* it was added, or lost its last slot */
    uint64_t up_event; /* when its link came up, in `events` */
    bool up;           /* its link */
    struct bh_defer reap;
    bool started;
    bool fresh; /* added to a cluster that is up: for a while it takes no group down */
};

struct bh_redis_cluster_bus {
    const struct bh_redis_config *config;
    struct bh_redis_topology *topology;
    struct bh_loop *loop; /* NULL: not started, or stopped */
    struct bh_mailbox *mailbox;
    struct bh_broker_sink sink;
    struct bh_redis_place **places; /* NULL: free */
    unsigned place_count;           /* of the array */
    uint16_t home[BH_REDIS_SLOTS];  /* in `places`, or BH_REDIS_NOBODY */
    uint16_t mapped[BH_REDIS_SLOTS];
    uint32_t topics[BH_REDIS_SLOTS];    /* wherever they are */
    uint8_t redirected[BH_REDIS_SLOTS]; /* by MOVED: ticks until the next one counts */
    bool any_redirected;
    /* Groups. */
    uint32_t up; /* one bit each */
    atomic_uint_fast32_t *published_up, *published_settling;
    uint64_t down_event[BH_REDIS_GROUPS];
    uint64_t events;
    /* Moves. */
    struct bh_map orphans; /* topics whose slot has no home */
    size_t orphan_cursor;
    bool orphans_found; /* in this search */
    bool orphans_due;   /* some of them may have one now */
    struct bh_timer stray_timer;
    struct bh_defer moving; /* of topics, and reports of groups */
    unsigned settling_ticks[BH_REDIS_GROUPS];
    unsigned leaving_ticks; /* > 0: topics may be subscribed at two masters */
    struct bh_redis_twins twins;
    /* */
    struct bh_timer timer; /* the tick */
    uint64_t tick_ms;
    struct {
        unsigned waiting;
        bool proven;
        void (*done)(void *ud, bool proven);
        void *ud;
    } fence;
};

static inline struct bh_redis_place *bh_redis_bus_home(const struct bh_redis_cluster_bus *bus,
                                                       unsigned slot) {
    return bus->home[slot] == BH_REDIS_NOBODY ? NULL : bus->places[bus->home[slot]];
}

/* --- groups.c --- */

/* Looks at all groups again, and tells the sink what has changed. */
void bh_redis_groups_check(struct bh_redis_cluster_bus *bus);
/* Reports topics that are live with their group; false: the share of the tick is used up. */
bool bh_redis_groups_report(struct bh_redis_cluster_bus *bus);
/* The link of the place went down: its topics are not live any more, in whatever state their group
 * is. */
void bh_redis_groups_place_down(struct bh_redis_cluster_bus *bus, struct bh_redis_place *place);

/* --- moves.c --- */

unsigned bh_redis_bus_slot(const struct bh_redis_cluster_bus *bus, struct bh_slice topic);
/* As the broker's. */
bool bh_redis_moves_subscribe(struct bh_redis_cluster_bus *bus, struct bh_slice topic);
void bh_redis_moves_unsubscribe(struct bh_redis_cluster_bus *bus, struct bh_slice topic);
/* The slot has that home from now on, in `places` or BH_REDIS_NOBODY; its topics follow. */
void bh_redis_moves_set_home(struct bh_redis_cluster_bus *bus, unsigned slot, unsigned to);
/* Moves what is to be moved, from now on. */
void bh_redis_moves_begin(struct bh_redis_cluster_bus *bus);
/* Chooses another channel for the probes of that place, if its slot has another home. */
void bh_redis_moves_probe(struct bh_redis_place *place);
/* From the brokers of the places. */
void bh_redis_moves_live(struct bh_redis_place *place, struct bh_slice topic);
void bh_redis_moves_lost(struct bh_redis_place *place, struct bh_slice topic);
bool bh_redis_moves_moved(struct bh_redis_place *place, struct bh_slice channel,
                          struct bh_slice answer);
/* The link of the place has brought a message without an id that another link has brought before.
 */
bool bh_redis_moves_is_twin(struct bh_redis_place *place, const struct bh_message *m);
/* At an interval. */
void bh_redis_moves_tick(struct bh_redis_cluster_bus *bus);

void bh_redis_moves_init(struct bh_redis_cluster_bus *bus);
void bh_redis_moves_start(struct bh_redis_cluster_bus *bus);
void bh_redis_moves_stop(struct bh_redis_cluster_bus *bus);
void bh_redis_moves_deinit(struct bh_redis_cluster_bus *bus);

/* --- bus.c --- */

/* config, topology, `up` and `settling` (cluster.h) are borrowed; *bus is zeroed. */
void bh_redis_bus_init(struct bh_redis_cluster_bus *bus, const struct bh_redis_config *config,
                       struct bh_redis_topology *topology, atomic_uint_fast32_t *up,
                       atomic_uint_fast32_t *settling);
void bh_redis_bus_start(struct bh_redis_cluster_bus *bus, struct bh_loop *loop,
                        struct bh_mailbox *mailbox, const struct bh_broker_sink *sink);
void bh_redis_bus_stop(struct bh_redis_cluster_bus *bus);
void bh_redis_bus_deinit(struct bh_redis_cluster_bus *bus);
void bh_redis_bus_adopt(struct bh_redis_cluster_bus *bus, const struct bh_redis_cluster_map *map);
/* A reference to a master that is still here, or NULL. */
struct bh_redis_cluster_master *bh_redis_bus_known(const struct bh_redis_cluster_bus *bus,
                                                   const char *host, uint16_t port);
/* As bh_broker_vt.fence, over all masters. */
void bh_redis_bus_fence(struct bh_redis_cluster_bus *bus, void (*done)(void *ud, bool proven),
                        void *ud);

#endif
