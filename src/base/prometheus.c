/* prometheus.c - the text format, for the metrics of the process and for those of scripts. Doubles
 * are written with all their digits, so that increments of a large counter show. */
#include "bellhop/base/prometheus.h"

#include <inttypes.h>
#include <stdio.h>

void bh_prometheus_describe(struct bh_bytes *out, const char *name, const char *type,
                            const char *help) {
    bh_bytes_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* `more` is one further label, or empty. */
static void add_series(struct bh_bytes *out, const char *name, const char *suffix,
                       struct bh_slice labels, const char *more) {
    bh_bytes_adds(out, name);
    bh_bytes_adds(out, suffix);
    if (labels.n || *more)
        bh_bytes_addf(out, "{%.*s%s%s}", BH_SLICE_ARG(labels), labels.n && *more ? "," : "", more);
}

static void add_double(struct bh_bytes *out, double value) {
    bh_bytes_addf(out, " %.17g\n", value);
}

void bh_prometheus_int(struct bh_bytes *out, const char *name, struct bh_slice labels,
                       int64_t value) {
    add_series(out, name, "", labels, "");
    bh_bytes_addf(out, " %" PRId64 "\n", value);
}

void bh_prometheus_double(struct bh_bytes *out, const char *name, struct bh_slice labels,
                          double value) {
    add_series(out, name, "", labels, "");
    add_double(out, value);
}

void bh_prometheus_histogram(struct bh_bytes *out, const char *name, struct bh_slice labels,
                             const double *bounds, const uint64_t *counts, size_t count,
                             double sum) {
    uint64_t total = 0;
    char le[32];
    for (size_t i = 0; i <= count; i++) {
        total += counts[i];
        if (i < count)
            snprintf(le, sizeof le, "le=\"%g\"", bounds[i]);
        else
            snprintf(le, sizeof le, "le=\"+Inf\"");
        add_series(out, name, "_bucket", labels, le);
        add_double(out, (double)total);
    }
    add_series(out, name, "_sum", labels, "");
    add_double(out, sum);
    add_series(out, name, "_count", labels, "");
    add_double(out, (double)total);
}

void bh_prometheus_label(struct bh_bytes *out, const char *name, struct bh_slice value) {
    bh_bytes_addf(out, "%s%s=\"", out->len ? "," : "", name);
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c == '\\' || c == '"')
            bh_bytes_addc(out, '\\');
        if (c == '\n')
            bh_bytes_adds(out, "\\n");
        else
            bh_bytes_addc(out, c);
    }
    bh_bytes_addc(out, '"');
}
