/* JSON: exactly what the grammar allows, raw bytes kept, lossless trees, and readers that stay
 * inside their slice for any bytes. */
#include "bellhop/base/json.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/utf8.h"
#include "unit_test.h"

#include <math.h>
#include <stdlib.h>

static int check(const char *text) {
    struct bh_slice s = test_exact(bh_slice_cstr(text));
    struct bh_json_error error = {SIZE_MAX, NULL};
    int rc = bh_json_check(s, &error);
    if (rc != 0) {
        assert_non_null(error.why);
        assert_true(error.offset <= s.n);
    }
    assert_int_equal(bh_json_check(s, NULL), rc);
    test_exact_free(s);
    return rc;
}

static const char *const good[] = {
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "1",
    "10",
    "-123",
    "0.5",
    "1e5",
    "1E+5",
    "1e-05",
    "12.34e56",
    "123456789012345678901234567890",
    "\"\"",
    "\"a\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0000\\u00e9\\uABCD\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "\"\\ud800\\n\"",
    "\"\\ud800\\ud800\"",
    "\"\\udc00\\ud800\"",
    "1e400",
    "\"\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x94\"",
    "[]",
    "[ ]",
    "[1]",
    "[1,2 , 3]",
    "{}",
    "{ }",
    "{\"a\":1}",
    "{\"a\":1,\"a\":2}",
    "{\"\":{}}",
    " \t\r\n[ { \"a\" : [ null , true ] } ] \n",
    "[[[]],[{}],{\"a\":[]}]",
};

static const char *const bad[] = {
    "",
    " ",
    "nul",
    "nulll",
    "True",
    "NaN",
    "Infinity",
    "-Infinity",
    "undefined",
    "00",
    "01",
    "-01",
    "-",
    "+1",
    "1.",
    ".5",
    "-.5",
    "1e",
    "1e+",
    "1e1.5",
    "0x10",
    "1_000",
    "1 2",
    "- 1",
    "\"",
    "\"a",
    "\"\\",
    "\"\\\"",
    "\"\\x41\"",
    "\"\\a\"",
    "\"\\u\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\\u 123\"",
    "\"\\U0041\"",
    "\"\\ud800\\udc0\"",
    "\"a\nb\"",
    "\"a\tb\"",
    "\"\x01\"",
    "\"\x1f\"",
    "\"\xff\"",
    "\"\xc3\"",
    "\"\xc0\x80\"",
    "\"\xed\xa0\x80\"",
    "\"\xf4\x90\x80\x80\"",
    "\xef\xbb\xbf{}",
    "'a'",
    "[",
    "]",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[,]",
    "[1 2]",
    "[1}",
    "[1]]",
    "{",
    "}",
    "{]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{,}",
    "{a:1}",
    "{'a':1}",
    "{1:1}",
    "{null:1}",
    "{\"a\" 1}",
    "{\"a\"::1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1}}",
    "{\"a\",1}",
    "// c\n1",
    "/**/1",
    "1;",
    "[1]\v",
    "\f1",
    "[\xc2\xa0]",
};

static void admits_the_grammar(void **state) {
    for (size_t i = 0; i < COUNT(good); i++)
        if (check(good[i]) != 0)
            fail_msg("refused: %s", good[i]);
}

static void refuses_everything_else(void **state) {
    for (size_t i = 0; i < COUNT(bad); i++)
        if (check(bad[i]) != BH_ESYNTAX)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(bh_json_check(bh_slice(NULL, 0), NULL), BH_ESYNTAX);
    assert_int_equal(bh_json_check(bh_slice("1\0", 2), NULL), BH_ESYNTAX);
    assert_int_equal(bh_json_check(bh_slice("\"\0\"", 3), NULL), BH_ESYNTAX);
    assert_int_equal(bh_json_check(bh_slice("\"\\\0\"", 4), NULL), BH_ESYNTAX);
}

static void an_error_names_its_byte(void **state) {
    static const struct {
        const char *text;
        size_t offset;
    } cases[] = {
        {"", 0},           {"[1,]", 3},       {"{\"a\":tru}", 5},        {"[1] x", 4},
        {"\"ab\ncd\"", 3}, {"\"ab\xff\"", 3}, {"{\"a\":1,\"b\" 2}", 11}, {"[\"abc", 5},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bh_json_error error;
        assert_int_equal(bh_json_check(bh_slice_cstr(cases[i].text), &error), BH_ESYNTAX);
        assert_int_equal(error.offset, cases[i].offset);
    }
}

static void no_prefix_of_a_container_passes(void **state) {
    static const char text[] =
        "{\"a\":[1,2.5e3,{\"b\":\"\\u00e9\\ud83d\\ude00\xc3\xa9\"}],\"c\":null,\"d\":[true]}";
    assert_int_equal(check(text), 0);
    for (size_t n = 0; n < sizeof text - 1; n++) {
        struct bh_slice s = test_exact(bh_slice(text, n));
        assert_int_equal(bh_json_check(s, NULL), BH_ESYNTAX);
        test_exact_free(s);
    }
}

