/* Logs: stderr becomes a packet socket here, so that one write is one packet. */
#include "bellhop/base/log.h"

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "unit_test.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOGFMT_HEAD "ts=2023-11-14T22:13:20.007Z level=info msg=hello"
#define JSON_HEAD   "{\"ts\":\"2023-11-14T22:13:20.007Z\",\"level\":\"info\",\"msg\":\"hello\""

static int packets[2] = {-1, -1};
static int real_stderr = -1;

static void capture(void) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, packets), 0);
    real_stderr = dup(STDERR_FILENO);
    dup2(packets[1], STDERR_FILENO);
}

static void release(void) {
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(packets[1]);
}

/* The next line without its line feed, or "" when there is none. */
static const char *next_line(void) {
    static char line[65536];
    ssize_t n = recv(packets[0], line, sizeof line - 1, 0);
    if (n <= 0)
        return "";
    assert_int_equal(line[n - 1], '\n');
    assert_null(memchr(line, '\n', (size_t)n - 1));
    line[n - 1] = '\0';
    return line;
}

static const char *only_line(void) {
    const char *line = next_line();
    char after;
    assert_true(recv(packets[0], &after, 1, 0) <= 0);
    close(packets[0]);
    return line;
}

/* One info line with one field, in the given format. */
static const char *line_with(enum bh_log_format format, struct bh_kv field) {
    bh_log_init(BH_LOG_INFO, format, false, NULL);
    capture();
    bh_info("hello", field);
    release();
    return only_line();
}

#define assert_logfmt(field, text)                                                                 \
    assert_string_equal(line_with(BH_LOG_LOGFMT, field), LOGFMT_HEAD " " text)
#define assert_json(field, text)                                                                   \
    assert_string_equal(line_with(BH_LOG_JSON, field), JSON_HEAD "," text "}")

static int setup(void **state) {
    bh_clock_fake(5000, 1700000000007);
    return 0;
}

static int teardown(void **state) {
    bh_log_init(BH_LOG_INFO, BH_LOG_LOGFMT, false, NULL);
    bh_clock_real();
    return 0;
}

static void writes_each_type(void **state) {
    assert_logfmt(bh_kv_str("user", "42"), "user=42");
    assert_logfmt(bh_kv_int("n", INT64_MIN), "n=-9223372036854775808");
    assert_logfmt(bh_kv_bool("b", true), "b=true");
    assert_logfmt(bh_kv_double("d", 0.25), "d=0.25");
    assert_logfmt(bh_kv_double("d", INFINITY), "d=null");
    assert_json(bh_kv_str("user", "42"), "\"user\":\"42\"");
    assert_json(bh_kv_int("n", INT64_MAX), "\"n\":9223372036854775807");
    assert_json(bh_kv_bool("b", false), "\"b\":false");
    assert_json(bh_kv_double("d", -1e300), "\"d\":-1e+300");
    assert_json(bh_kv_double("d", NAN), "\"d\":null");
}

static void a_line_may_have_no_field(void **state) {
    bh_log_init(BH_LOG_INFO, BH_LOG_JSON, false, "node-1");
    capture();
    bh_info("hello");
    release();
    assert_string_equal(only_line(), JSON_HEAD ",\"instance\":\"node-1\"}");
}

static void several_fields_and_the_instance(void **state) {
    bh_log_init(BH_LOG_INFO, BH_LOG_LOGFMT, false, "node-1");
    capture();
    bh_warn("connection closed", bh_kv_slice("user", bh_slice("42tail", 2)),
            bh_kv_int("code", 1006));
    release();
    assert_string_equal(only_line(), "ts=2023-11-14T22:13:20.007Z level=warn "
                                     "msg=\"connection closed\" instance=node-1 user=42 code=1006");
}

static void quotes_what_could_be_read_as_something_else(void **state) {
    assert_logfmt(bh_kv_str("v", ""), "v=\"\"");
    assert_logfmt(bh_kv_slice("v", bh_slice(NULL, 0)), "v=\"\"");
    assert_logfmt(bh_kv_str("v", "a b"), "v=\"a b\"");
    assert_logfmt(bh_kv_str("v", "a=b"), "v=\"a=b\"");
    assert_logfmt(bh_kv_str("v", "a\"b\\c"), "v=\"a\\\"b\\\\c\"");
    assert_logfmt(bh_kv_str("v", "http://h:1/p?q#f"), "v=http://h:1/p?q#f");
}

