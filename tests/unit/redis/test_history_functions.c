/* test_history_functions.c - what error replies mean for the history, of old servers, too. */
#include "redis_server.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "history/functions.h"

static const struct bh_redis_config config = {.channel_prefix = "notification:", .user = "joe"};
static const struct bh_history_config history = {.ids_ms = 1000}, waiting = {.min_replicas = 1};

static void test_errors(void **state) {
    static const struct {
        const char *answer;
        int error;
        const char *why;
    } cases[] = {
        {"OOM command not allowed when used memory > 'maxmemory'.", BH_ENOMEM, "out of memory"},
        {"READONLY You can't write against a read only replica.", BH_EUNAVAIL, "replica"},
        {"LOADING Redis is loading the dataset in memory", BH_EUNAVAIL, "loading"},
        {"MASTERDOWN Link with MASTER is down", BH_EUNAVAIL, "master"},
        {"MISCONF Redis is configured to save RDB snapshots", BH_EUNAVAIL, "cannot save"},
        {"NOREPLICAS Not enough good replicas to write.", BH_EUNAVAIL, "too few replicas"},
        {"BUSY Redis is busy running a script.", BH_EUNAVAIL, "busy"},
        {"ERR Function not found", BH_EUNAVAIL, "could not be loaded"},
        {"NOSCRIPT No matching script. Please use EVAL.", BH_EUNAVAIL, "could not be loaded"},
        {"HISTORYOFFSET the offset of this stream has reached 2^53", BH_ETOOBIG, "2^53"},
        {"WRONGTYPE Operation against a key", BH_EDENIED, "WRONGTYPE"},
        {"ERR something else", BH_EDENIED, "something else"},
        {"", BH_EDENIED, ""},
        /* Redis before 7 */
        {"ERR Error running script (call to f_0123456789): @user_script:7: @user_script: 7: -OOM "
         "command not allowed when used memory > 'maxmemory'. ",
         BH_ENOMEM, "out of memory"},
        {"ERR Error running script (call to f_0123456789): @user_script:7: @user_script: 7: "
         "-READONLY You can't write against a read only replica. ",
         BH_EUNAVAIL, "replica"},
        {"ERR Error running script (call to f_0123456789): @user_script:7: @user_script: 7: "
         "attempt to index a nil value",
         BH_EDENIED, "attempt to index"},
    };
    struct bh_redis_functions f;
    bh_redis_functions_init(&f, &config, &history, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *why = NULL;
        int error = bh_redis_functions_error(&f, bh_slice_cstr(cases[i].answer), &why);
        assert_int_equal(error, cases[i].error);
        assert_non_null(strstr(why, cases[i].why));
        assert_null(atomic_load(&f.refused));
    }
    bh_redis_functions_deinit(&f);
}

/* ACL SETUSER of Redis 6 does not know FCALL. */
static void test_the_rights_are_those_of_the_server(void **state) {
    struct bh_redis_functions f;
    const char *why;
    bh_redis_functions_init(&f, &config, &waiting, false);
    assert_int_equal(bh_redis_functions_error(&f, BH_SLICE("NOPERM no"), &why), BH_EDENIED);
    assert_string_equal(why, atomic_load(&f.refused));
    assert_non_null(strstr(why, "ACL SETUSER joe ~{notification:* &notification:* "));
    assert_non_null(strstr(why, "+fcall +function|load "));
    assert_null(strstr(why, "+eval"));
    assert_non_null(strstr(why, "+wait"));
    atomic_store(&f.old, true);
    bh_redis_functions_error(&f, BH_SLICE("ERR Error running script: -NOPERM no"), &why);
    assert_non_null(strstr(why, "+eval +evalsha "));
    assert_null(strstr(why, "+fcall"));
    bh_redis_functions_deinit(&f);
}

static void test_the_rights_in_a_cluster(void **state) {
    struct bh_redis_functions f;
    const char *why;
    bh_redis_functions_init(&f, &config, &history, true);
    bh_redis_functions_error(&f, BH_SLICE("NOPERM no"), &why);
    assert_non_null(strstr(why, " +spublish +ssubscribe +sunsubscribe +asking +info "));
    assert_null(strstr(why, "+publish"));
    bh_redis_functions_deinit(&f);
}

static void test_time(void **state) {
    struct bh_redis_functions f;
    bh_clock_fake(1000, 5000000);
    bh_redis_functions_init(&f, &config, &history, false);
    assert_int_equal(bh_redis_functions_time(&f), 5000000); /* as long as Redis has told nothing */
    bh_redis_functions_note_time(&f, 4000000);
    bh_clock_fake_advance(70);
    assert_int_equal(bh_redis_functions_time(&f), 4000070);
    bh_redis_functions_deinit(&f);
    bh_clock_real();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_the_rights_are_those_of_the_server),
        cmocka_unit_test(test_the_rights_in_a_cluster),
        cmocka_unit_test(test_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
