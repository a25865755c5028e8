/* merge.c - a lookup of several parts of the tracker, answered as one.
 *
 * The answer of a part is valid only during its callback, so it is copied, and given when the last
 * one is there. A user is in one part: when that one alone is asked, nothing is copied.
 *
 * An uncertain answer leaves out the connections of this instance, and the node adds them. For a
 * tenant that must hold in all parts or in none, so when some answers are uncertain and others are
 * not, all parts are asked again as if this instance was registering. */
#include "tracker/merge.h"

#include "bellhop/base/mem.h"
#include "bellhop/core/node.h"

struct merge;

/* What one part is asked for. */
struct share {
    struct merge *merge;
    size_t count;
    struct bh_slice *names;
    size_t *index;                    /* of each name, in what is asked for */
    struct bh_connection_info *infos; /* a copy of its answer, with its text behind it */
};

struct merge {
    struct bh_redis_tracker *const *parts;
    unsigned worker;
    enum bh_lookup what;
    size_t count;
    bh_tracker_cb done;
    void *ud;
    bh_handle handle;
    unsigned waiting; /* for so many answers */
    int error;        /* the first one */
    int64_t as_of;
    bool as_if_incomplete; /* the second time */
    bool certain, uncertain;
    struct bh_presence *found;
    struct share shares[BH_REDIS_PARTS];
};

/* --- the answers --- */

static size_t text_bytes(const struct bh_presence *found, size_t count, size_t *infos) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        *infos += found[i].count;
        for (size_t c = 0; c < found[i].count; c++)
            bytes += found[i].connections[c].instance.n + found[i].connections[c].tenant.n;
    }
    return bytes;
}

static void copy_connections(struct share *s, const struct bh_presence *found) {
    size_t infos = 0, bytes = text_bytes(found, s->count, &infos);
    struct bh_connection_info *info = bh_malloc((infos + 1) * sizeof *info + bytes);
    char *text = (char *)(info + infos);
    s->infos = info;
    for (size_t i = 0; i < s->count; i++) {
        s->merge->found[s->index[i]].connections = info;
        for (size_t c = 0; c < found[i].count; c++, info++) {
            *info = found[i].connections[c];
            info->instance = bh_slice_pack(&text, info->instance);
            info->tenant = bh_slice_pack(&text, info->tenant);
        }
    }
}

static void add_answer(struct share *s, const struct bh_presence *found, int64_t as_of) {
    struct merge *m = s->merge;
    if (m->as_of == 0 || as_of < m->as_of)
        m->as_of = as_of;
    for (size_t i = 0; i < s->count; i++) {
        struct bh_presence *p = &m->found[s->index[i]];
        p->count += found[i].count;
        p->uncertain |= found[i].uncertain;
        *(found[i].uncertain ? &m->uncertain : &m->certain) = true;
    }
    if (m->what == BH_LOOKUP_CONNECTIONS)
        copy_connections(s, found);
}

static void ask_all(struct merge *m);

static void finish(struct merge *m) {
    bool mixed = m->what == BH_LOOKUP_TENANTS && m->certain && m->uncertain;
    if (!m->error && mixed && !m->as_if_incomplete) {
        m->as_if_incomplete = true;
        ask_all(m);
        return;
    }
    if (m->error)
        m->done(m->ud, m->handle, m->error, NULL, 0, 0);
    else
        m->done(m->ud, m->handle, 0, m->found, m->count, m->as_of);
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++)
        bh_free(m->shares[i].infos);
    bh_free(m);
}

static void answered(struct merge *m) {
    if (--m->waiting == 0)
        finish(m);
}

static void on_answer(void *ud, bh_handle handle, int error, const struct bh_presence *found,
                      size_t count, int64_t as_of) {
    struct share *s = ud;
    if (!error)
        add_answer(s, found, as_of);
    else if (!s->merge->error)
        s->merge->error = error;
    answered(s->merge);
}

/* --- asking --- */

static bool all_complete(const struct merge *m) {
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++)
        if (!bh_redis_tracker_is_complete(m->parts[i]))
            return false;
    return true;
}

static void ask(struct merge *m, unsigned part, bool complete) {
    struct share *s = &m->shares[part];
    struct bh_redis_question q = {.what = m->what,
                                  .names = s->names,
                                  .count = s->count,
                                  .total = m->count,
                                  .complete = complete,
                                  .done = on_answer,
                                  .ud = s};
    m->waiting++;
    bh_redis_tracker_ask(m->parts[part], m->worker, &q);
}

