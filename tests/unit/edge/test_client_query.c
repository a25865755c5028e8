/* test_client_query.c - what a client that resumes says in its query. */
#include "client/query.h"

#include "bellhop/base/error.h"
#include "unit_test.h"

#include <stdio.h>

#define HASH "AAAAAAAAAAB"

static struct bh_client_query parsed(const char *query) {
    struct bh_client_query q;
    const char *why = "";
    if (bh_client_query_parse(bh_slice_cstr(query), &q, &why))
        fail_msg("%s: %s", query, why);
    return q;
}

static void assert_refused(const char *query, const char *expected) {
    struct bh_client_query q;
    const char *why = NULL;
    if (bh_client_query_parse(bh_slice_cstr(query), &q, &why) != BH_EINVAL)
        fail_msg("\"%s\" is read", query);
    assert_non_null(why);
    if (!strstr(why, expected))
        fail_msg("\"%s\": %s", query, why);
    bh_client_query_free(&q);
}

static void nothing_is_said(void **state) {
    static const char *const queries[] = {"", "user=1&token=%zz", "topics=a", "&&=", "Topic=a"};
    for (size_t i = 0; i < COUNT(queries); i++) {
        struct bh_client_query q = parsed(queries[i]);
        assert_int_equal(q.topic_count, 0);
        assert_int_equal(q.since.count, 0);
        bh_client_query_free(&q);
    }
    struct bh_client_query q;
    const char *why;
    assert_int_equal(bh_client_query_parse(bh_slice(NULL, 0), &q, &why), 0);
    bh_client_query_free(&q);
}

static void topics_are_decoded_and_each_is_there_once(void **state) {
    struct bh_client_query q = parsed("topic=news&x=1&topic=a%2Fb%7C%C3%A4&topic=n%65ws&topic=0");
    assert_int_equal(q.topic_count, 3);
    assert_slice(q.topics[0], "news");
    assert_slice(q.topics[1], "a/b|\xc3\xa4");
    assert_slice(q.topics[2], "0");
    bh_client_query_free(&q);
}

static void since_is_read(void **state) {
    struct bh_client_query q = parsed("since=1." HASH "%3A5-6&topic=a");
    assert_int_equal(q.since.count, 1);
    assert_true(q.since.topics[0].hash == 1);
    assert_true(bh_position_eq(q.since.topics[0].position, (struct bh_position){5, 6}));
    bh_client_query_free(&q);
    q = parsed("since=");
    assert_int_equal(q.since.count, 0);
    bh_client_query_free(&q);
    q = parsed("since=1.");
    assert_int_equal(q.since.count, 0);
    bh_client_query_free(&q);
}

static void malformed_ones_are_refused(void **state) {
    assert_refused("topic=", "topic");
    assert_refused("topic", "topic");
    assert_refused("topic=a+b", "topic");
    assert_refused("topic=a%0Ab", "topic");
    assert_refused("topic=a%00b", "topic");
    assert_refused("topic=%ff", "topic");
    assert_refused("topic=%f", "escape");
    assert_refused("topic=a&topic=%", "escape");
    assert_refused("since=%zz", "escape");
    assert_refused("since=_", "since");
    assert_refused("since=1", "since");
    assert_refused("since=1." HASH ":5-6+", "since");
    assert_refused("since=1." HASH ":5-6,", "since");
    assert_refused("since=2." HASH ":5-6", "since");
    assert_refused("since=1." HASH ":5-6&since=x", "since");
}

static void there_is_an_end_to_topics(void **state) {
    char query[4096] = "";
    for (int i = 0; i < BH_CLIENT_TOPICS_MAX; i++)
        sprintf(query + strlen(query), "&topic=t%d", i);
    struct bh_client_query q = parsed(query);
    assert_int_equal(q.topic_count, BH_CLIENT_TOPICS_MAX);
    bh_client_query_free(&q);
    strcat(query, "&topic=t0"); /* again */
    q = parsed(query);
    assert_int_equal(q.topic_count, BH_CLIENT_TOPICS_MAX);
    bh_client_query_free(&q);
    strcat(query, "&topic=more");
    assert_refused(query, "64 topics");
}

static void only_format_json_is_ours(void **state) {
    assert_true(bh_client_query_wants_json(BH_SLICE("format=json")));
    assert_true(bh_client_query_wants_json(BH_SLICE("topic=a&format=json&x")));
    assert_false(bh_client_query_wants_json(BH_SLICE("")));
    assert_false(bh_client_query_wants_json(BH_SLICE("format=")));
    assert_false(bh_client_query_wants_json(BH_SLICE("format=protobuf")));
    assert_false(bh_client_query_wants_json(BH_SLICE("xformat=json")));
    assert_false(bh_client_query_wants_json(BH_SLICE("format=json2")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_said),
        cmocka_unit_test(topics_are_decoded_and_each_is_there_once),
        cmocka_unit_test(since_is_read),
        cmocka_unit_test(malformed_ones_are_refused),
        cmocka_unit_test(there_is_an_end_to_topics),
        cmocka_unit_test(only_format_json_is_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
