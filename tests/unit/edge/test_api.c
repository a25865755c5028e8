/* test_api.c - the API end to end. */
#include "edge_client.h"

#define KEY "Authorization: Bearer first-key\r\n"

static void ask(struct client *c, const char *method, const char *target, const char *headers,
                struct bh_slice body) {
    struct bh_bytes wire = {0};
    bh_bytes_addf(&wire, "%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n", method,
                  target, headers, body.n);
    bh_bytes_add(&wire, body);
    send_bytes(c, bh_bytes_slice(&wire));
    bh_bytes_free(&wire);
}

static int request(struct client *c, const char *method, const char *target, const char *headers,
                   struct bh_slice body, struct bh_bytes *answer) {
    ask(c, method, target, headers, body);
    return take_response(c, answer);
}

struct world {
    struct test t;
    struct client api, ws;
    struct bh_bytes answer;
};

static void begin(struct world *w) {
    *w = (struct world){0};
    test_begin(&w->t);
    open_ws(&w->t, &w->ws);
    dial(&w->t, &w->api);
}

static void end(struct world *w) {
    hang_up(&w->api);
    hang_up(&w->ws);
    bh_bytes_free(&w->answer);
    test_end(&w->t);
}

static int post(struct world *w, const char *target, const char *body) {
    return request(&w->api, "POST", target, KEY, bh_slice_cstr(body), &w->answer);
}

static void test_every_target(void **state) {
    struct world w;
    begin(&w);
    assert_int_equal(post(&w, "/api/users/42/messages", "to the user"), 200);
    assert_has(w.answer.p, "{\"id\":\"");
    assert_has(w.answer.p, "\"status\":\"delivered\",\"instances\":1,\"local\":1}");
    expect_frame(&w.ws, 1, BH_SLICE("to the user"));
    assert_int_equal(post(&w, "/api/tenants/7/messages", "to the tenant"), 200);
    expect_frame(&w.ws, 1, BH_SLICE("to the tenant"));
    assert_int_equal(post(&w, "/api/broadcast", "to all"), 200);
    expect_frame(&w.ws, 1, BH_SLICE("to all"));
    assert_int_equal(post(&w, "/api/topics/none/messages", "to nobody"), 200);
    assert_int_equal(post(&w, "/api/users/43/messages", "to another"), 200);
    assert_int_equal(post(&w, "/api/users/%34%32/messages", ""), 200);
    expect_frame(&w.ws, 1, BH_SLICE(""));
    end(&w);
}

static void test_payloads_byte_for_byte(void **state) {
    struct world w;
    struct bh_bytes all = {0};
    begin(&w);
    for (int i = 0; i < 1 << 20; i++)
        bh_bytes_addc(&all, (char)(i * 7 + i / 251));
    const char *binary = KEY "Content-Type: application/octet-stream; x=y\r\n";
    size_t sizes[] = {0, 1, 125, 126, 65535, 65536, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct bh_slice body = bh_slice(all.p, sizes[i]);
        assert_int_equal(request(&w.api, "POST", "/api/users/42/messages", binary, body, &w.answer),
                         200);
        expect_frame(&w.ws, 2, body);
    }
    struct bh_slice text = BH_SLICE("{\"n\": 9007199254740993,\r\n \"u\":\"\xc3\xa4\" } \0 end");
    assert_int_equal(request(&w.api, "POST", "/api/users/42/messages", KEY, text, &w.answer), 200);
    expect_frame(&w.ws, 1, text);
    bh_bytes_addc(&all, 'x');
    assert_int_equal(
        request(&w.api, "POST", "/api/users/42/messages", binary, bh_bytes_slice(&all), &w.answer),
        413);
    bh_bytes_free(&all);
    end(&w);
}

