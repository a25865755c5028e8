/* stderr.h - writing to stderr without trust in its reader. Its flags are left alone: they belong
 * to the open file, which other processes may share. So a write is at most PIPE_BUF long and
 * follows a poll: a pipe that is ready takes so much at once. Async-signal-safe. Thread: any. */
#ifndef BELLHOP_SRC_BASE_STDERR_H
#define BELLHOP_SRC_BASE_STDERR_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* True when a write would not block, also when it would fail, within so many ms (-1: no limit). A
 * signal ends the wait. */
bool bh_stderr_ready(int ms);
/* One write of the first bytes, which may block unless it is ready. -1 with errno. */
ssize_t bh_stderr_write_some(const char *p, size_t n);
/* All of it, waiting at most so many ms (-1: no limit) for each part. False when that failed. */
bool bh_stderr_write(const char *p, size_t n, int ms);

#endif
