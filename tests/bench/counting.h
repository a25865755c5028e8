/* counting.h - instructions of one path of the code, counted by callgrind, and a world that is the
 * same in each run.
 *
 * A path is an operation that is done again and again. Callgrind looks only at the operation
 * itself, not at what prepares it, and writes what it has seen into a file of its own under the
 * path's name; counts.lua reads the files. Without valgrind all is done and checked the same, and
 * nothing is counted. One thread. */
#ifndef BELLHOP_BENCH_COUNTING_H
#define BELLHOP_BENCH_COUNTING_H

#include <stdbool.h>
#include <stdint.h>

struct path {
    const char *name;
    unsigned rounds;
    unsigned per_round;        /* what a round is divided by */
    void (*prepare)(void *ud); /* before each round, not counted; NULL: nothing to prepare */
    void (*run)(void *ud);
};

/* Some rounds to warm up, then those that count; prints the path's line of the table. */
void counting_path(const struct path *p, void *ud);
/* What the loop itself costs: the path that counts.lua takes off all others. */
void counting_nothing(void);
/* The compiler, the libraries and the features of the CPU that the counts depend on. */
void counting_print_machine(void);

/* Time stands still, for everybody in this process, but for this. */
void counting_pass_ms(uint64_t ms);

/* Ends the program with status 1 unless it is: then the work that is counted was not done. */
void counting_must(bool is_so, const char *what);

#endif
