/* report.c - see the header. */
#include "report.h"

#include "bellhop/base/buf.h"
#include "config.h"
#include "config_keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `text` may have a beginning already; it becomes part of the list. */
static void add(struct bh_strings *to, struct bh_bytes *text, const char *format, va_list args) {
    bh_bytes_vaddf(text, format, args);
    bh_bytes_addc(text, '\0');
    bh_strings_add(to, text->p);
}

void bh_report_error(struct bh_report *r, const char *format, ...) {
    struct bh_bytes text = {0};
    va_list args;
    va_start(args, format);
    add(&r->errors, &text, format, args);
    va_end(args);
}

void bh_report_warning(struct bh_report *r, const char *format, ...) {
    struct bh_bytes text = {0};
    va_list args;
    va_start(args, format);
    add(&r->warnings, &text, format, args);
    va_end(args);
}

void bh_report_key(struct bh_report *r, const struct bh_config *c, const char *path,
                   const char *format, ...) {
    struct bh_bytes text = {0};
    const char *place = c->places[bh_config_find_key(path) - bh_config_keys];
    va_list args;
    if (place)
        bh_bytes_addf(&text, "%s: ", place);
    va_start(args, format);
    add(&r->errors, &text, format, args);
    va_end(args);
}

static const char *sorted_file;

static unsigned long line_of(const char *error) {
    return strtoul(error + strlen(sorted_file) + 1, NULL, 10);
}

static int compare(const void *a, const void *b) {
    const char *first = *(char *const *)a, *second = *(char *const *)b;
    unsigned long i = line_of(first), j = line_of(second);
    return i == j ? strcmp(first, second) : i < j ? -1 : 1;
}

void bh_report_sort(struct bh_report *r, size_t from, const char *file) {
    sorted_file = file;
    if (r->errors.count > from)
        qsort(r->errors.items + from, r->errors.count - from, sizeof *r->errors.items, compare);
}

void bh_report_print(const struct bh_report *r) {
    for (size_t i = 0; i < r->warnings.count; i++)
        fprintf(stderr, "bellhop: warning: %s\n", r->warnings.items[i]);
    for (size_t i = 0; i < r->errors.count; i++)
        fprintf(stderr, "bellhop: %s\n", r->errors.items[i]);
}

void bh_report_free(struct bh_report *r) {
    bh_strings_free(&r->errors);
    bh_strings_free(&r->warnings);
}