/* It waits for one answer more than there are, so that it is not finished before all are asked. */
static void ask_all(struct merge *m) {
    bool tenants = m->what == BH_LOOKUP_TENANTS;
    bool complete = !tenants || (!m->as_if_incomplete && all_complete(m));
    memset(m->found, 0, m->count * sizeof *m->found);
    m->certain = m->uncertain = false;
    m->as_of = 0;
    m->waiting = 1;
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++)
        if (m->shares[i].count)
            ask(m, i, complete && (tenants || bh_redis_tracker_is_complete(m->parts[i])));
    answered(m);
}

/* With room for the names of all parts, and the names themselves, in one block. */
static struct merge *merge_new(size_t names, size_t count, size_t bytes) {
    struct merge *m = bh_calloc(1, sizeof *m + names * (sizeof(struct bh_slice) + sizeof(size_t)) +
                                       count * sizeof(struct bh_presence) + bytes);
    struct bh_slice *slices = (struct bh_slice *)(m + 1);
    size_t *index = (size_t *)(slices + names);
    m->shares[0].names = slices;
    m->shares[0].index = index;
    m->found = (struct bh_presence *)(index + names);
    m->count = count;
    return m;
}

static size_t bytes_of(const struct bh_slice *names, size_t count) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += names[i].n;
    return bytes;
}

static void add_name(struct share *s, struct bh_slice name, size_t index) {
    s->names[s->count] = name;
    s->index[s->count++] = index;
}

/* sizes: of each share, whose rooms lie one behind the other. */
static void make_room(struct merge *m, const size_t sizes[BH_REDIS_PARTS]) {
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++) {
        struct share *s = &m->shares[i];
        s->merge = m;
        if (i == 0)
            continue;
        s->names = s[-1].names + sizes[i - 1];
        s->index = s[-1].index + sizes[i - 1];
    }
}

static struct merge *merge_users(const struct bh_slice *names, size_t count, const uint8_t *part_of,
                                 const size_t sizes[BH_REDIS_PARTS]) {
    struct merge *m = merge_new(count, count, 0);
    make_room(m, sizes);
    for (size_t i = 0; i < count; i++)
        add_name(&m->shares[part_of[i]], names[i], i);
    return m;
}

/* The names are needed when all parts are asked again. */
static struct merge *merge_tenants(const struct bh_slice *names, size_t count) {
    size_t sizes[BH_REDIS_PARTS];
    struct merge *m = merge_new(count * BH_REDIS_PARTS, count, bytes_of(names, count));
    char *text = (char *)(m->found + count);
    for (unsigned i = 0; i < BH_REDIS_PARTS; i++)
        sizes[i] = count;
    make_room(m, sizes);
    for (size_t i = 0; i < count; i++) {
        struct bh_slice name = bh_slice_pack(&text, names[i]);
        for (unsigned part = 0; part < BH_REDIS_PARTS; part++)
            add_name(&m->shares[part], name, i);
    }
    return m;
}

void bh_redis_parts_lookup(struct bh_redis_tracker *const parts[BH_REDIS_PARTS], unsigned worker,
                           enum bh_lookup what, const struct bh_slice *names, size_t count,
                           bh_tracker_cb done, void *ud, bh_handle handle) {
    uint8_t part_of[BH_LOOKUP_MAX] = {0};
    size_t sizes[BH_REDIS_PARTS] = {0};
    bool tenants = what == BH_LOOKUP_TENANTS;
    for (size_t i = 0; i < count && !tenants; i++)
        sizes[part_of[i] = (uint8_t)bh_redis_part_of(names[i])]++;
    if (count == 0 || (!tenants && sizes[part_of[0]] == count)) {
        struct bh_redis_tracker *t = parts[part_of[0]];
        struct bh_redis_question q = {what, names, count, count, bh_redis_tracker_is_complete(t),
                                      done, ud,    handle};
        bh_redis_tracker_ask(t, worker, &q);
        return;
    }
    struct merge *m =
        tenants ? merge_tenants(names, count) : merge_users(names, count, part_of, sizes);
    m->parts = parts;
    m->worker = worker;
    m->what = what;
    m->done = done;
    m->ud = ud;
    m->handle = handle;
    ask_all(m);
}
