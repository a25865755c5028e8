/* output.c - how a process of bench_load ends when it cannot go on. */
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void die(const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    fprintf(stderr, "bench_load: %s\n", line);
    _exit(1);
}

void *must_realloc(void *old, size_t size) {
    void *new = realloc(old, size);
    if (!new &&size)
        die("out of memory: %zu bytes", size);
    return new;
}