/* n containers in one another, `open` and `close` in turn. */
static void nest(struct bh_bytes *text, int n, const char *open, const char *close) {
    bh_bytes_clear(text);
    for (int i = 0; i < n; i++)
        bh_bytes_adds(text, open);
    bh_bytes_adds(text, "1");
    for (int i = 0; i < n; i++)
        bh_bytes_adds(text, close);
}

/* Brackets of both kinds, in an order that differs at each level; with `wrong`, one that closes
 * has the other kind. */
static void nest_mixed(struct bh_bytes *text, unsigned n, unsigned wrong) {
    bh_bytes_clear(text);
    for (unsigned i = 0; i < n; i++)
        bh_bytes_adds(text, i * i % 7 < 3 ? "[" : "{\"a\":");
    bh_bytes_adds(text, "1");
    for (unsigned i = n; i-- > 0;)
        bh_bytes_addc(text, (i * i % 7 < 3) == (i != wrong) ? ']' : '}');
}

static void depth_is_not_judged(void **state) {
    static const unsigned depths[] = {1,    63,   64,   65,   127,  128,  129,   1000,
                                      4095, 4096, 4097, 4160, 4161, 9999, 100000};
    struct bh_bytes text = {0};
    struct bh_json_error error;
    for (size_t i = 0; i < COUNT(depths); i++) {
        unsigned n = depths[i];
        nest_mixed(&text, n, n);
        assert_int_equal(bh_json_check(bh_bytes_slice(&text), NULL), 0);
        for (unsigned wrong = 0; wrong < n; wrong += n / 5 + 1) {
            nest_mixed(&text, n, wrong);
            size_t offset = text.len - 1 - wrong;
            assert_int_equal(bh_json_check(bh_bytes_slice(&text), &error), BH_ESYNTAX);
            assert_int_equal(error.offset, offset);
        }
    }
    nest(&text, 1000000, "[", "");
    assert_int_equal(bh_json_check(bh_bytes_slice(&text), NULL), BH_ESYNTAX);
    bh_bytes_free(&text);
    assert_int_equal(check("[[],[],[[]],[]]"), 0); /* siblings do not add up */
}

static bool reads_to_the_end(struct bh_slice text) {
    struct bh_json_reader r;
    enum bh_json_event event;
    bh_json_reader_init(&r, text);
    while ((event = bh_json_read(&r)) > BH_JSON_END)
        assert_true(r.depth <= BH_JSON_DEPTH_MAX);
    return event == BH_JSON_END;
}

static void a_reader_has_a_limit(void **state) {
    struct bh_bytes text = {0};
    nest_mixed(&text, BH_JSON_DEPTH_MAX, BH_JSON_DEPTH_MAX);
    assert_true(reads_to_the_end(bh_bytes_slice(&text)));
    nest_mixed(&text, BH_JSON_DEPTH_MAX + 1, BH_JSON_DEPTH_MAX + 1);
    assert_false(reads_to_the_end(bh_bytes_slice(&text)));
    bh_bytes_free(&text);
}

/* Up and down across the words in which the kinds of brackets are kept. */
static void depth_may_go_up_and_down(void **state) {
    struct bh_bytes text = {0};
    for (int i = 0; i < 131; i++)
        bh_bytes_adds(&text, i % 3 ? "[" : "{\"a\":");
    for (int i = 0; i < 5; i++)
        bh_bytes_adds(&text, "[{\"b\":[{}]}],");
    bh_bytes_adds(&text, "1");
    for (int i = 131; i-- > 0;) {
        bh_bytes_addc(&text, i % 3 ? ']' : '}');
        if (i > 60 && (i - 1) % 3)
            bh_bytes_adds(&text, ",[{\"c\":[]}]");
    }
    assert_int_equal(bh_json_check(bh_bytes_slice(&text), NULL), 0);
    bh_bytes_free(&text);
}

static struct bh_json_value root_of(const char *text) {
    struct bh_slice s = bh_slice_cstr(text);
    assert_int_equal(bh_json_check(s, NULL), 0);
    return bh_json_root(s);
}

static void root_has_its_type_and_bytes(void **state) {
    static const enum bh_json_type types[] = {BH_JSON_NULL,   BH_JSON_TRUE,   BH_JSON_FALSE,
                                              BH_JSON_NUMBER, BH_JSON_NUMBER, BH_JSON_STRING,
                                              BH_JSON_ARRAY,  BH_JSON_OBJECT};
    static const char *const texts[] = {" null\n", " true",     " false ", "\t-1 ",
                                        "0 ",      " \" a \" ", " [ ] ",   "{ } "};
    for (size_t i = 0; i < COUNT(texts); i++)
        assert_int_equal(root_of(texts[i]).type, types[i]);
    assert_slice(root_of(texts[0]).raw, "null");
    assert_slice(root_of(texts[5]).raw, "\" a \"");
    assert_slice(root_of(texts[6]).raw, "[ ]");
}

static void iterates_arrays_and_keeps_bytes(void **state) {
    static const char *const raws[] = {"1.50",          "\"a,]\\\"\"",         "[ 1 , [2]]",
                                       "{\"}\":\"]\"}", "9223372036854775807", "null"};
    struct bh_json_value array =
        root_of(" [1.50,\"a,]\\\"\" , [ 1 , [2]],{\"}\":\"]\"} ,9223372036854775807,null ] ");
    struct bh_json_value value;
    size_t cursor = 0, n = 0;
    for (; bh_json_next(array, &cursor, NULL, &value); n++) {
        assert_true(n < COUNT(raws));
        assert_slice(value.raw, raws[n]);
    }
    assert_int_equal(n, COUNT(raws));
    assert_false(bh_json_next(array, &cursor, NULL, &value));
}

