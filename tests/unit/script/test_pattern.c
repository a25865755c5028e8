/* test_pattern.c - the matcher alone: what it finds, its errors and when they are raised, and that
 * all of its loops check the limits. test_safe_strings.c compares it with Lua's own. */
#include "safe_test.h"

#include "sandbox/pattern.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define ITEMS 128

struct search {
    struct bh_pattern p;
    struct bh_pattern_item items[ITEMS];
    struct bh_slice subject, match;
};

static bool find(lua_State *L, struct search *s, struct bh_slice pattern, struct bh_slice subject) {
    s->subject = subject;
    assert_in_range(bh_pattern_compile(&s->p, L, pattern, true, s->items, ITEMS), 1, ITEMS);
    bh_pattern_begin(&s->p, L, subject);
    return bh_pattern_search(&s->p, subject.p, NULL, &s->match);
}

static void finds(lua_State *L, const char *pattern, const char *subject, const char *match) {
    struct search s;
    bool found = find(L, &s, bh_slice_cstr(pattern), bh_slice_cstr(subject));
    if (found != (match != NULL) || (match && !bh_slice_eq(s.match, bh_slice_cstr(match))))
        fail_msg("%s in %s: %.*s, not %s", pattern, subject, found ? (int)s.match.n : 7,
                 found ? s.match.p : "nothing", match ? match : "nothing");
}

/* For pcall, when the search must raise. */
static int find_protected(lua_State *L) {
    struct search *s = lua_touserdata(L, 3);
    lua_pushboolean(
        L, find(L, s, bh_slice_cstr(lua_tostring(L, 1)), bh_slice_cstr(lua_tostring(L, 2))));
    return 1;
}

static void complains(lua_State *L, const char *pattern, const char *subject, const char *error) {
    struct search s;
    lua_pushcfunction(L, find_protected);
    lua_pushstring(L, pattern);
    lua_pushstring(L, subject);
    lua_pushlightuserdata(L, &s);
    assert_int_equal(lua_pcall(L, 3, 1, 0), LUA_ERRRUN);
    assert_string_equal(lua_tostring(L, -1), error);
    lua_pop(L, 1);
}

/* --- single bytes --- */

static int is_glyph(int c) {
    return isgraph(c);
}

static int is_zero(int c) {
    return c == 0;
}

static void test_classes_are_those_of_ctype(void **state) {
    static const struct {
        char letter;
        int (*is)(int c);
    } classes[] = {
        {'a', isalpha}, {'c', iscntrl},  {'d', isdigit}, {'g', is_glyph},
        {'l', islower}, {'p', ispunct},  {'s', isspace}, {'u', isupper},
        {'w', isalnum}, {'x', isxdigit}, {'z', is_zero},
    };
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        for (int c = 0; c < 256; c++) {
            char byte = (char)c, small[] = {'%', classes[i].letter},
                 capital[] = {'%', (char)toupper(classes[i].letter)};
            struct search s;
            bool is = classes[i].is(c) != 0;
            assert_int_equal(find(*state, &s, bh_slice(small, 2), bh_slice(&byte, 1)), is);
            assert_int_equal(find(*state, &s, bh_slice(capital, 2), bh_slice(&byte, 1)), !is);
        }
    }
}

static void test_each_range(void **state) {
    for (int from = 0; from < 256; from += 7) {
        for (int to = 0; to < 256; to += 9) {
            char pattern[] = {'[', 'x', (char)from, '-', (char)to, ']'};
            struct search s;
            if (from == '%' || from == '-' || to == '%')
                continue;
            for (int c = 0; c < 256; c += 5) {
                char byte = (char)c;
                assert_int_equal(find(*state, &s, bh_slice(pattern, 6), bh_slice(&byte, 1)),
                                 c == 'x' || (c >= from && c <= to));
            }
        }
    }
}

static void test_sets(void **state) {
    finds(*state, "[abc]", "xxbxx", "b");
    finds(*state, "[^abc]+", "abxyzc", "xyz");
    finds(*state, "[%a_][%w_]*", "12 foo_1 ", "foo_1");
    finds(*state, "[]]", "a]", "]");
    finds(*state, "[^]]", "]a", "a");
    finds(*state, "[%]x]+", "a]x]", "]x]");
    finds(*state, "[a-]+", "b-a-b", "-a-");
    finds(*state, "[%a-z]+", "12a-z", "a-z");
    finds(*state, "[+--]+", "a,-+b", ",-+");
    finds(*state, "[^%s%d]+", " 1 ab1", "ab");
    finds(*state, "[c-a]", "abc", NULL);
}

