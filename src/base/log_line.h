/* log_line.h - a line of the log: time, level, message, instance, fields. */
#ifndef BELLHOP_SRC_BASE_LOG_LINE_H
#define BELLHOP_SRC_BASE_LOG_LINE_H

#include "bellhop/base/buf.h"
#include "bellhop/base/log.h"

extern const char *const bh_log_level_names[]; /* by enum bh_log_level */

/* Before other threads start. instance: a field of each line, or NULL. */
void bh_log_line_init(enum bh_log_format format, const char *instance);
/* Writes the line and its line feed into empty bytes. fields: up to one without key, or NULL. */
void bh_log_line(struct bh_bytes *line, enum bh_log_level level, const char *message,
                 const struct bh_kv *fields, unsigned suppressed);

#endif