static void iterates_members(void **state) {
    struct bh_json_value object = root_of("{ \"a\" : 1 , \"b\\\"}\":{\"c\":[2]}, \"\":\"x\" }");
    struct bh_json_value key, value;
    size_t cursor = 0;
    assert_true(bh_json_next(object, &cursor, &key, &value));
    assert_slice(key.raw, "\"a\"");
    assert_int_equal(key.type, BH_JSON_STRING);
    assert_slice(value.raw, "1");
    assert_true(bh_json_next(object, &cursor, &key, &value));
    assert_slice(key.raw, "\"b\\\"}\"");
    assert_slice(value.raw, "{\"c\":[2]}");
    assert_true(bh_json_next(object, &cursor, NULL, &value));
    assert_slice(value.raw, "\"x\"");
    assert_false(bh_json_next(object, &cursor, &key, &value));
}

static void empty_and_scalar_values_have_no_elements(void **state) {
    static const char *const texts[] = {"[]", "[ ]", "{}", "{ \n}", "1", "\"[1]\"", "null"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct bh_json_value value;
        size_t cursor = 0;
        assert_false(bh_json_next(root_of(texts[i]), &cursor, NULL, &value));
    }
}

static void finds_members_and_the_last_wins(void **state) {
    struct bh_json_value value;
    struct bh_json_value object = root_of("{\"a\":1,\"b\":2,\"a\":3,\"\\u00e9\\n\":4,\"\":5}");
    assert_true(bh_json_member(object, BH_SLICE("a"), &value));
    assert_slice(value.raw, "3");
    assert_true(bh_json_member(object, BH_SLICE("\xc3\xa9\n"), &value));
    assert_slice(value.raw, "4");
    assert_true(bh_json_member(object, BH_SLICE(""), &value));
    assert_slice(value.raw, "5");
    assert_false(bh_json_member(object, BH_SLICE("\\u00e9\\n"), &value));
    assert_false(bh_json_member(object, BH_SLICE("A"), &value));
    assert_false(bh_json_member(root_of("[\"a\"]"), BH_SLICE("a"), &value));
    assert_true(bh_json_member(root_of("{\"a\":1,\"\\u0061\":2}"), BH_SLICE("a"), &value));
    assert_slice(value.raw, "2");
}

static int find(const char *text, struct bh_slice path, struct bh_json_value *value) {
    return bh_json_find(bh_slice_cstr(text), path, NULL, NULL, value, NULL);
}