static void test_text_or_binary(void **state) {
    enum { TEXT = 1, BINARY = 2, REFUSED = 0 };
    static const struct {
        const char *type;
        int valid, invalid; /* what becomes of valid UTF-8, and of other bytes */
    } cases[] = {
        {"", TEXT, BINARY},
        {"Content-Type: \r\n", TEXT, BINARY},
        {"Content-Type: application/x-www-form-urlencoded\r\n", TEXT, BINARY},
        {"Content-Type: application/x-protobuf\r\n", TEXT, BINARY},
        {"Content-Type: application/jsonl\r\n", TEXT, BINARY},
        {"Content-Type: textile\r\n", TEXT, BINARY},
        {"Content-Type: json\r\n", TEXT, BINARY},
        {"Content-Type: +json\r\n", TEXT, BINARY},
        {"Content-Type: text/plain\r\n", TEXT, REFUSED},
        {"Content-Type: Text/HTML; charset=utf-8\r\n", TEXT, REFUSED},
        {"Content-Type: application/json\r\n", TEXT, REFUSED},
        {"Content-Type: Application/JSON ;charset=utf-8\r\n", TEXT, REFUSED},
        {"Content-Type: application/cloudevents+json\r\n", TEXT, REFUSED},
        {"Content-Type: application/octet-stream\r\n", BINARY, BINARY},
        {"Content-Type: APPLICATION/octet-stream;x=y\r\n", BINARY, BINARY},
    };
    struct world w;
    struct bh_bytes headers = {0};
    begin(&w);
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        int expected = i % 2 ? cases[i / 2].invalid : cases[i / 2].valid;
        struct bh_slice body = i % 2 ? BH_SLICE("a\xff") : BH_SLICE("a\xc3\xa4");
        bh_bytes_clear(&headers);
        bh_bytes_addf(&headers, KEY "%s%c", cases[i / 2].type, '\0');
        int status = request(&w.api, "POST", "/api/users/42/messages", headers.p, body, &w.answer);
        assert_int_equal(status, expected == REFUSED ? 400 : 200);
        if (expected != REFUSED)
            expect_frame(&w.ws, (unsigned)expected, body);
        else
            assert_has(w.answer.p, "\"invalid_utf8\"");
    }
    assert_has(w.answer.p, "delivered");
    bh_bytes_free(&headers);
    end(&w);
}

static void test_bad_requests(void **state) {
    static const struct {
        const char *target, *code, *part;
    } cases[] = {
        {"/api/users/a%20b/messages", "invalid_user", ""},
        {"/api/users/broadcast/messages", "invalid_user", ""},
        {"/api/users/a%2/messages", "invalid_user", ""},
        {"/api/users/a%00b/messages", "invalid_user", ""},
        {"/api/tenants/a%20b/messages", "invalid_tenant", ""},
        {"/api/topics/a%0Ab/messages", "invalid_topic", ""},
        {"/api/users/1/messages?strategi=local", "unknown_option", "strategi"},
        {"/api/users/1/messages?strategy=pigeon", "invalid_option", "local_first"},
        {"/api/users/1/messages?ttl=-1", "invalid_option", "ttl"},
        {"/api/users/1/messages?ttl=4294968", "invalid_option", "ttl"},
        {"/api/users/1/messages?id=a%20b", "invalid_option", "id"},
        {"/api/users/1/messages?except=nobody", "invalid_option", "except"},
        {"/api/users/1/messages?filter=ios", "invalid_option", "name:value"},
        {"/api/users/1/messages?filter=", "invalid_option", "name:value"},
        {"/api/users/1/messages?filter", "invalid_option", "name:value"},
        {"/api/users/1/messages?filter=:ios", "invalid_option", "1 to 64 bytes"},
        {"/api/broadcast?filter=os:ios&filter=os:ios", "invalid_option", "once"},
        {"/api/broadcast?filter=os:a&filter=%6Fs:b&id=1", "invalid_option", "once"},
        {"/api/broadcast?filter=a:&filter=b:&filter=c:&filter=d:&filter=e:&filter=f:&filter=g:"
         "&filter=h:&filter=i:",
         "invalid_option", "at most 8"},
        {"/api/broadcast?filter=os:ios&ttl=x", "invalid_option", "ttl"},
        {"/api/broadcast?filters=os:ios", "unknown_option", "except, filter"},
        {"/api/broadcast?history=1", "invalid_option", "true or false"},
        {"/api/broadcast?history", "invalid_option", "true or false"},
        {"/api/broadcast?collapse=", "invalid_option", "1 to 128 bytes"},
        {"/api/broadcast?collapse=a%0Ab", "invalid_option", "control characters"},
        {"/api/broadcast?collapse=a%7F", "invalid_option", "control characters"},
        {"/api/broadcast?collapse=%ff", "invalid_option", "UTF-8"},
        {"/api/publish?strategy=local", "unknown_option", ""},
    };
    struct world w;
    begin(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(post(&w, cases[i].target, "[]"), 400);
        assert_has(w.answer.p, cases[i].code);
        assert_has(w.answer.p, cases[i].part);
    }
    struct bh_bytes target = {0};
    bh_bytes_adds(&target, "/api/users/");
    for (int i = 0; i < 1000; i++)
        bh_bytes_addc(&target, 'a');
    bh_bytes_adds(&target, "/messages");
    bh_bytes_addc(&target, '\0');
    assert_int_equal(post(&w, target.p, "x"), 400);
    bh_bytes_free(&target);
    assert_int_equal(w.t.publishes, 0);
    end(&w);
}

