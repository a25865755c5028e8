/* test_client_rights.c - topics that a client names become its identity's last ones, and a refusal
 * becomes an answer that names the topic. */
#include "client/rights.h"

#include "bellhop/base/error.h"
#include "unit_test.h"

#include <stdio.h>

static struct bh_identity *identity(const char *topics) {
    struct bh_slice rest = bh_slice_cstr(topics), list[300], part;
    struct bh_identity parts = {.user = BH_SLICE("42"), .topics = list}, *id;
    while (*topics && bh_slice_split(&rest, ' ', &part))
        list[parts.topic_count++] = part;
    assert_int_equal(bh_identity_new(&parts, &id, NULL), 0);
    return id;
}

/* "a b|c|d": not named, its own that are named, gained. */
static void assert_named(const char *own, const char *named, bool all, const char *expected) {
    struct bh_identity *id = identity(own);
    struct bh_client_query q;
    const char *why;
    char got[256] = "";
    assert_int_equal(bh_client_query_parse(bh_slice_cstr(named), &q, &why), 0);
    assert_int_equal(bh_client_name_topics(&id, &q, all, &why), 0);
    bh_client_query_free(&q);
    for (unsigned i = 0; i <= id->topic_count; i++) {
        if (i + id->named == id->topic_count)
            strcat(got, "|");
        if (i + id->gained == id->topic_count)
            strcat(got, "|");
        if (i < id->topic_count)
            sprintf(got + strlen(got), "%.*s ", BH_SLICE_ARG(id->topics[i]));
    }
    assert_string_equal(got, expected);
    assert_slice(id->user, "42");
    bh_identity_free(id);
}

static void the_last_ones_are_named(void **state) {
    assert_named("", "", false, "||");
    assert_named("a b", "", false, "a b ||");
    assert_named("", "topic=a&topic=b", false, "||a b ");
    assert_named("a b", "topic=c", false, "a b ||c ");
    assert_named("a b c", "topic=b&topic=d&topic=a", false, "c |a b |d ");
    assert_named("a b", "topic=a&topic=b", false, "|a b |");
}

static void for_developers_all_are_their_own(void **state) {
    assert_named("a", "topic=a&topic=b", true, "|a b |");
    assert_named("", "topic=b", true, "|b |");
}

static void too_many_leave_it_as_it_was(void **state) {
    char topics[2048] = "";
    struct bh_client_query q;
    const char *why = NULL;
    for (int i = 0; i < 255; i++)
        sprintf(topics + strlen(topics), "%st%d", i ? " " : "", i);
    struct bh_identity *id = identity(topics), *before = id;
    assert_int_equal(bh_client_query_parse(BH_SLICE("topic=a&topic=b"), &q, &why), 0);
    assert_int_equal(bh_client_name_topics(&id, &q, false, &why), BH_EINVAL);
    assert_non_null(strstr(why, "256 topics"));
    assert_ptr_equal(id, before);
    bh_client_query_free(&q);
    bh_identity_free(id);
}

static void assert_refusal(int status, const char *body, int as, const char *expected) {
    struct bh_client_refusal r = {0};
    bh_client_refusal_set(&r, BH_SLICE("topic:a/b"), status, bh_slice_cstr(body));
    bh_client_refusal_error(&r, BH_EDENIED); /* adds nothing */
    assert_int_equal(r.status, as);
    if (!bh_slice_starts(bh_bytes_slice(&r.body), bh_slice_cstr(expected)))
        fail_msg("%.*s", BH_SLICE_ARG(bh_bytes_slice(&r.body)));
    bh_client_refusal_free(&r);
}

static void a_refusal_names_the_topic(void **state) {
    assert_refusal(403, NULL, 403, "topic a/b: it is not among the topics of this client");
    assert_refusal(404, "no such topic", 404, "topic a/b: no such topic");
    assert_refusal(503, "on_subscribe failed", 503, "topic a/b: on_subscribe failed");
    assert_refusal(1008, "no", 403, "topic a/b: no");
    assert_refusal(200, "no", 403, "topic a/b: no");
    assert_refusal(0, "", 403, "topic a/b: it is not");
    assert_refusal(-1, "no", 403, "topic a/b: no");
    assert_refusal(402, " {\"pay\":true}", 402, " {\"pay\":true}");
}

static void assert_error(int error, int status, const char *expected) {
    struct bh_client_refusal r = {0};
    bh_client_refusal_error(&r, error);
    assert_int_equal(r.status, status);
    if (!bh_slice_starts(bh_bytes_slice(&r.body), bh_slice_cstr(expected)))
        fail_msg("%.*s", BH_SLICE_ARG(bh_bytes_slice(&r.body)));
    bh_client_refusal_free(&r);
}

static void other_errors_have_a_status_too(void **state) {
    assert_error(BH_ETOOBIG, 400, "a client can follow at most 8 topics");
    assert_error(BH_EDENIED, 403, "a topic was refused");
    assert_error(BH_ECLOSED, 503, "the connection could not be registered");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_ones_are_named),
        cmocka_unit_test(for_developers_all_are_their_own),
        cmocka_unit_test(too_many_leave_it_as_it_was),
        cmocka_unit_test(a_refusal_names_the_topic),
        cmocka_unit_test(other_errors_have_a_status_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