static void nobody_forges_a_line(void **state) {
    assert_logfmt(bh_kv_str("v", "x\nts=now level=error"), "v=\"x\\nts=now level=error\"");
    assert_logfmt(bh_kv_slice("v", bh_slice("\0\r\t\x1b[31m\x7f", 9)),
                  "v=\"\\u0000\\r\\t\\u001b[31m\\u007f\"");
    assert_logfmt(bh_kv_str("v", "\xc2\x9b"), "v=\"\\u009b\""); /* CSI in one character */
    assert_logfmt(bh_kv_str("v", "\xff\xc3"), "v=\"\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_logfmt(bh_kv_str("v", "\xc3\xa9"), "v=\"\xc3\xa9\"");
    assert_json(bh_kv_str("v", "\"}\n{\""), "\"v\":\"\\\"}\\n{\\\"\"");
    assert_logfmt(bh_kv_int("a b=\n\"", 1), "a_b___=1");
    assert_json(bh_kv_int("a\":\n", 1), "\"a___\":1");
    assert_json(bh_kv_int("", 1), "\"_\":1");
}

static void json_lines_are_json_whatever_the_bytes(void **state) {
    for (int round = 0; round < 2000; round++) {
        char bytes[300];
        size_t n = test_random() % sizeof bytes;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)(test_random() % 3 ? test_random() : test_random() % 128);
        struct bh_slice value = test_exact(bh_slice(bytes, n));
        const char *line = line_with(BH_LOG_JSON, bh_kv_slice("v", value));
        assert_int_equal(bh_json_check(bh_slice_cstr(line), NULL), 0);
        line = line_with(BH_LOG_LOGFMT, bh_kv_slice("v", value));
        for (const char *c = line; *c; c++)
            assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
        test_exact_free(value);
    }
}

static void cuts_long_values(void **state) {
    char *text = malloc(5000);
    memset(text, 'x', 5000);
    const char *line = line_with(BH_LOG_LOGFMT, bh_kv_slice("v", bh_slice(text, 2048)));
    assert_int_equal(strlen(line), strlen(LOGFMT_HEAD " v=") + 2048);
    line = line_with(BH_LOG_LOGFMT, bh_kv_slice("v", bh_slice(text, 2049)));
    assert_int_equal(strlen(line), strlen(LOGFMT_HEAD " v=\"...[cut]\"") + 2048);
    assert_string_equal(line + strlen(line) - 10, "x...[cut]\"");
    line = line_with(BH_LOG_JSON, bh_kv_slice("v", bh_slice(text, 5000)));
    assert_int_equal(bh_json_check(bh_slice_cstr(line), NULL), 0);
    free(text);
}

static void cuts_long_keys(void **state) {
    char *key = malloc(5001);
    memset(key, 'k', 5000);
    key[5000] = '\0';
    const char *line = line_with(BH_LOG_LOGFMT, bh_kv_int(key, 1));
    assert_int_equal(strlen(line), strlen(LOGFMT_HEAD " =1") + 128);
    free(key);
}

static void cuts_between_characters(void **state) {
    char text[4096];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'x', shift);
        for (size_t i = shift; i + 4 <= sizeof text; i += 4)
            memcpy(text + i, "\xf0\x9f\x94\x94", 4);
        const char *line = line_with(BH_LOG_JSON, bh_kv_slice("v", bh_slice(text, 4000)));
        assert_null(strstr(line, "\xef\xbf\xbd"));
        assert_non_null(strstr(line, "\xf0\x9f\x94\x94...[cut]\""));
    }
}

static void masks_secrets(void **state) {
    static const char *const secret[] = {
        "password",      "Password", "redis_password", "token", "access_token",
        "Authorization", "secret",   "secret_2",       "key",   "api_key",
        "apiKey",        "Cookie",   "set-cookie"};
    for (size_t i = 0; i < COUNT(secret); i++) {
        assert_non_null(strstr(line_with(BH_LOG_JSON, bh_kv_str(secret[i], "s3cr3t")), "\"***\"}"));
        assert_non_null(strstr(line_with(BH_LOG_LOGFMT, bh_kv_int(secret[i], 12345)), "=***"));
    }
    assert_logfmt(bh_kv_str("keyspace", "shown"), "keyspace=shown");
}