static void test_ordinary_bytes(void **state) {
    finds(*state, "a%.b", "axb a.b", "a.b");
    finds(*state, "%%%-%$", "%-$", "%-$");
    finds(*state, "a$b", "a$b", "a$b");
    finds(*state, "a^b", "a^b", "a^b");
    finds(*state, "]", "a]", "]");
    finds(*state, "*a", "b*a", "*a");
    finds(*state, "%*+", "a**", "**");
    finds(*state, "a.c", "abc", "abc");
}

/* --- repetitions --- */

static void test_repetitions(void **state) {
    finds(*state, "a*", "baaa", "");
    finds(*state, "ba*", "baaa", "baaa");
    finds(*state, "a+", "baaa", "aaa");
    finds(*state, "a+", "bbb", NULL);
    finds(*state, "a-b", "aaab", "aaab");
    finds(*state, "a-", "aaa", "");
    finds(*state, "ba?c", "bc", "bc");
    finds(*state, "ba?a", "ba", "ba");
    finds(*state, ".*b", "abab a", "abab");
    finds(*state, ".-b", "abab a", "ab");
    finds(*state, "a.-a?$", "axxa", "axxa");
    finds(*state, "%d+%.%d*", "v 3.14", "3.14");
    finds(*state, "a*a*a*b", "aaab", "aaab");
    finds(*state, "<[^>]->", "<<a>", "<<a>");
    finds(*state, "x-[ab]-c", "xxabxc", "xc");
    finds(*state, ".-.-.-d", "abcd", "abcd");
}

static void test_anchors(void **state) {
    finds(*state, "^b", "ab", NULL);
    finds(*state, "^a", "ab", "a");
    finds(*state, "a$", "ab", NULL);
    finds(*state, "b$", "bab", "b");
    finds(*state, "^$", "", "");
    finds(*state, "^", "a", "");
    finds(*state, "$", "ab", "");
    finds(*state, "", "ab", "");
    finds(*state, "", "", "");
}

static void test_balanced(void **state) {
    finds(*state, "%b()", "f(a(b)c)d)", "(a(b)c)");
    finds(*state, "%b()", "((a)", "(a)");
    finds(*state, "%b()", "((", NULL);
    finds(*state, "%bxx", "axbxx", "xbx");
    finds(*state, "%b()*", "()*", "()*");
    finds(*state, "^%b()", "a()", NULL);
}

static void test_frontiers(void **state) {
    finds(*state, "%f[%w]%w+", "  word ", "word");
    finds(*state, "%f[%a]%a+%f[%A]", "1ab2", "ab");
    finds(*state, "%w+%f[%z]", "one two", "two");
    finds(*state, "%f[^b]", "bb", "");
    finds(*state, "%f[b]b", "abb", "b");
    finds(*state, "%f[a]*", "a*", NULL);
    struct search s;
    assert_true(find(*state, &s, BH_SLICE("^%f[b]b"), bh_slice(&"bb"[1], 1)));
    assert_true(find(*state, &s, BH_SLICE("b%f[%z]"), bh_slice("bb", 1)));
}

static void test_zero_byte_is_a_byte(void **state) {
    struct search s;
    assert_true(find(*state, &s, bh_slice("b\0c", 3), bh_slice("ab\0cd", 5)));
    assert_true(find(*state, &s, bh_slice("[\0]+", 4), bh_slice("ab\0\0d", 5)));
    assert_int_equal(s.match.n, 2);
    assert_true(find(*state, &s, BH_SLICE("%z."), bh_slice("ab\0cd", 5)));
}

/* --- captures --- */

static void captured(const struct search *s, unsigned index, const char *text) {
    const struct bh_pattern_capture *c = &s->p.capture[index];
    assert_true(index < s->p.captures);
    assert_true(bh_slice_eq(bh_slice(c->start, (size_t)c->n), bh_slice_cstr(text)));
}

static void test_captures(void **state) {
    struct search s;
    assert_true(find(*state, &s, BH_SLICE("((%w+)=(%w*))()"), BH_SLICE("; key=value;")));
    assert_int_equal(s.p.captures, 4);
    captured(&s, 0, "key=value");
    captured(&s, 1, "key");
    captured(&s, 2, "value");
    assert_int_equal(s.p.capture[3].n, BH_PATTERN_POSITION);
    assert_ptr_equal(s.p.capture[3].start, s.subject.p + 11);
}