static void finds_by_path(void **state) {
    struct bh_json_value value;
    static const char text[] =
        " {\"a\":{\"b\":[{\"c\":1},{ \"c\" : [2, [3]] }]},\"0\":\"zero\",\"\":{\"\":7},"
        "\"x\\ty\":8} ";
    static const struct {
        const char *path, *raw;
    } cases[] = {
        {"a.b.0.c", "1"},     {"a.b.1.c", "[2, [3]]"}, {"a.b.1", "{ \"c\" : [2, [3]] }"},
        {"a.b.1.c.1.0", "3"}, {"0", "\"zero\""},       {".", "7"},
        {"x\ty", "8"},        {"a.b.0", "{\"c\":1}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(find(text, bh_slice_cstr(cases[i].path), &value), 0);
        assert_slice(value.raw, cases[i].raw);
    }
    assert_int_equal(find(text, bh_slice(NULL, 0), &value), 0);
    assert_int_equal(value.type, BH_JSON_OBJECT);
    assert_int_equal(value.raw.n, sizeof text - 3);
    assert_int_equal(find(" 1 ", BH_SLICE(""), &value), 0);
    assert_slice(value.raw, "1");
    static const char *const missing[] = {
        "x",     "a.x", "a.b.2", "a.b.-1",   "a.b.x",   "a.b.", "a.b.0.c.d",
        "a..b",  ".a",  "0.0",   "a.b.1.c.", "a.b.01x", "c",    "a.b.99999999999999999999",
        "a.b.c",
    };
    for (size_t i = 0; i < COUNT(missing); i++)
        assert_int_equal(find(text, bh_slice_cstr(missing[i]), &value), BH_ENOTFOUND);
}

static void the_last_one_is_found(void **state) {
    struct bh_json_value value;
    assert_int_equal(find("{\"a\":{\"b\":1},\"a\":{\"b\":[2]}}", BH_SLICE("a.b"), &value), 0);
    assert_slice(value.raw, "[2]");
    assert_int_equal(find("{\"a\":{\"b\":1},\"\\u0061\":{}}", BH_SLICE("a.b"), &value),
                     BH_ENOTFOUND);
    assert_int_equal(find("{\"a\":{\"b\":1},\"a\":2}", BH_SLICE("a.b"), &value), BH_ENOTFOUND);
    assert_int_equal(find("{\"a\":2,\"a\":{\"b\":1}}", BH_SLICE("a.b"), &value), 0);
    assert_int_equal(find("{\"a\":[1],\"a\":{\"b\":{\"a\":3}}}", BH_SLICE("a"), &value), 0);
    assert_slice(value.raw, "{\"b\":{\"a\":3}}");
}

static void finding_checks_the_whole_text(void **state) {
    struct bh_json_value value;
    struct bh_json_error error;
    assert_int_equal(
        bh_json_find(BH_SLICE("{\"a\":1,}"), BH_SLICE("a"), NULL, NULL, &value, &error),
        BH_ESYNTAX);
    assert_int_equal(error.offset, 7);
    assert_int_equal(find("[1] 2", BH_SLICE("0"), &value), BH_ESYNTAX);
}

static void paths_have_a_limit(void **state) {
    struct bh_bytes text = {0}, path = {0};
    struct bh_json_value value;
    nest(&text, BH_JSON_STEPS_MAX, "[", "]");
    bh_bytes_addc(&text, '\0');
    for (int i = 0; i < BH_JSON_STEPS_MAX; i++)
        bh_bytes_adds(&path, i ? ".0" : "0");
    assert_int_equal(find(text.p, bh_bytes_slice(&path), &value), 0);
    assert_slice(value.raw, "1");
    bh_bytes_adds(&path, ".0");
    assert_int_equal(find(text.p, bh_bytes_slice(&path), &value), BH_ENOTFOUND);
    for (int i = 0; i < 1000; i++)
        bh_bytes_adds(&path, ".0");
    assert_int_equal(find(text.p, bh_bytes_slice(&path), &value), BH_ENOTFOUND);
    nest(&text, BH_JSON_DEPTH_MAX, "[", "]"); /* deeper than any path */
    bh_bytes_addc(&text, '\0');
    assert_int_equal(find(text.p, bh_bytes_slice(&path), &value), BH_ENOTFOUND);
    assert_int_equal(find(text.p, BH_SLICE("0.0"), &value), 0);
    assert_int_equal(value.raw.n, 2 * (BH_JSON_DEPTH_MAX - 2) + 1);
    bh_bytes_free(&text);
    bh_bytes_free(&path);
}

static void half_surrogates_become_replacements(void **state) {
#define HALF "\xef\xbf\xbd"
    static const struct {
        const char *text, *decoded;
        bool exact;
    } cases[] = {
        {"\"\\ud800\"", HALF, false},
        {"\"a\\udfffb\"", "a" HALF "b", false},
        {"\"\\ud800x\"", HALF "x", false},
        {"\"\\ud800\\n\"", HALF "\n", false},
        {"\"\\ud800\\u0041\"", HALF "A", false},
        {"\"\\ud800\\ud800\"", HALF HALF, false},
        {"\"\\udc00\\ud800\"", HALF HALF, false},
        {"\"\\ud800\\ud83d\\ude00\"", HALF "\xf0\x9f\x98\x80", false},
        {"\"\\ud83d\\ude00\\ude00\"", "\xf0\x9f\x98\x80" HALF, false},
        {"\"\\ud83dxxude00\"", HALF "xxude00", false},
        {"\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80", true},
        {"\"\\ufffd\"", HALF, true},
        {"\"\\\\ud800\"", "\\ud800", true},
        {"\"" HALF "\"", HALF, true},
        {"\"\"", "", true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bh_bytes out = {0};
        struct bh_json_value string = root_of(cases[i].text);
        bh_json_string(string, &out);
        assert_slice(bh_bytes_slice(&out), cases[i].decoded);
        assert_true(bh_json_equals(string, bh_slice_cstr(cases[i].decoded)));
        assert_int_equal(bh_json_is_exact(string), cases[i].exact);
        bh_bytes_free(&out);
    }
#undef HALF
}

static void count_tick(void *ud) {
    ++*(unsigned *)ud;
}

static void finding_ticks(void **state) {
    struct bh_bytes text = {0};
    struct bh_json_value value;
    unsigned ticks = 0;
    bh_bytes_addc(&text, '[');
    for (int i = 0; i < 10 * BH_JSON_TICK; i++)
        bh_bytes_adds(&text, "1,");
    bh_bytes_adds(&text, "7]");
    struct bh_slice path = BH_SLICE("10240");
    assert_int_equal(bh_json_find(bh_bytes_slice(&text), path, count_tick, &ticks, &value, NULL),
                     0);
    assert_slice(value.raw, "7");
    assert_int_equal(ticks, 10);
    bh_bytes_free(&text);
}

/* --- events --- */

static void describe(struct bh_bytes *out, const struct bh_json_reader *r,
                     enum bh_json_event event) {
    static const char *const names[] = {"!", ".", "v", "n", "+", "-"};
    bh_bytes_addf(out, "%s%u", names[event], r->depth);
    if (event > BH_JSON_END)
        bh_bytes_addf(out, "%.*s%s", BH_SLICE_ARG(r->value.raw), r->plain ? " " : "~ ");
}

static void reads_events(void **state) {
    struct bh_bytes out = {0};
    struct bh_json_reader r;
    enum bh_json_event event;
    struct bh_slice text =
        test_exact(BH_SLICE(" { \"a\" : [ 1 , 2.5, {} ] ,\"b\\n\":null , \"c\":\"\\t\"} "));
    bh_json_reader_init(&r, text);
    do {
        event = bh_json_read(&r);
        r.plain = r.plain || r.value.type < BH_JSON_NUMBER || r.value.type > BH_JSON_STRING;
        describe(&out, &r, event);
    } while (event > BH_JSON_END);
    assert_slice(bh_bytes_slice(&out), "+1{ n1\"a\" +2[ v21 v22.5~ +3{ -2} -1] n1\"b\\n\"~ v1null "
                                       "n1\"c\" v1\"\\t\"~ -0} .0");
    assert_int_equal(bh_json_read(&r), BH_JSON_END);
    test_exact_free(text);
    bh_bytes_free(&out);
}

static void an_invalid_text_stays_invalid(void **state) {
    struct bh_json_reader r;
    bh_json_reader_init(&r, BH_SLICE("[1,]]"));
    assert_int_equal(bh_json_read(&r), BH_JSON_OPEN);
    assert_int_equal(bh_json_read(&r), BH_JSON_VALUE);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bh_json_read(&r), BH_JSON_INVALID);
        assert_int_equal(r.error.offset, 3);
    }
}

