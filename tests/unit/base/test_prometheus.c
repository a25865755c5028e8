/* The lines that Prometheus reads. */
#include "bellhop/base/prometheus.h"

#include "unit_test.h"

static void assert_text(struct bh_bytes *out, const char *expected) {
    assert_slice(bh_bytes_slice(out), expected);
    bh_bytes_free(out);
}

static void samples(void **state) {
    struct bh_bytes out = {0};
    bh_prometheus_describe(&out, "a_total", "counter", "Things.");
    bh_prometheus_int(&out, "a_total", bh_slice(NULL, 0), -1);
    bh_prometheus_int(&out, "a_total", BH_SLICE("k=\"v\""), INT64_MAX);
    bh_prometheus_double(&out, "b", BH_SLICE("k=\"v\""), 0.1);
    bh_prometheus_double(&out, "b", bh_slice(NULL, 0), 9007199254740992);
    assert_text(&out, "# HELP a_total Things.\n# TYPE a_total counter\na_total -1\n"
                      "a_total{k=\"v\"} 9223372036854775807\n"
                      "b{k=\"v\"} 0.10000000000000001\nb 9007199254740992\n");
}

static void histograms_are_cumulative(void **state) {
    static const double bounds[] = {0.5, 1};
    static const uint64_t counts[] = {1, 0, 2};
    struct bh_bytes out = {0};
    bh_prometheus_histogram(&out, "h", bh_slice(NULL, 0), bounds, counts, 2, 7.5);
    assert_text(&out, "h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 3\n"
                      "h_sum 7.5\nh_count 3\n");
    bh_prometheus_histogram(&out, "h", BH_SLICE("k=\"v\""), bounds, counts, 1, 0);
    assert_text(&out, "h_bucket{k=\"v\",le=\"0.5\"} 1\nh_bucket{k=\"v\",le=\"+Inf\"} 1\n"
                      "h_sum{k=\"v\"} 0\nh_count{k=\"v\"} 1\n");
}

static void label_values_are_escaped(void **state) {
    struct bh_bytes out = {0};
    bh_prometheus_label(&out, "a", BH_SLICE("quote\" slash\\ line\n"));
    bh_prometheus_label(&out, "b", bh_slice(NULL, 0));
    assert_text(&out, "a=\"quote\\\" slash\\\\ line\\n\",b=\"\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples),
        cmocka_unit_test(histograms_are_cumulative),
        cmocka_unit_test(label_values_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
