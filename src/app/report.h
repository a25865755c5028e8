/* report.h - what is wrong with a configuration: every mistake that a command found, not only the
 * first one.
 *
 * A mistake names its place, the key and what to do: "bellhop.conf.lua:12: server.listen: ...". A
 * warning stops nothing. Zero is empty. Thread: main. */
#ifndef BELLHOP_SRC_APP_REPORT_H
#define BELLHOP_SRC_APP_REPORT_H

#include "string_list.h"

struct bh_report {
    struct bh_strings errors, warnings;
};

void bh_report_error(struct bh_report *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void bh_report_warning(struct bh_report *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

struct bh_config;
/* A mistake in the value of this key: the place that set it goes in front of the text. */
void bh_report_key(struct bh_report *r, const struct bh_config *c, const char *path,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Sorts the mistakes from this one on, which all begin with the name of a file, by their lines. */
void bh_report_sort(struct bh_report *r, size_t from, const char *file);
/* To stderr, one line each. */
void bh_report_print(const struct bh_report *r);
void bh_report_free(struct bh_report *r);

#endif