/* The strings are checked by words: a special byte at each position, of strings of each length. */
static void special_bytes_are_seen_anywhere(void **state) {
    static const unsigned char bytes[] = {0x00, 0x01, 0x1f, 0x80, 0xc3, 0xff, '"', '\\'};
    for (size_t n = 1; n < 40; n++)
        for (size_t i = 0; i < n; i++)
            for (size_t b = 0; b < COUNT(bytes); b++) {
                char text[48] = "\"";
                memset(text + 1, i % 2 ? '!' : 0x7f, n);
                text[n + 1] = '"';
                text[i + 1] = (char)bytes[b];
                struct bh_json_error error;
                struct bh_slice s = test_exact(bh_slice(text, n + 2));
                assert_int_equal(bh_json_check(s, &error), BH_ESYNTAX);
                size_t offset = i + 1 + (bytes[b] == '"' || bytes[b] == '\\');
                if (bytes[b] == '\\' && i == n - 1) /* it escapes the closing quote */
                    offset = n + 2;
                assert_int_equal(error.offset, offset);
                test_exact_free(s);
            }
}

static void decodes_strings(void **state) {
    struct bh_bytes out = {0};
    bh_json_string(root_of("\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\""), &out);
    assert_slice(bh_bytes_slice(&out), "a\"\\/\b\f\n\r\tz");
    bh_bytes_clear(&out);
    bh_json_string(root_of("\"\\u0041\\u00e9\\u20AC\\ud83d\\udd14\xc3\xa9\""), &out);
    assert_slice(bh_bytes_slice(&out), "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x94\xc3\xa9");
    bh_json_string(root_of("\"\""), &out);
    bh_json_string(root_of("12"), &out); /* no string: nothing */
    assert_slice(bh_bytes_slice(&out), "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x94\xc3\xa9");
    bh_bytes_clear(&out);
    bh_json_string(root_of("\"\\u0000\\uffff\\udbff\\udfff\""), &out);
    assert_true(bh_slice_eq(bh_bytes_slice(&out), bh_slice("\0\xef\xbf\xbf\xf4\x8f\xbf\xbf", 8)));
    bh_bytes_free(&out);
}

static void every_code_point_survives_its_escape(void **state) {
    struct bh_bytes out = {0};
    for (uint32_t code = 0; code <= 0x10ffff; code += code < 0x900 ? 1 : 37) {
        if (code >= 0xd800 && code <= 0xdfff)
            continue;
        char text[32];
        if (code < 0x10000)
            snprintf(text, sizeof text, "\"\\u%04X\"", code);
        else
            snprintf(text, sizeof text, "\"\\u%04x\\u%04x\"", 0xd800 + ((code - 0x10000) >> 10),
                     0xdc00 + (code & 0x3ff));
        bh_bytes_clear(&out);
        bh_json_string(root_of(text), &out);
        assert_true(bh_utf8_valid(bh_bytes_slice(&out)));
        assert_int_equal(out.len, code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);
        unsigned char last = (unsigned char)out.p[out.len - 1];
        assert_int_equal(last & 0x3f, code & 0x3f);
    }
    bh_bytes_free(&out);
}

static void reads_64_bit_integers(void **state) {
    static const struct {
        const char *text;
        int rc;
        int64_t value;
    } cases[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"9007199254740993", 0, 9007199254740993},
        {"9223372036854775807", 0, INT64_MAX},
        {"-9223372036854775808", 0, INT64_MIN},
        {"9223372036854775808", BH_ETOOBIG, 7},
        {"-9223372036854775809", BH_ETOOBIG, 7},
        {"100000000000000000000000", BH_ETOOBIG, 7},
        {"1.0", BH_EINVAL, 7},
        {"1e2", BH_EINVAL, 7},
        {"\"1\"", BH_EINVAL, 7},
        {"null", BH_EINVAL, 7},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t n = 7;
        assert_int_equal(bh_json_int64(root_of(cases[i].text), &n), cases[i].rc);
        assert_true(n == cases[i].value);
    }
}

