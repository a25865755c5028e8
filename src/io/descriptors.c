/* descriptors.c - the reserve of file descriptors.
 *
 * The reserve are the last numbers below the limit. Nothing holds them open: everything that needs
 * a descriptor gets one as long as there is one (links to Redis, requests of scripts, files of a
 * reload), but a connection whose number is that high knows that it is one of the last.
 *
 * That fails when the limit is lowered while the process runs, and when the machine has no files
 * left (ENFILE). For that a few spare descriptors are held open: a listener that cannot accept
 * closes one and accepts again. Until all of them are open again every new descriptor counts as
 * reserve.
 *
 * The limit may also be raised while the process runs, so it is read again when the reserve seems
 * to be touched. Thread: any; the state is the process's, behind a lock that is only taken when
 * descriptors are short. */
#include "descriptors_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define TABLE_MAX   131072 /* entries made at the start: 1 MiB */
#define RESERVE_DIV 8
#define SPARES_MAX  16

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int spares[SPARES_MAX];
static size_t spare_count, spare_goal; /* open; wanted */
static size_t wanted;                  /* of bh_descriptors_init */

static atomic_int first_reserved = INT_MAX;
static atomic_bool lent; /* spares are missing */

static int limit(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur > INT_MAX)
        return INT_MAX;
    return (int)files.rlim_cur;
}

static size_t reserve_of(int all) {
    size_t most = (size_t)all / RESERVE_DIV;
    return wanted < most ? wanted : most;
}

static void read_limit(void) {
    int all = limit();
    atomic_store_explicit(&first_reserved, all - (int)reserve_of(all), memory_order_relaxed);
}

static void raise_limit(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == files.rlim_max)
        return;
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

/* The kernel doubles a process's table of descriptors when it is full. In a process with several
 * threads it then waits until no CPU uses the old table, which stalls the accepting worker for some
 * ten milliseconds at 256 connections, 512, 1,024 and so on. So the table grows once, while there
 * is only one thread. An entry takes 8 bytes. */
static void grow_table(void) {
    int all = limit(), entries = all < TABLE_MAX ? all : TABLE_MAX;
    int any = eventfd(0, EFD_CLOEXEC), last = fcntl(any, F_DUPFD_CLOEXEC, entries - 1);
    if (last >= 0)
        close(last);
    if (any >= 0)
        close(any);
}

static void open_spares(void) {
    while (spare_count < spare_goal) {
        int fd = eventfd(0, EFD_CLOEXEC);
        if (fd < 0)
            break;
        spares[spare_count++] = fd;
    }
    atomic_store_explicit(&lent, spare_count < spare_goal, memory_order_relaxed);
}

void bh_descriptors_init(size_t count) {
    raise_limit();
    grow_table();
    wanted = count;
    read_limit();
    size_t quarter = reserve_of(limit()) / 4;
    spare_goal = quarter < SPARES_MAX ? quarter : SPARES_MAX;
    open_spares();
}

bool bh_descriptor_is_reserve(int fd) {
    if (fd >= atomic_load_explicit(&first_reserved, memory_order_relaxed))
        read_limit();
    return fd >= atomic_load_explicit(&first_reserved, memory_order_relaxed) ||
           atomic_load_explicit(&lent, memory_order_relaxed);
}

bool bh_descriptors_lend(void) {
    pthread_mutex_lock(&lock);
    bool found = spare_count > 0;
    if (found)
        close(spares[--spare_count]);
    atomic_store_explicit(&lent, spare_count < spare_goal, memory_order_relaxed);
    pthread_mutex_unlock(&lock);
    return found;
}

void bh_descriptors_restore(void) {
    if (!atomic_load_explicit(&lent, memory_order_relaxed))
        return;
    pthread_mutex_lock(&lock);
    open_spares();
    pthread_mutex_unlock(&lock);
}
