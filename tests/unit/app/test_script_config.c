/* From configuration keys to the settings of the scripts, and the directory of the Lua library. */
#include "app_test.h"

#include "bellhop/script/script.h"

#include <unistd.h>

static void the_defaults(void **state) {
    struct bh_script_config script;
    struct bh_strings files;
    app_load(NULL);
    bh_app_script_config(&config, "/lua", &script, &files);
    assert_int_equal(script.file_count, 1);
    assert_string_equal(script.files[0], "/lua/policy.lua");
    assert_string_equal(script.lua_dir, "/lua");
    assert_ptr_equal(script.config, config.tree);
    assert_false(script.trusted);
    assert_false(script.client_messages);
    assert_null(script.key_prefix);
    assert_int_equal(script.cpu_limit_ms, 50);
    assert_int_equal(script.deliver_limit_ms, 5);
    assert_true(script.path_is_taken(BH_SLICE("/healthz")));
    assert_false(script.path_is_taken(BH_SLICE("/mine")));
    bh_strings_free(&files);
}

static void each_setting_is_the_one_of_its_key(void **state) {
    struct bh_script_config script;
    struct bh_strings files;
    app_load("return {\n"
             "  script = { files = { 'a.lua', 'b.lua' }, trusted = true, cpu_limit = 0.25,\n"
             "    deliver_limit = 0.02,\n"
             "    memory_limit = 3, hook_timeout = 4, max_tasks = 5 },\n"
             "  websocket = { client_messages = 'ignore' }, tracking = { key_prefix = 'k:' },\n"
             "  redis = { command_timeout = 6 },\n"
             "}\n");
    bh_app_script_config(&config, "/lua", &script, &files);
    assert_int_equal(script.file_count, 2);
    assert_string_equal(script.files[0], "a.lua");
    assert_string_equal(script.files[1], "b.lua");
    assert_true(script.trusted);
    assert_true(script.client_messages);
    assert_int_equal(script.cpu_limit_ms, 250);
    assert_int_equal(script.deliver_limit_ms, 20);
    assert_int_equal(script.memory_limit, 3);
    assert_int_equal(script.hook_timeout_ms, 4000);
    assert_int_equal(script.max_tasks, 5);
    assert_int_equal(script.redis_timeout_ms, 6000);
    assert_string_equal(script.key_prefix, "k:");
    bh_strings_free(&files);
}

static void the_lua_library(void **state) {
    app_load("return { script = { lua_dir = '/mine' } }");
    char *dir = bh_app_lua_dir(&config);
    assert_string_equal(dir, "/mine");
    bh_free(dir);
    app_load(NULL); /* this program is not installed: the source tree */
    dir = bh_app_lua_dir(&config);
    char path[512];
    snprintf(path, sizeof path, "%s/policy.lua", dir);
    assert_int_equal(access(path, R_OK), 0);
    bh_free(dir);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, app_setup, app_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_defaults),
        TEST(each_setting_is_the_one_of_its_key),
        TEST(the_lua_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
