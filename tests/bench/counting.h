/* counting.h - instructions of one path of the code, counted by callgrind, in an environment that
 * is the same in each run.
 *
 * A path is an operation that is repeated. Callgrind counts the operation only, not its
 * preparation, and writes a file for each path, which counts.lua reads. Without valgrind the paths
 * run and are checked, and nothing is counted. One thread. */
#ifndef BELLHOP_BENCH_COUNTING_H
#define BELLHOP_BENCH_COUNTING_H

#include <stdbool.h>
#include <stdint.h>

struct path {
    const char *name;
    unsigned rounds;
    unsigned per_round;        /* operations in a round */
    void (*prepare)(void *ud); /* before each round, not counted; may be NULL */
    void (*run)(void *ud);
};

/* Runs a few rounds to warm up, then the counted ones; prints the path's line of the table. */
void counting_path(const struct path *p, void *ud);
/* The cost of the loop around a path; counts.lua subtracts it from all others. */
void counting_nothing(void);
/* The compiler, the libraries and the features of the CPU that the counts depend on. */
void counting_print_machine(void);

/* The clock of this process advances by this call only. */
void counting_pass_ms(uint64_t ms);

/* Ends the program with status 1 unless `ok`: the counted work was not done. */
void counting_must(bool is_so, const char *what);

#endif
