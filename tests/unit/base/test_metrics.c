/* Metrics: threads that come and go lose no count; the text is what Prometheus reads. */
#include "bellhop/base/metrics.h"

#include "unit_test.h"

#include <pthread.h>

static struct bh_metric metrics[] = {
    {"bellhop_test_events_total", "kind=\"a\"", "Events seen.", BH_COUNTER, 0},
    {"bellhop_test_events_total", "kind=\"b\"", "Events seen.", BH_COUNTER, 0},
    {"bellhop_test_open", NULL, "Things open now.", BH_GAUGE, 0},
};

static int setup(void **state) {
    bh_metrics_register(metrics, COUNT(metrics));
    return 0;
}

static void render(struct bh_bytes *out) {
    bh_bytes_clear(out);
    bh_metrics_render(out);
    bh_bytes_addc(out, '\0');
}

static void renders_from_zero_on(void **state) {
    struct bh_bytes out = {0};
    render(&out);
    assert_string_equal(out.p, "# HELP bellhop_test_events_total Events seen.\n"
                               "# TYPE bellhop_test_events_total counter\n"
                               "bellhop_test_events_total{kind=\"a\"} 0\n"
                               "bellhop_test_events_total{kind=\"b\"} 0\n"
                               "# HELP bellhop_test_open Things open now.\n"
                               "# TYPE bellhop_test_open gauge\n"
                               "bellhop_test_open 0\n");
    bh_metric_inc(&metrics[1]);
    bh_metric_add(&metrics[2], 5);
    bh_metric_add(&metrics[2], -7);
    render(&out);
    assert_non_null(strstr(out.p, "{kind=\"a\"} 0\n"));
    assert_non_null(strstr(out.p, "{kind=\"b\"} 1\n"));
    assert_non_null(strstr(out.p, "bellhop_test_open -2\n"));
    bh_metric_add(&metrics[1], -1);
    bh_metric_add(&metrics[2], 2);
    bh_bytes_free(&out);
}

static void registering_twice_changes_nothing(void **state) {
    unsigned cell = metrics[0].cell;
    bh_metrics_register(metrics, COUNT(metrics));
    assert_int_equal(metrics[0].cell, cell);
    struct bh_bytes out = {0};
    render(&out);
    const char *first = strstr(out.p, "# TYPE bellhop_test_open");
    assert_non_null(first);
    assert_null(strstr(first + 1, "# TYPE bellhop_test_open"));
    bh_bytes_free(&out);
}

static void an_unregistered_metric_is_not_counted(void **state) {
    static const struct bh_metric unregistered = {"bellhop_test_stranger_total", NULL, "",
                                                  BH_COUNTER, 0};
    bh_metric_inc(&unregistered);
    assert_int_equal(bh_metric_read(&unregistered), 0);
    assert_int_equal(bh_metric_read(&metrics[0]), 0);
}

enum { ROUNDS = 20000 };

static void *count(void *arg) {
    for (int i = 0; i < ROUNDS; i++) {
        bh_metric_inc(&metrics[0]);
        bh_metric_add(&metrics[2], i % 2 ? -1 : 1);
    }
    return NULL;
}

static void ended_threads_are_remembered(void **state) {
    int64_t before = bh_metric_read(&metrics[0]);
    for (int generation = 1; generation <= 3; generation++) {
        pthread_t threads[4];
        for (size_t i = 0; i < COUNT(threads); i++)
            assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
        int64_t last = before;
        for (int i = 0; i < 200; i++) { /* reading while they count never goes back */
            int64_t now = bh_metric_read(&metrics[0]);
            assert_true(now >= last);
            last = now;
        }
        for (size_t i = 0; i < COUNT(threads); i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(bh_metric_read(&metrics[0]), before + generation * 4 * ROUNDS);
        assert_int_equal(bh_metric_read(&metrics[2]), 0);
    }
}

static pthread_key_t late_key;

static void count_late(void *arg) {
    bh_metric_inc(&metrics[1]);
}

static void *count_at_exit(void *arg) {
    pthread_setspecific(late_key, &late_key);
    bh_metric_inc(&metrics[1]);
    return NULL;
}

/* The counts are kept in either order of the destructors. */
static void counting_in_a_thread_destructor_is_kept(void **state) {
    int64_t before = bh_metric_read(&metrics[1]);
    assert_int_equal(pthread_key_create(&late_key, count_late), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, count_at_exit, NULL), 0);
    pthread_join(thread, NULL);
    pthread_key_delete(late_key);
    assert_int_equal(bh_metric_read(&metrics[1]), before + 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renders_from_zero_on),
        cmocka_unit_test(registering_twice_changes_nothing),
        cmocka_unit_test(an_unregistered_metric_is_not_counted),
        cmocka_unit_test(ended_threads_are_remembered),
        cmocka_unit_test(counting_in_a_thread_destructor_is_kept),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
