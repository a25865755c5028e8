/* The names of methods and statuses: all that are known, and nothing that only resembles one. */
#include "http1_names.h"

#include "bellhop/proto/http1.h"
#include "proto_test.h"

static const char *const methods[] = {
    "DELETE",   "GET",    "HEAD",       "POST",       "PUT",      "CONNECT",   "OPTIONS",
    "TRACE",    "COPY",   "LOCK",       "MKCOL",      "MOVE",     "PROPFIND",  "PROPPATCH",
    "SEARCH",   "UNLOCK", "BIND",       "REBIND",     "UNBIND",   "ACL",       "REPORT",
    "CHECKOUT", "MERGE",  "MKACTIVITY", "MKCALENDAR", "M-SEARCH", "SUBSCRIBE", "UNSUBSCRIBE",
    "NOTIFY",   "PATCH",  "PURGE",      "LINK",       "UNLINK",   "SOURCE",
};

static bool is_listed(struct bh_slice name) {
    for (size_t i = 0; i < COUNT(methods); i++)
        if (bh_slice_eq(name, bh_slice_cstr(methods[i])))
            return true;
    return false;
}

static void methods_are_known_by_their_exact_name(void **state) {
    char text[16];
    for (size_t i = 0; i < COUNT(methods); i++) {
        size_t n = strlen(methods[i]);
        assert_true(bh_http1_is_method(bh_slice(methods[i], n)));
        for (size_t part = 0; part < n; part++)
            assert_int_equal(bh_http1_is_method(bh_slice(methods[i], part)),
                             is_listed(bh_slice(methods[i], part)));
        snprintf(text, sizeof text, "%sX", methods[i]);
        assert_false(bh_http1_is_method(bh_slice_cstr(text)));
        text[n] = '\0';
        for (size_t at = 0; at < n; at++) {
            text[at] ^= 0x20;
            assert_false(bh_http1_is_method(bh_slice_cstr(text)));
            text[at] ^= 0x20;
        }
    }
}

static void reasons(void **state) {
    size_t known = 0;
    assert_string_equal(bh_http_reason(100), "Continue");
    assert_string_equal(bh_http_reason(101), "Switching Protocols");
    assert_string_equal(bh_http_reason(200), "OK");
    assert_string_equal(bh_http_reason(413), "Payload Too Large");
    assert_string_equal(bh_http_reason(426), "Upgrade Required");
    assert_string_equal(bh_http_reason(431), "Request Header Fields Too Large");
    assert_string_equal(bh_http_reason(511), "Network Authentication Required");
    assert_string_equal(bh_http_reason(299), "Unknown");
    assert_string_equal(bh_http_reason(512), "Unknown");
    assert_string_equal(bh_http_reason(0), "Unknown");
    assert_string_equal(bh_http_reason(-1), "Unknown");
    for (int status = -1; status < 1000; status++)
        known += strcmp(bh_http_reason(status), "Unknown") != 0;
    assert_int_equal(known, 59);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_are_known_by_their_exact_name),
        cmocka_unit_test(reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