static void test_captures_of_the_match_only(void **state) {
    struct search s;
    assert_true(find(*state, &s, BH_SLICE("(a*)(a-)(b?)a$"), BH_SLICE("aaaa")));
    captured(&s, 0, "aaa");
    captured(&s, 1, "");
    captured(&s, 2, "");
}

static void test_unfinished_capture(void **state) {
    struct search s;
    assert_true(find(*state, &s, BH_SLICE("(a(b)"), BH_SLICE("ab")));
    assert_int_equal(s.p.capture[0].n, BH_PATTERN_UNFINISHED);
    captured(&s, 1, "b");
}

static void test_back_references(void **state) {
    finds(*state, "(['\"])(.-)%1", "say \"it's\" so", "\"it's\"");
    finds(*state, "(a+)b%1", "aaabaa", "aabaa");
    finds(*state, "(%w)(%w)%2%1", "xabbay", "abba");
    finds(*state, "()%1", "aa", NULL);
    finds(*state, "(a-)%1b", "aab", "aab");
}

static void test_largest_number_of_captures(void **state) {
    char pattern[3 * 33 + 1] = "", subject[] = "abcdefghijklmnopqrstuvwxyzABCDEFG";
    struct search s;
    for (int i = 0; i < 32; i++)
        strcat(pattern, "(.)");
    assert_true(find(*state, &s, bh_slice_cstr(pattern), bh_slice_cstr(subject)));
    captured(&s, 31, "F");
    strcat(pattern, "(.)");
    complains(*state, pattern, subject, "too many captures");
}

/* --- complaints --- */

static void test_malformed(void **state) {
    complains(*state, "%", "a", "malformed pattern (ends with '%')");
    complains(*state, "[a", "a", "malformed pattern (missing ']')");
    complains(*state, "[]", "a", "malformed pattern (missing ']')");
    complains(*state, "[^]", "a", "malformed pattern (missing ']')");
    complains(*state, "[a%", "a", "malformed pattern (missing ']')");
    complains(*state, "[a%]", "a", "malformed pattern (missing ']')");
    complains(*state, "%b", "a", "malformed pattern (missing arguments to '%b')");
    complains(*state, "%bx", "a", "malformed pattern (missing arguments to '%b')");
    complains(*state, "%f", "a", "missing '[' after '%f' in pattern");
    complains(*state, "%fa", "a", "missing '[' after '%f' in pattern");
    complains(*state, "%f[a", "a", "malformed pattern (missing ']')");
    complains(*state, "a)", "a", "invalid pattern capture");
    complains(*state, "())", "a", "invalid pattern capture");
    complains(*state, "%1", "a", "invalid capture index %1");
    complains(*state, "(a)%0", "a", "invalid capture index %0");
    complains(*state, "(a%1)", "a", "invalid capture index %1");
    complains(*state, "(a)%2", "a", "invalid capture index %2");
}

static void test_malformed_only_when_reached(void **state) {
    finds(*state, "b[", "a", NULL);
    finds(*state, "^b%", "ab", NULL);
    finds(*state, "x)", "a", NULL);
    complains(*state, "a-%", "bab", "malformed pattern (ends with '%')");
}

/* --- more than usual --- */

static void test_more_items_than_fit(void **state) {
    struct bh_pattern p;
    struct bh_pattern_item few[3], enough[8];
    struct bh_slice text = BH_SLICE("a(b*)[c]d$"), match;
    assert_int_equal(bh_pattern_compile(&p, *state, text, true, NULL, 0), 8);
    assert_int_equal(bh_pattern_compile(&p, *state, text, true, few, 3), 8);
    assert_int_equal(bh_pattern_compile(&p, *state, text, true, enough, 8), 8);
    bh_pattern_begin(&p, *state, BH_SLICE("abbcd"));
    assert_true(bh_pattern_search(&p, p.begin, NULL, &match));
    assert_int_equal(match.n, 5);
}

/* No pattern uses the C stack. */
static void test_hundred_thousand_choices(void **state) {
    size_t n = 100000;
    char *text = malloc(2 * n), *subject = malloc(n);
    struct bh_pattern_item *items = malloc((n + 1) * sizeof *items);
    struct bh_pattern p;
    struct bh_slice match;
    for (size_t i = 0; i < n; i++)
        memcpy(text + 2 * i, "a?", 2);
    memset(subject, 'a', n);
    assert_int_equal(bh_pattern_compile(&p, *state, bh_slice(text, 2 * n), true, items, n + 1),
                     n + 1);
    bh_pattern_begin(&p, *state, bh_slice(subject, n));
    assert_true(bh_pattern_search(&p, p.begin, NULL, &match));
    assert_int_equal(match.n, n);
    free(items);
    free(subject);
    free(text);
}

