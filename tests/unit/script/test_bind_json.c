/* test_bind_json.c - bh.json: where JSON and Lua differ. */
#include "script_cmocka.h"

static void test_encode(void **state) {
    LUA_OK(*state, "local e = bh.json.encode\n"
                   "eq(e(nil), 'null') eq(e(true), 'true') eq(e(false), 'false') eq(e(1), '1')\n"
                   "eq(e(1.5), '1.5') eq(e(0.1), '0.1') eq(e(3.0), '3') eq(e(1e300), '1e+300')\n"
                   "eq(e(2^53), '9007199254740992') eq(e(-9007199254740992), '-9007199254740992')\n"
                   "eq(e('a\"\\\\\\n\\0'), '\"a\\\\\"\\\\\\\\\\\\n\\\\u0000\"')\n"
                   "eq(e('\\xff'), '\"\\u{fffd}\"')\n"
                   "eq(e{}, '{}') eq(e(bh.json.array{}), '[]') eq(e(bh.json.array()), '[]')\n"
                   "eq(e{1, 'a', {2}}, '[1,\"a\",[2]]') eq(e{a = {b = {}}}, '{\"a\":{\"b\":{}}}')\n"
                   "eq(e(bh.json.null), 'null') eq(e{bh.json.null}, '[null]')\n"
                   "eq(e(bh.json.object{}), '{}') eq(e(bh.json.object{7}), '{\"1\":7}')\n"
                   "eq(tostring(bh.json.null), 'null')");
}

static void test_encode_refuses(void **state) {
    LUA_OK(
        *state,
        "local function refused(part, v) local t, why = bh.json.encode(v) eq(t, nil)\n"
        "  if not why:find(part, 1, true) then error(why, 2) end end\n"
        "refused('NaN', 0/0) refused('NaN', 1/0) refused('2^53', 9007199254740993)\n"
        "refused('function', print) refused('a.b[2]: a function', { a = { b = { 1, print } } })\n"
        "refused('holes', { 1, nil, 3, x = 1 }) refused('keys must be strings', { [1.5] = 1 })\n"
        "refused('keys must be strings', { [true] = 1 })\n"
        "refused('holes', bh.json.array{ a = 1 })\n"
        "local loop = {} loop.a = { loop } refused('contains itself', loop)\n"
        "local deep = {} for i = 1, 100 do deep = { deep } end refused('too deep', deep)\n"
        "local twice = {} eq(bh.json.encode{ twice, twice }, '[{},{}]')\n"
        "throws('value expected', bh.json.encode) throws('table expected', bh.json.array, 1)\n"
        "throws('protected', setmetatable, bh.json.array(), {})");
}

static void test_decode(void **state) {
    LUA_OK(*state,
           "local d = bh.json.decode\n"
           "eq(d '1', 1) eq(d '-0', 0) eq(d '1.5', 1.5) eq(d '9007199254740992', 1 << 53)\n"
           "eq(d 'null', bh.json.null) eq(d '\"\\\\u20ac\"', '\\u{20ac}') eq(d ' true ', true)\n"
           "local t = d '{\"a\":[1,null,{\"b\":[]}],\"a2\":{}}'\n"
           "eq(t.a[1], 1) eq(t.a[2], bh.json.null) eq(#t.a, 3)\n"
           "eq(bh.json.encode(t.a[3]), '{\"b\":[]}') eq(bh.json.encode(t.a2), '{}')\n"
           "eq(d('{\"x\":1,\"x\":2}').x, 2)");
}

static void test_decode_refuses(void **state) {
    LUA_OK(
        *state,
        "for _, bad in ipairs { '', '{', '[1,]', '{\"a\":1,}', 'nul', '01', '1 2', '\"\\xff\"',\n"
        "    '9007199254740993', '-9007199254740993', '\"\\\\u0000\"', ('['):rep(100) } do\n"
        "  local v, why = bh.json.decode(bad) eq(v, nil) assert(why:find('at byte %d'), why) end\n"
        "throws('string expected', bh.json.decode, {})");
}

static void test_peek(void **state) {
    LUA_OK(
        *state,
        "local text = '{\"a\":{\"b\":[10,\"x\\\\ty\",null,1.5,9223372036854775807]},\"t\":true}'\n"
        "local p = bh.json.peek\n"
        "eq(select(2, p(text, 'a')), 'object') eq(select(2, p(text, 'a.b')), 'array')\n"
        "eq(select('#', p(text, 'a.b.1')), 1)\n"
        "eq(p(text, 'a.b.0'), 10) eq(p(text, 'a.b.1'), 'x\\ty') eq(p(text, 'a.b.2'), "
        "bh.json.null)\n"
        "eq(p(text, 'a.b.3'), 1.5) eq(p(text, 'a.b.4'), math.maxinteger) eq(p(text, 't'), true)\n"
        "eq(p(text, 'a.c'), nil) eq(p(text, 'a.b.9'), nil)\n"
        "assert(p(text, 'a.b'):find('^%[10,.*%]$'))\n"
        "local v, why = p('{', 'a') eq(v, nil) assert(why)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_encode), SCRIPT_TEST(test_encode_refuses),
        SCRIPT_TEST(test_decode), SCRIPT_TEST(test_decode_refuses),
        SCRIPT_TEST(test_peek),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
