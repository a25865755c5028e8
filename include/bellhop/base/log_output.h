/* log_output.h - where complete lines go: stderr, or syslog.
 *
 * Written directly, a line blocks its thread while nobody reads the log. That suits the start, and
 * programs that are no server. Between start and stop lines go into a ring of 1 MiB instead, which
 * a thread of its own writes, and no other thread waits for the reader. A line that does not fit,
 * or that could not be written, is counted (bellhop_base_log_lost_total), and one line says how
 * many were lost when writing goes on. Thread: any, unless a function says otherwise. */
#ifndef BELLHOP_BASE_LOG_OUTPUT_H
#define BELLHOP_BASE_LOG_OUTPUT_H

#include "bellhop/base/log.h"

void bh_log_metrics_register(void);
/* Before other threads start. */
void bh_log_output_init(bool use_syslog);
/* Hands the line over; it ends with a line feed. */
void bh_log_output_put(enum bh_log_level level, struct bh_slice line);

/* From now on the thread writes. 0 or BH_EIO. */
int bh_log_output_start(void);
/* Writes what is left, see bh_log_output_drain; later lines are written by the caller, to stderr,
 * which has 100 ms to take each. The thread is not waited for: it may be stuck. */
void bh_log_output_stop(void);
/* For the end of the process: the caller writes what is in the ring, and gives up when stderr takes
 * nothing for 100 ms, or has been waited for ten times. With syslog, whose writer alone may call
 * it, the writer has these times first. Async-signal-safe. */
void bh_log_output_drain(void);
/* The same, and then this text as it is. */
void bh_log_output_last_words(const char *text);

#endif