static void reads_doubles(void **state) {
    static const char *const texts[] = {
        "0",
        "-0",
        "1",
        "-1.5",
        "0.1",
        "19.99",
        "1700000000.25",
        "1e5",
        "1E-5",
        "1e308",
        "5e-324",
        "1e-400",
        "0.000001",
        "123456789012345678901234567890",
        "9007199254740993",
        "9007199254740993.0",
        "0.3000000000000004",
        "123456789012.345",
        "99999999999999.9",
        "-0.00000000000001",
        "1234567890123456",
        "2.2250738585072014e-308",
        "-0.000000000000000000000000000000000000000000000000000000000000000000000000000000000001",
    };
    double n;
    for (size_t i = 0; i < COUNT(texts); i++) {
        assert_int_equal(bh_json_double(root_of(texts[i]), &n), 0);
        if (n != strtod(texts[i], NULL) || signbit(n) != signbit(strtod(texts[i], NULL)))
            fail_msg("%s is %.17g", texts[i], n);
    }
    for (int round = 0; round < 20000; round++) {
        char text[40];
        snprintf(text, sizeof text, "%s%.*f", test_random() % 2 ? "-" : "",
                 (int)(test_random() % 10), (double)(test_random() % 10000000) / 997);
        assert_int_equal(bh_json_double(root_of(text), &n), 0);
        assert_true(n == strtod(text, NULL));
    }
    assert_int_equal(bh_json_double(root_of("1e400"), &n), BH_ETOOBIG);
    assert_int_equal(bh_json_double(root_of("-1e400"), &n), BH_ETOOBIG);
    assert_int_equal(bh_json_double(root_of("\"1\""), &n), BH_EINVAL);
    struct bh_bytes text = {0};
    bh_bytes_adds(&text, "0.");
    for (int i = 0; i < BH_JSON_NUMBER_MAX - 2; i++)
        bh_bytes_addc(&text, '1');
    assert_int_equal(bh_json_double(bh_json_root(bh_bytes_slice(&text)), &n), 0);
    assert_true(n == 1.0 / 9);
    bh_bytes_addc(&text, '1');
    assert_int_equal(bh_json_double(bh_json_root(bh_bytes_slice(&text)), &n), BH_ETOOBIG);
    bh_bytes_free(&text);
}

static void compares_strings(void **state) {
    static const char e[] = "a\xc3\xa9\n\xf0\x9f\x94\x94";
    struct bh_slice text = bh_slice_cstr(e);
    assert_true(bh_json_equals(root_of("\"a\xc3\xa9\\n\xf0\x9f\x94\x94\""), text));
    assert_true(bh_json_equals(root_of("\"\\u0061\\u00e9\\u000a\\ud83d\\udd14\""), text));
    assert_false(bh_json_equals(root_of("\"\\u0061\\u00e9\\u000a\\ud83d\\udd14!\""), text));
    assert_false(bh_json_equals(root_of("\"\\u0061\\u00e9\\u000a\""), text));
    assert_false(bh_json_equals(root_of("\"\\u0000\""), bh_slice(NULL, 0)));
    assert_true(bh_json_equals(root_of("\"\\u0000\""), bh_slice("", 1)));
    assert_true(bh_json_equals(root_of("\"\""), bh_slice(NULL, 0)));
    assert_false(bh_json_equals(root_of("11"), BH_SLICE("")));
    assert_false(bh_json_equals(root_of("[]"), BH_SLICE("")));
}

static int parse(const char *text, struct bh_json **root) {
    struct bh_slice s = test_exact(bh_slice_cstr(text));
    struct bh_json_error error = {SIZE_MAX, NULL};
    int rc = bh_json_parse(s, root, &error);
    assert_int_equal(rc != 0, error.why != NULL);
    test_exact_free(s);
    return rc;
}

static void builds_trees(void **state) {
    struct bh_json *root = NULL;
    assert_int_equal(
        parse(" {\"s\":\"a\\u00e9\",\"n\":-1.5,\"t\":true,\"f\":false,\"z\":null,\"a\":[1,2]} ",
              &root),
        0);
    assert_int_equal(bh_json_type(root), BH_JSON_OBJECT);
    assert_string_equal(bh_json_str(bh_json_get(root, "s")), "a\xc3\xa9");
    assert_true(bh_json_num(bh_json_get(root, "n")) == -1.5);
    assert_null(bh_json_str(bh_json_get(root, "n")));
    assert_int_equal(bh_json_type(bh_json_get(root, "t")), BH_JSON_TRUE);
    assert_int_equal(bh_json_type(bh_json_get(root, "f")), BH_JSON_FALSE);
    assert_int_equal(bh_json_type(bh_json_get(root, "z")), BH_JSON_NULL);
    const struct bh_json *array = bh_json_get(root, "a");
    assert_int_equal(bh_json_type(array), BH_JSON_ARRAY);
    assert_string_equal(bh_json_name(array), "a");
    const struct bh_json *child = bh_json_child(array);
    assert_true(bh_json_num(child) == 1);
    child = bh_json_sibling(child);
    assert_true(bh_json_num(child) == 2);
    assert_null(bh_json_sibling(child));
    assert_null(bh_json_sibling(array));
    assert_null(bh_json_get(root, "S"));
    assert_null(bh_json_get(array, "s"));
    assert_null(bh_json_get(NULL, "s"));
    bh_json_free(root);
    bh_json_free(NULL);
}