static void test_options(void **state) {
    struct world w;
    char target[128], id[BH_CONNECTION_ID_LEN + 1];
    begin(&w);
    bh_connection_id(w.t.last->number, id);
    snprintf(target, sizeof target, "/api/users/42/messages?except=%s&ttl=60", id);
    assert_int_equal(post(&w, target, "not to me"), 200);
    expect_nothing(&w.ws);
    assert_int_equal(post(&w, "/api/users/42/messages?id=order:1&strategy=local", "once"), 200);
    assert_has(w.answer.p, "\"id\":\"order:1\"");
    expect_frame(&w.ws, 1, BH_SLICE("once"));
    assert_int_equal(post(&w, "/api/users/42/messages?id=order:1&strategy=local", "once"), 200);
    assert_has(w.answer.p, "\"status\":\"delivered\",\"duplicate\":true}");
    expect_nothing(&w.ws);
    end(&w);
}

static const struct bh_tag ios_tags[] = {
    {BH_SLICE("os"), BH_SLICE("ios")},
    {BH_SLICE("beta"), BH_SLICE("true")},
    {BH_SLICE("url"), BH_SLICE("a:b c")},
};

static void begin_with_tags(struct world *w) {
    *w = (struct world){0};
    test_begin(&w->t);
    w->t.identity.tags = ios_tags;
    w->t.identity.tag_count = 3;
    open_ws(&w->t, &w->ws);
    dial(&w->t, &w->api);
}

static void test_filters(void **state) {
    static const struct {
        const char *query;
        bool matches;
    } cases[] = {
        {"filter=os:ios", true},
        {"filter=os:ios&filter=beta:true", true},
        {"filter=os:ios&ttl=60&filter=url:a:b+c", true},
        {"filter=%6f%73%3Aios&strategy=local", true},
        {"filter=os:ios&strategy=both&id=k", true},
        {"filter=os:android", false},
        {"filter=os:", false},
        {"filter=os:ios&filter=beta:false", false},
        {"filter=none:", false},
        {"filter=os:android&id=k2", false},
    };
    struct world w;
    begin_with_tags(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char target[128];
        snprintf(target, sizeof target, "/api/users/42/messages?%s", cases[i].query);
        assert_int_equal(post(&w, target, "x"), 200);
        assert_has(w.answer.p, cases[i].matches ? "\"local\":1" : "\"local\":0");
        if (cases[i].matches)
            expect_frame(&w.ws, 1, BH_SLICE("x"));
        else
            expect_nothing(&w.ws);
    }
    const char *text = KEY "Content-Type: text/plain\r\n";
    assert_int_equal(request(&w.api, "POST", "/api/users/42/messages?filter=os:ios", text,
                             BH_SLICE("a\xff"), &w.answer),
                     400);
    end(&w);
}

/* Each byte is escaped; name and value have the maximum length. */
static void test_the_longest_filter(void **state) {
    struct world w;
    struct bh_bytes target = {0};
    begin(&w);
    bh_bytes_adds(&target, "/api/broadcast?filter=");
    for (int i = 0; i < 64 + 1 + 256; i++)
        bh_bytes_adds(&target, i == 64 ? "%3A" : "%78");
    bh_bytes_addc(&target, '\0');
    assert_int_equal(post(&w, target.p, "x"), 200);
    target.len--;
    bh_bytes_adds(&target, "y");
    bh_bytes_addc(&target, '\0');
    assert_int_equal(post(&w, target.p, "x"), 400);
    assert_has(w.answer.p, "at most 256 bytes");
    bh_bytes_free(&target);
    end(&w);
}

static void test_broker_down(void **state) {
    struct world w;
    begin(&w);
    w.t.publish_error = BH_EUNAVAIL;
    assert_int_equal(post(&w, "/api/users/42/messages?strategy=redis&id=k1", "x"), 503);
    assert_has(w.answer.p, "broker_unavailable");
    assert_has(w.answer.p, "id=k1");
    w.t.publish_error = BH_EDENIED;
    assert_int_equal(post(&w, "/api/users/42/messages?strategy=redis", "x"), 403);
    end(&w);
}

