/* metrics.c - counting without contention.
 *
 * Each thread owns a block of cells and is the only one to write them, so an increment is a relaxed
 * load and a relaxed store: no locked instruction, no shared cache line. The blocks hang in one
 * list under a mutex that only readers, new threads and ending threads take. A thread that ends
 * adds its cells to `retired`, so no count is ever lost.
 *
 * Cell 0 belongs to the metrics that were not registered. */
#include "bellhop/base/metrics.h"

#include "bellhop/base/list.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/prometheus.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CELLS       (BH_METRICS_MAX + 1)
#define SOURCES_MAX 4

struct block {
    struct bh_list in_blocks;
    _Atomic int64_t cells[CELLS];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* all statics but `mine` */
static struct bh_list blocks = {&blocks, &blocks};
static int64_t retired[CELLS];
static const struct bh_metric *registered[CELLS];
static unsigned last_cell;
static void (*sources[SOURCES_MAX])(struct bh_bytes *out);
static unsigned source_count;

static _Thread_local struct block *mine;
static pthread_key_t exit_key;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;

void bh_metrics_register(struct bh_metric *metrics, size_t count) {
    pthread_mutex_lock(&lock);
    for (struct bh_metric *m = metrics; m < metrics + count; m++) {
        if (m->cell)
            continue;
        if (last_cell == BH_METRICS_MAX) {
            fprintf(stderr, "bellhop: no cell is left for %s; raise BH_METRICS_MAX\n", m->name);
            abort();
        }
        m->cell = ++last_cell;
        registered[m->cell] = m;
    }
    pthread_mutex_unlock(&lock);
}

static int64_t load(const _Atomic int64_t *cell) {
    return atomic_load_explicit(cell, memory_order_relaxed);
}

static void on_thread_exit(void *arg) {
    struct block *block = arg;
    mine = NULL;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < CELLS; i++)
        retired[i] += load(&block->cells[i]);
    bh_list_unlink(&block->in_blocks);
    pthread_mutex_unlock(&lock);
    bh_free(block);
}

static void make_exit_key(void) {
    if (pthread_key_create(&exit_key, on_thread_exit) != 0)
        abort();
}

/* Not inline, so that the many calls of bh_metric_add save no registers for the first one. */
static __attribute__((noinline)) struct block *block_new(void) {
    struct block *block = bh_calloc(1, sizeof *block);
    pthread_once(&exit_key_once, make_exit_key);
    pthread_setspecific(exit_key, block);
    pthread_mutex_lock(&lock);
    bh_list_append(&blocks, &block->in_blocks);
    pthread_mutex_unlock(&lock);
    return block;
}

void bh_metric_add(const struct bh_metric *m, int64_t n) {
    if (!mine)
        mine = block_new();
    _Atomic int64_t *cell = &mine->cells[m->cell];
    atomic_store_explicit(cell, load(cell) + n, memory_order_relaxed);
}

/* The caller holds the lock. */
static int64_t sum(unsigned cell) {
    int64_t total = retired[cell];
    for (struct bh_list *l = blocks.next; l != &blocks; l = l->next)
        total += load(&BH_CONTAINER_OF(l, struct block, in_blocks)->cells[cell]);
    return total;
}

int64_t bh_metric_read(const struct bh_metric *m) {
    if (!m->cell)
        return 0;
    pthread_mutex_lock(&lock);
    int64_t total = sum(m->cell);
    pthread_mutex_unlock(&lock);
    return total;
}

void bh_metrics_add_source(void (*render)(struct bh_bytes *out)) {
    pthread_mutex_lock(&lock);
    if (source_count == SOURCES_MAX)
        abort();
    sources[source_count++] = render;
    pthread_mutex_unlock(&lock);
}

void bh_metrics_render(struct bh_bytes *out) {
    pthread_mutex_lock(&lock);
    const char *previous = "";
    for (unsigned cell = 1; cell <= last_cell; cell++) {
        const struct bh_metric *m = registered[cell];
        if (strcmp(previous, m->name) != 0)
            bh_prometheus_describe(out, m->name, m->type == BH_COUNTER ? "counter" : "gauge",
                                   m->help);
        bh_prometheus_int(out, m->name, bh_slice_cstr(m->labels), sum(cell));
        previous = m->name;
    }
    unsigned count = source_count;
    pthread_mutex_unlock(&lock);
    for (unsigned i = 0; i < count; i++)
        sources[i](out);
}