static void trees_and_scanner_agree_on_twins(void **state) {
    struct bh_json *root = NULL;
    assert_int_equal(parse("{\"a\":1,\"\\u0061\":2}", &root), 0);
    assert_true(bh_json_num(bh_json_get(root, "a")) == 2);
    bh_json_free(root);
}

static void trees_refuse_what_they_would_corrupt(void **state) {
    static const char *const corrupt[] = {
        "\"a\\u0000b\"",
        "\"a\\ud83d\"",
        "{\"a\\udc00\":1}",
        "{\"a\\u0000\":1}",
        "9007199254740993",
        "-9007199254740993",
        "[9223372036854775807]",
        "1000000000000000000000000",
        "1e400",
        "-1e400",
        "1e99999999999999",
        "0.1000000000000000000000000000000000000000000000000000000000000001",
    };
    for (size_t i = 0; i < COUNT(corrupt); i++) {
        struct bh_json *root = NULL;
        assert_int_equal(check(corrupt[i]), 0);
        assert_int_equal(parse(corrupt[i], &root), BH_ESYNTAX);
        assert_null(root);
    }
    struct bh_json_error error;
    struct bh_json *root = NULL;
    bh_json_parse(BH_SLICE("[1, 9007199254740993]"), &root, &error);
    assert_int_equal(error.offset, 4);
    assert_non_null(strstr(error.why, "2^53"));
}

static void integers_are_told_from_the_value(void **state) {
    static const struct {
        const char *text;
        bool is_int;
        int64_t value;
    } cases[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"9007199254740992", true, 9007199254740992},
        {"-9007199254740992", true, -9007199254740992},
        {"1.0", true, 1},
        {"1e2", true, 100},
        {"12.5e1", true, 125},
        {"0.5", false, 7},
        {"1e16", false, 7},
        {"1e300", false, 7},
        {"\"1\"", false, 7},
        {"true", false, 7},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bh_json *root = NULL;
        int64_t n = 7;
        assert_int_equal(parse(cases[i].text, &root), 0);
        assert_int_equal(bh_json_is_int(root, &n), cases[i].is_int);
        assert_true(n == cases[i].value);
        bh_json_free(root);
    }
}

static void deep_trees_are_built_and_freed(void **state) {
    struct bh_bytes text = {0};
    struct bh_json *root = NULL;
    nest(&text, 64, "{\"a\":", "}");
    assert_int_equal(bh_json_parse(bh_bytes_slice(&text), &root, NULL), 0);
    bh_json_free(root);
    nest(&text, 65, "{\"a\":", "}");
    assert_int_equal(bh_json_parse(bh_bytes_slice(&text), &root, NULL), BH_ESYNTAX);
    bh_bytes_free(&text);
}

static void each_failing_allocation_is_survived(void **state) {
    static const char text[] = "{\"a\":[1,\"two\",{\"b\":null}],\"c\":\"\\u00e9\"}";
    int rc = BH_ENOMEM;
    unsigned nth = 1;
    for (; rc == BH_ENOMEM; nth++) {
        struct bh_json *root = NULL;
        struct bh_json_error error = {0, NULL};
        bh_mem_fail_nth(nth);
        rc = bh_json_parse(bh_slice_cstr(text), &root, &error);
        assert_int_equal(rc == BH_ENOMEM, error.why != NULL);
        bh_json_free(root);
    }
    bh_mem_fail_nth(0);
    assert_int_equal(rc, 0);
    assert_true(nth > 8);
}

static void assert_quoted(struct bh_slice s, const char *expected) {
    struct bh_bytes out = {0};
    struct bh_slice exact = test_exact(s);
    bh_json_quote(&out, exact);
    assert_slice(bh_bytes_slice(&out), expected);
    bh_bytes_free(&out);
    test_exact_free(exact);
}