/* --- authorization --- */

static void test_keys(void **state) {
    static const char *const bad[] = {"",
                                      "Authorization: Bearer \r\n",
                                      "Authorization: Bearer first-ke\r\n",
                                      "Authorization: Bearer first-keyy\r\n",
                                      "Authorization: Basic first-key\r\n",
                                      "Authorization: first-key\r\n"};
    struct world w;
    begin(&w);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(
            request(&w.api, "POST", "/api/broadcast", bad[i], BH_SLICE("x"), &w.answer), 401);
        assert_has(w.answer.p, "\"unauthorized\"");
    }
    const char *second = "Authorization: bearer second-key\r\n";
    assert_int_equal(request(&w.api, "POST", "/api/broadcast", second, BH_SLICE("x"), &w.answer),
                     200);
    w.t.config.api_key_count = 0;
    assert_int_equal(post(&w, "/api/broadcast", "x"), 401);
    assert_has(w.answer.p, "closed");
    w.t.config.dev = true;
    assert_int_equal(post(&w, "/api/broadcast", "x"), 200);
    end(&w);
}

static void test_hook_decides(void **state) {
    struct world w;
    begin(&w);
    w.t.hooks.present |= BH_HOOK_API;
    w.t.api = YES;
    assert_int_equal(request(&w.api, "POST", "/api/broadcast", "", BH_SLICE("x"), &w.answer), 200);
    w.t.api = NO;
    w.t.refuse_status = 403;
    w.t.refuse_body = "not you";
    assert_int_equal(post(&w, "/api/broadcast", "x"), 403);
    assert_has(w.answer.p, "not you");
    w.t.refuse_status = 0; /* no opinion */
    assert_int_equal(post(&w, "/api/broadcast", "x"), 200);
    assert_int_equal(request(&w.api, "POST", "/api/broadcast", "", BH_SLICE("x"), &w.answer), 401);
    w.t.api = LATER;
    w.t.allowed = NULL;
    ask(&w.api, "POST", "/api/broadcast", KEY, BH_SLICE("x"));
    WAIT_FOR(&w.t, w.t.allowed);
    expect_nothing(&w.api);
    w.t.allowed(w.t.hook_ud, w.t.hook_handle, true, 0, bh_slice(NULL, 0));
    assert_int_equal(take_response(&w.api, &w.answer), 200);
    w.t.allowed = NULL;
    ask(&w.api, "POST", "/api/broadcast", KEY, BH_SLICE("x"));
    WAIT_FOR(&w.t, w.t.allowed);
    struct linger linger = {.l_onoff = 1};
    setsockopt(w.api.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    hang_up(&w.api);
    WAIT_FOR(&w.t, w.t.cancelled == 1);
    w.t.allowed(w.t.hook_ud, w.t.hook_handle, true, 0, bh_slice(NULL, 0));
    end(&w);
}

/* --- batches --- */

static void test_batch(void **state) {
    struct world w;
    begin(&w);
    const char *body =
        "[{\"user\":\"42\",\"data\":{\"a\" : 1.0, \"b\":[ ]}},\n"
        " {\"user\":42,\"data\":\"text\\n\"},\n"
        " {\"user\":9223372036854775807,\"data\":null},\n"
        " {\"tenant\":\"7\",\"data\":12345678901234567890123},\n"
        " {\"all\":true,\"data\":true,\"ttl\":5,\"strategy\":\"local\",\"id\":\"b1\"},\n"
        " {\"topic\":\"a/b\",\"data\":1},\n"
        " {\"user\":9223372036854775808,\"data\":1},\n"
        " {\"user\":1.5,\"data\":1},\n"
        " {\"user\":\"a b\",\"data\":1},\n"
        " {\"user\":\"1\",\"tenant\":\"2\",\"data\":1},\n"
        " {\"data\":1},\n"
        " {\"user\":\"1\"},\n"
        " {\"user\":\"1\",\"dta\":1,\"data\":2},\n"
        " 17,\n"
        " {\"all\":false,\"data\":1},\n"
        " {\"\\u0075ser\":\"\\u0034\\u0032\",\"data\":\"last\"}]";
    assert_int_equal(post(&w, "/api/publish", body), 200);
    expect_frame(&w.ws, 1, BH_SLICE("{\"a\" : 1.0, \"b\":[ ]}"));
    expect_frame(&w.ws, 1, BH_SLICE("\"text\\n\""));
    expect_frame(&w.ws, 1, BH_SLICE("12345678901234567890123"));
    struct bh_bytes rest[2] = {{0}, {0}};
    take_frame(&w.ws,
               &rest[0]); /* a publish with an id goes through the bus, so the order may differ */
    take_frame(&w.ws, &rest[1]);
    assert_true((strcmp(rest[0].p, "true") == 0) != (strcmp(rest[1].p, "true") == 0));
    assert_int_equal(times(w.answer.p, "\"delivered\""), 5);
    assert_int_equal(times(w.answer.p, "\"offline\""), 2);
    assert_int_equal(times(w.answer.p, "\"error\""), 9);
    assert_int_equal(times(w.answer.p, "\n"), 16);
    const char *line = w.answer.p;
    for (int i = 0; i < 6; i++)
        line = strchr(line, '\n') + 1;
    assert_true(strncmp(line, "{\"error\":{\"code\":\"invalid_request\"", 33) == 0);
    assert_has(w.answer.p, "\"id\":\"b1\"");
    assert_has(w.answer.p, "\"unknown_member\"");
    bh_bytes_free(&rest[0]);
    bh_bytes_free(&rest[1]);
    end(&w);
}

static void test_filters_in_a_batch(void **state) {
    struct world w;
    begin_with_tags(&w);
    const char *body =
        "[{\"all\":true,\"data\":1,\"filter\":{\"os\":\"ios\"}},\n"
        " {\"filter\":{\"o\\u0073\":\"\\u0069os\",\"beta\":true},"
        "\"all\":true,\"data\":2},\n"
        " {\"all\":true,\"data\":3,\"filter\":{\"os\":\"android\"}},\n"
        " {\"all\":true,\"data\":4,\"filter\":{\"beta\":1}},\n"
        " {\"all\":true,\"data\":5,\"filter\":{}},\n"
        " {\"all\":true,\"data\":6,\"filter\":\"os:ios\"},\n"
        " {\"all\":true,\"data\":7,\"filter\":null},\n"
        " {\"all\":true,\"data\":8,\"filter\":{\"os\":null}},\n"
        " {\"all\":true,\"data\":9,\"filter\":{\"os\":1.5}},\n"
        " {\"all\":true,\"data\":10,\"filter\":{\"os\":[\"ios\"]}},\n"
        " {\"all\":true,\"data\":11,\"filter\":{\"os\":\"ios\",\"os\":\"x\"}},\n"
        " {\"all\":true,\"data\":12,\"filter\":{\"\":\"ios\"}},\n"
        " {\"all\":true,\"data\":13,\"filter\":{\"os\":\"ios\"},\"filter\":{\"a\":1}},\n"
        " {\"all\":true,\"data\":14}]";
    assert_int_equal(post(&w, "/api/publish", body), 200);
    expect_frame(&w.ws, 1, BH_SLICE("1"));
    expect_frame(&w.ws, 1, BH_SLICE("2"));
    expect_frame(&w.ws, 1, BH_SLICE("14"));
    assert_int_equal(times(w.answer.p, "\"local\":1"), 3);
    assert_int_equal(times(w.answer.p, "\"local\":0"), 2);
    assert_int_equal(times(w.answer.p, "\"invalid_option\""), 9);
    assert_has(w.answer.p, "leave it out to reach all connections");
    end(&w);
}

/* What is only passed on is not judged, and one item that is not JSON does not refuse the others.
 */
static void test_any_json_in_a_batch(void **state) {
    static const char *const good[] = {
        "18446744073709551615", "-1e400", "\"a\\ud83d\"", "\"\\u0000\"", "{\"\\udc00\":[1E+99999]}",
    };
    static const char *const bad[] = {
        "\"\xff\"", "\"a\nb\"", "\"\\x\"", "NaN", "-Infinity", "01", "tru", "'x'", "1.",
    };
    struct world w;
    struct bh_bytes body = {0}, deep = {0};
    begin(&w);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        bh_bytes_addf(&body, "%c{\"user\":42,\"data\":%s}", i ? ',' : '[', good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        bh_bytes_addf(&body, ",\n{\"user\":42,\"data\":%s}", bad[i]);
    for (int i = 0; i < 10000; i++)
        bh_bytes_adds(&deep, "[");
    for (int i = 0; i < 10000; i++)
        bh_bytes_adds(&deep, "]");
    bh_bytes_addf(&body, ",{\"user\":\"4\\u0032\",\"data\":%.*s}", (int)deep.len, deep.p);
    bh_bytes_addf(&body, ",{\"user\":\"4\\ud83d\",\"data\":0},{\"all\":true,\"data\":\"last\"}]%c",
                  '\0');
    assert_int_equal(post(&w, "/api/publish", body.p), 200);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        expect_frame(&w.ws, 1, bh_slice_cstr(good[i]));
    expect_frame(&w.ws, 1, bh_bytes_slice(&deep));
    expect_frame(&w.ws, 1, BH_SLICE("\"last\""));
    assert_int_equal(times(w.answer.p, "\"delivered\""), sizeof good / sizeof *good + 2);
    assert_int_equal(times(w.answer.p, "\"invalid_json\""), sizeof bad / sizeof *bad);
    assert_int_equal(times(w.answer.p, "surrogate"), 1);
    bh_bytes_free(&body);
    bh_bytes_free(&deep);
    end(&w);
}

/* Where it is not clear which item a fault belongs to, nothing is published. */
static void test_batches_without_structure(void **state) {
    static const char *const bodies[] = {
        "[{\"all\":true,\"data\":\"a\"b\"},{\"all\":true,\"data\":1}]",
        "[{\"all\":true,\"data\":\"a},{\"all\":true,\"data\":1}]",
        "[{\"all\":true,\"data\":\"a},{\"all\":true,\"data\":\"b}]",
        "[{\"all\":true,\"data\":[1},{\"all\":true,\"data\":1}]",
        "[{\"all\":true,\"data\":1} {\"all\":true,\"data\":1}]",
        "[{\"all\":true,\"data\":1},{\"all\":true,\"data\":1},]",
        "[{\"all\":true,\"data\":1 2},{\"all\":true,\"data\":1}]",
        "[{\"all\":true,\"data\":1},{\"all\":true,\"data\":1}",
        "[{\"all\":true,\"data\":NaN}]]",
        "[{all:true,\"data\":1},{\"all\":true,\"data\":1}]",
    };
    struct world w;
    begin(&w);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        assert_int_equal(post(&w, "/api/publish", bodies[i]), 400);
        assert_has(w.answer.p, "\"invalid_json\"");
    }
    expect_nothing(&w.ws);
    assert_int_equal(
        post(&w, "/api/publish", "[{\"all\":true,\"data\":1},{\"all\":true,\"data\":NaN}]"), 200);
    assert_has(w.answer.p, "at byte 42: a value is expected here");
    expect_frame(&w.ws, 1, BH_SLICE("1"));
    end(&w);
}

static void test_broken_batches(void **state) {
    struct world w;
    struct bh_bytes many = {0};
    begin(&w);
    assert_int_equal(post(&w, "/api/publish", "[{\"user\":\"1\",\"data\":}]"), 400);
    assert_has(w.answer.p, "\"invalid_json\"");
    assert_has(w.answer.p, "at byte 20");
    assert_int_equal(post(&w, "/api/publish", ""), 400);
    assert_int_equal(post(&w, "/api/publish", "{}"), 400);
    assert_int_equal(post(&w, "/api/publish", "[]"), 200);
    assert_string_equal(w.answer.p, "[]\n");
    bh_bytes_addc(&many, '[');
    for (int i = 0; i < 1001; i++)
        bh_bytes_adds(&many, i ? ",1" : "1");
    bh_bytes_adds(&many, "]");
    bh_bytes_addc(&many, '\0');
    assert_int_equal(post(&w, "/api/publish", many.p), 400);
    assert_int_equal(w.t.publishes, 0);
    bh_bytes_free(&many);
    end(&w);
}

static void test_batch_outlives_its_client(void **state) {
    struct world w;
    begin(&w);
    w.t.publish_later = true;
    struct bh_slice batch = BH_SLICE("[{\"user\":\"42\",\"data\":1,\"strategy\":\"redis\"}]");
    ask(&w.api, "POST", "/api/publish", KEY, batch);
    WAIT_FOR(&w.t, w.t.publishes == 1);
    struct linger linger = {.l_onoff = 1};
    setsockopt(w.api.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    hang_up(&w.api);
    w.t.published(w.t.published_ud, w.t.published_handle, 0, 1, NULL);
    dial(&w.t, &w.api);
    ask(&w.api, "POST", "/api/publish", KEY, batch);
    WAIT_FOR(&w.t, w.t.publishes == 2);
    end(&w); /* and one that is never completed */
}

/* --- users --- */

static void test_user(void **state) {
    struct world w;
    char id[BH_CONNECTION_ID_LEN + 1];
    begin(&w);
    bh_connection_id(w.t.last->number, id);
    assert_int_equal(request(&w.api, "GET", "/api/users/42", KEY, BH_SLICE(""), &w.answer), 200);
    assert_has(w.answer.p, "{\"online\":true,\"connections\":[{\"instance\":\"i-1\",\"id\":\"");
    assert_has(w.answer.p, id);
    assert_has(w.answer.p, "\"tenant\":\"7\",\"opened_at\":\"2025-06-15T15:06:40.000Z\"}]");
    assert_has(w.answer.p, "\"as_of\":\"2025-06-15T15:06:40.000Z\"}");
    assert_int_equal(request(&w.api, "GET", "/api/users/43", KEY, BH_SLICE(""), &w.answer), 200);
    assert_has(w.answer.p, "{\"online\":false,\"connections\":[],");
    assert_int_equal(request(&w.api, "GET", "/api/users/a%20b", KEY, BH_SLICE(""), &w.answer), 400);
    assert_int_equal(request(&w.api, "GET", "/api/users/42", "", BH_SLICE(""), &w.answer), 401);
    end(&w);
}

static void test_users_online(void **state) {
    struct world w;
    begin(&w);
    assert_int_equal(post(&w, "/api/users/online",
                          "{\"users\":[\"42\",42,\"\\u0034\\u0033\",9223372036854775807]}"),
                     200);
    assert_has(w.answer.p, "{\"online\":{\"42\":true,\"42\":true,\"43\":false,"
                           "\"9223372036854775807\":false},\"as_of\":\"2025");
    assert_int_equal(post(&w, "/api/users/online", "{\"users\":[]}"), 200);
    assert_has(w.answer.p, "{\"online\":{},");
    static const char *const bad[] = {"",
                                      "[]",
                                      "{\"users\":1}",
                                      "{\"users\":[1.5]}",
                                      "{\"users\":[9223372036854775808]}",
                                      "{\"users\":[\"a\\n\"]}",
                                      "{\"users\":[null]}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(post(&w, "/api/users/online", bad[i]), 400);
    end(&w);
}

static void test_disconnect(void **state) {
    struct world w;
    begin(&w);
    const char *path = "/api/users/42/connections?code=1005";
    assert_int_equal(request(&w.api, "DELETE", path, KEY, BH_SLICE(""), &w.answer), 400);
    path = "/api/users/42/connections?cod=1000";
    assert_int_equal(request(&w.api, "DELETE", path, KEY, BH_SLICE(""), &w.answer), 400);
    path = "/api/users/42/connections?reason=%ff";
    assert_int_equal(request(&w.api, "DELETE", path, KEY, BH_SLICE(""), &w.answer), 400);
    path = "/api/users/42/connections?code=4010&reason=moved+on";
    assert_int_equal(request(&w.api, "DELETE", path, KEY, BH_SLICE(""), &w.answer), 200);
    expect_close(&w.ws, 4010, "moved on");
    hang_up(&w.ws);
    open_ws(&w.t, &w.ws);
    path = "/api/users/42/connections";
    assert_int_equal(request(&w.api, "DELETE", path, KEY, BH_SLICE(""), &w.answer), 200);
    expect_close(&w.ws, 4000, "disconnected");
    end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_target),
        cmocka_unit_test(test_payloads_byte_for_byte),
        cmocka_unit_test(test_text_or_binary),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_the_longest_filter),
        cmocka_unit_test(test_filters_in_a_batch),
        cmocka_unit_test(test_broker_down),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_hook_decides),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_any_json_in_a_batch),
        cmocka_unit_test(test_batches_without_structure),
        cmocka_unit_test(test_broken_batches),
        cmocka_unit_test(test_batch_outlives_its_client),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_users_online),
        cmocka_unit_test(test_disconnect),
    };
    return cmocka_run_group_tests(tests, register_metrics, NULL);
}