static void threshold_and_levels(void **state) {
    enum bh_log_level level;
    assert_int_equal(bh_log_parse_level("debug", &level), 0);
    assert_int_equal(level, BH_LOG_DEBUG);
    assert_int_equal(bh_log_parse_level("off", &level), 0);
    assert_int_equal(level, BH_LOG_OFF);
    assert_int_equal(bh_log_parse_level("Info", &level), BH_EINVAL);
    assert_int_equal(bh_log_parse_level("", &level), BH_EINVAL);

    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
    capture();
    bh_debug("no");
    bh_info("no");
    bh_error("yes");
    release();
    assert_non_null(strstr(only_line(), "level=error msg=yes"));

    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    capture();
    bh_error("no");
    release();
    assert_string_equal(only_line(), "");
}

static int evaluated;
static int64_t evaluate(void) {
    return ++evaluated;
}

static void skipped_lines_do_not_build_their_fields(void **state) {
    bh_log_init(BH_LOG_INFO, BH_LOG_LOGFMT, false, NULL);
    bh_debug("no", bh_kv_int("n", evaluate()));
    assert_int_equal(evaluated, 0);
}

static void flood(int lines) {
    for (int i = 0; i < lines; i++)
        bh_warn_limited("flood", bh_kv_int("i", i));
}

static int count_lines(void) {
    int n = 0;
    while (*next_line())
        n++;
    return n;
}

static void limits_each_place_and_counts_what_it_left_out(void **state) {
    bh_log_init(BH_LOG_INFO, BH_LOG_LOGFMT, false, NULL);
    capture();
    flood(200);
    int burst = count_lines();
    bh_clock_fake_advance(50);
    flood(3);
    char after[256] = "";
    strncpy(after, next_line(), sizeof after - 1);
    int rest = count_lines();
    bh_clock_fake_advance(1000);
    flood(100);
    int second = count_lines();
    bh_clock_fake_advance(3600000);
    flood(100);
    int refilled = count_lines();
    bh_warn_limited("another place");
    int other = count_lines();
    release();
    close(packets[0]);
    assert_int_equal(burst, 50);
    assert_non_null(strstr(after, " suppressed=150"));
    assert_int_equal(rest, 0);
    assert_int_equal(second, 20);
    assert_int_equal(refilled, 50);
    assert_int_equal(other, 1);
}

static void *flood_thread(void *arg) {
    flood(100);
    return NULL;
}

static void threads_share_the_allowance_of_a_call_site(void **state) {
    bh_log_init(BH_LOG_INFO, BH_LOG_JSON, false, NULL);
    bh_clock_fake_advance(3600000);
    capture();
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_create(&threads[i], NULL, flood_thread, NULL);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    int lines = count_lines(); /* next_line has checked that no two are mixed */
    release();
    close(packets[0]);
    assert_int_equal(lines, 50);
}

static void leaves_errno_alone_even_when_stderr_is_gone(void **state) {
    bh_log_init(BH_LOG_INFO, BH_LOG_LOGFMT, false, NULL);
    int saved = dup(STDERR_FILENO);
    close(STDERR_FILENO);
    errno = ENOENT;
    bh_info("nobody reads this");
    int after = errno;
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_int_equal(after, ENOENT);
}

static void syslog_instead_of_stderr(void **state) {
    bh_log_init(BH_LOG_INFO, BH_LOG_JSON, true, "node-1");
    capture();
    bh_info("a unit test of the logger", bh_kv_str("v", "%s%n"));
    release();
    assert_string_equal(only_line(), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_each_type),
        cmocka_unit_test(a_line_may_have_no_field),
        cmocka_unit_test(several_fields_and_the_instance),
        cmocka_unit_test(quotes_what_could_be_read_as_something_else),
        cmocka_unit_test(nobody_forges_a_line),
        cmocka_unit_test(json_lines_are_json_whatever_the_bytes),
        cmocka_unit_test(cuts_long_values),
        cmocka_unit_test(cuts_long_keys),
        cmocka_unit_test(cuts_between_characters),
        cmocka_unit_test(masks_secrets),
        cmocka_unit_test(threshold_and_levels),
        cmocka_unit_test(skipped_lines_do_not_build_their_fields),
        cmocka_unit_test(limits_each_place_and_counts_what_it_left_out),
        cmocka_unit_test(threads_share_the_allowance_of_a_call_site),
        cmocka_unit_test(leaves_errno_alone_even_when_stderr_is_gone),
        cmocka_unit_test(syslog_instead_of_stderr),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