static void quotes(void **state) {
    assert_quoted(bh_slice(NULL, 0), "\"\"");
    assert_quoted(BH_SLICE("plain"), "\"plain\"");
    assert_quoted(BH_SLICE("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
    assert_quoted(bh_slice("\0\b\f\n\r\t\x1f", 7), "\"\\u0000\\b\\f\\n\\r\\t\\u001f\"");
    assert_quoted(BH_SLICE("\x7f\xc2\x80\xc2\x9f\xc2\xa0"), "\"\\u007f\\u0080\\u009f\xc2\xa0\"");
    assert_quoted(BH_SLICE("\xc3\xa9\xf0\x9f\x94\x94"), "\"\xc3\xa9\xf0\x9f\x94\x94\"");
    assert_quoted(BH_SLICE("a\xff"
                           "b"),
                  "\"a\xef\xbf\xbd"
                  "b\"");
    assert_quoted(BH_SLICE("\xe2\x82"), "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_quoted(BH_SLICE("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void quoting_and_decoding_are_inverse(void **state) {
    struct bh_bytes quoted = {0}, back = {0};
    for (int round = 0; round < 20000; round++) {
        char bytes[40];
        size_t n = test_random() % sizeof bytes;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)(test_random() % 2 ? test_random() : test_random() % 128);
        bh_bytes_clear(&quoted);
        bh_bytes_clear(&back);
        bh_json_quote(&quoted, bh_slice(bytes, n));
        assert_int_equal(bh_json_check(bh_bytes_slice(&quoted), NULL), 0);
        bh_json_string(bh_json_root(bh_bytes_slice(&quoted)), &back);
        if (bh_utf8_valid(bh_slice(bytes, n)))
            assert_true(bh_slice_eq(bh_bytes_slice(&back), bh_slice(bytes, n)));
        else
            assert_true(bh_utf8_valid(bh_bytes_slice(&back)));
    }
    bh_bytes_free(&quoted);
    bh_bytes_free(&back);
}

/* Reads everything, down to the leaves; every raw extent must be a JSON text. */
static void read_all(struct bh_json_value value, bool accepted, int depth) {
    struct bh_json_value key, each, found;
    struct bh_bytes text = {0};
    size_t cursor = 0;
    int64_t n;
    if (accepted)
        assert_int_equal(bh_json_check(value.raw, NULL), 0);
    bh_json_string(value, &text);
    bh_json_int64(value, &n);
    bh_json_member(value, BH_SLICE("a"), &found);
    bh_json_equals(value, BH_SLICE("a"));
    while (depth < 70 && bh_json_next(value, &cursor, &key, &each))
        read_all(each, accepted, depth + 1);
    bh_bytes_free(&text);
}

static void try_bytes(const char *bytes, size_t n) {
    struct bh_slice s = test_exact(bh_slice(bytes, n));
    struct bh_json *root = NULL;
    bool accepted = bh_json_check(s, NULL) == 0;
    int rc = bh_json_parse(s, &root, NULL);
    if (!accepted)
        assert_int_equal(rc, BH_ESYNTAX);
    read_all(bh_json_root(s), accepted, 0);
    bh_json_free(root);
    test_exact_free(s);
}

static void random_texts_do_no_harm(void **state) {
    static const char *const bits[] = {"{",    "}",  "[",       "]",    ",",    ":",   "\"a\"",
                                       "\"",   "\\", "\\u0061", "1",    "-1.5", "e3",  "null",
                                       "true", " ",  "\"\\ud8", "00\"", "\xc3", "\xa9"};
    for (int round = 0; round < 60000; round++) {
        struct bh_bytes text = {0};
        for (unsigned i = test_random() % 12; i > 0; i--)
            bh_bytes_adds(&text, bits[test_random() % COUNT(bits)]);
        try_bytes(text.p, text.len);
        bh_bytes_free(&text);
    }
}

static void mutated_texts_do_no_harm(void **state) {
    for (int round = 0; round < 60000; round++) {
        char text[256];
        size_t n = (size_t)snprintf(text, sizeof text, "{\"a\":[%s,{\"b\":%s}],\"c\":%s}",
                                    good[test_random() % 24], good[test_random() % 24],
                                    good[test_random() % 24]);
        assert_true(n < sizeof text);
        for (unsigned i = test_random() % 3; i > 0; i--)
            text[test_random() % n] = "{}[],:\"\\u0 1\xc3\xa9\x01"[test_random() % 15];
        try_bytes(text, test_random() % 4 ? n : test_random() % n);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(admits_the_grammar),
        cmocka_unit_test(refuses_everything_else),
        cmocka_unit_test(an_error_names_its_byte),
        cmocka_unit_test(no_prefix_of_a_container_passes),
        cmocka_unit_test(depth_is_not_judged),
        cmocka_unit_test(a_reader_has_a_limit),
        cmocka_unit_test(depth_may_go_up_and_down),
        cmocka_unit_test(root_has_its_type_and_bytes),
        cmocka_unit_test(iterates_arrays_and_keeps_bytes),
        cmocka_unit_test(iterates_members),
        cmocka_unit_test(empty_and_scalar_values_have_no_elements),
        cmocka_unit_test(finds_members_and_the_last_wins),
        cmocka_unit_test(finds_by_path),
        cmocka_unit_test(the_last_one_is_found),
        cmocka_unit_test(finding_checks_the_whole_text),
        cmocka_unit_test(paths_have_a_limit),
        cmocka_unit_test(half_surrogates_become_replacements),
        cmocka_unit_test(finding_ticks),
        cmocka_unit_test(reads_events),
        cmocka_unit_test(an_invalid_text_stays_invalid),
        cmocka_unit_test(special_bytes_are_seen_anywhere),
        cmocka_unit_test(decodes_strings),
        cmocka_unit_test(every_code_point_survives_its_escape),
        cmocka_unit_test(reads_64_bit_integers),
        cmocka_unit_test(reads_doubles),
        cmocka_unit_test(compares_strings),
        cmocka_unit_test(builds_trees),
        cmocka_unit_test(trees_and_scanner_agree_on_twins),
        cmocka_unit_test(trees_refuse_what_they_would_corrupt),
        cmocka_unit_test(integers_are_told_from_the_value),
        cmocka_unit_test(deep_trees_are_built_and_freed),
        cmocka_unit_test(each_failing_allocation_is_survived),
        cmocka_unit_test(quotes),
        cmocka_unit_test(quoting_and_decoding_are_inverse),
        cmocka_unit_test(random_texts_do_no_harm),
        cmocka_unit_test(mutated_texts_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