/* --- the search --- */

static void test_matches_count_as_work(void **state) {
    struct search s;
    assert_true(find(*state, &s, BH_SLICE("a?a?a?a?a?a?a?a?"), BH_SLICE("b")));
    checks_left = 1000;
    for (int i = 0; i < 100000; i++)
        assert_true(bh_pattern_search(&s.p, s.p.begin, NULL, &s.match));
    assert_in_range(checks_left, 0, 1000 - 8 * 100000 / 4096);
}

static void test_match_that_must_not_end_at_avoid(void **state) {
    struct search s;
    assert_true(find(*state, &s, BH_SLICE("a*"), BH_SLICE("aab")));
    assert_int_equal(s.match.n, 2);
    const char *end = s.match.p + 2;
    assert_true(bh_pattern_search(&s.p, end, end, &s.match));
    assert_ptr_equal(s.match.p, end + 1);
    assert_int_equal(s.match.n, 0);
    assert_false(bh_pattern_search(&s.p, end + 1, end + 1, &s.match));
}

static void test_without_anchor(void **state) {
    struct search s;
    bh_pattern_compile(&s.p, *state, BH_SLICE("^a"), false, s.items, ITEMS);
    bh_pattern_begin(&s.p, *state, BH_SLICE("b^a"));
    assert_true(bh_pattern_search(&s.p, s.p.begin, NULL, &s.match));
    assert_ptr_equal(s.match.p, s.p.begin + 1);
}

static void test_plain(void **state) {
    for (const char *special = "^$*+?.([%-"; *special; special++)
        assert_false(bh_pattern_is_plain(bh_slice(special, 1)));
    assert_true(bh_pattern_is_plain(bh_slice("a)]\0", 4)));
    assert_true(bh_pattern_is_plain(BH_SLICE("")));
}

/* Longer than a scan without a check, with the text at each place near its end. */
static void test_plain_text_across_windows(void **state) {
    size_t n = 600 * 1024, seam = 256 * 1024;
    char *subject = malloc(n);
    struct bh_slice text = BH_SLICE("needle");
    memset(subject, 'n', n);
    assert_null(bh_pattern_find_plain(*state, bh_slice(subject, n), text));
    for (size_t at = seam - 20; at < seam + 20; at++) {
        memcpy(subject + at, text.p, text.n);
        assert_ptr_equal(bh_pattern_find_plain(*state, bh_slice(subject, n), text), subject + at);
        memset(subject + at, 'n', text.n);
    }
    memcpy(subject + n - text.n, text.p, text.n);
    assert_ptr_equal(bh_pattern_find_plain(*state, bh_slice(subject, n), text),
                     subject + n - text.n);
    assert_ptr_equal(bh_pattern_find_plain(*state, bh_slice(subject, 0), BH_SLICE("")), subject);
    assert_null(bh_pattern_find_plain(*state, bh_slice(subject, 3), text));
    free(subject);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SAFE_TEST(test_classes_are_those_of_ctype),
        SAFE_TEST(test_each_range),
        SAFE_TEST(test_sets),
        SAFE_TEST(test_ordinary_bytes),
        SAFE_TEST(test_repetitions),
        SAFE_TEST(test_anchors),
        SAFE_TEST(test_balanced),
        SAFE_TEST(test_frontiers),
        SAFE_TEST(test_zero_byte_is_a_byte),
        SAFE_TEST(test_captures),
        SAFE_TEST(test_captures_of_the_match_only),
        SAFE_TEST(test_unfinished_capture),
        SAFE_TEST(test_back_references),
        SAFE_TEST(test_largest_number_of_captures),
        SAFE_TEST(test_malformed),
        SAFE_TEST(test_malformed_only_when_reached),
        SAFE_TEST(test_more_items_than_fit),
        SAFE_TEST(test_hundred_thousand_choices),
        SAFE_TEST(test_matches_count_as_work),
        SAFE_TEST(test_match_that_must_not_end_at_avoid),
        SAFE_TEST(test_without_anchor),
        SAFE_TEST(test_plain),
        SAFE_TEST(test_plain_text_across_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
