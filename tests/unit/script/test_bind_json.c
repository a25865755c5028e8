/* test_bind_json.c - bh.json: where JSON and Lua differ. */
#include "script_cmocka.h"

static void test_encode(void **state) {
    LUA_OK(*state, "local e = bh.json.encode\n"
                   "eq(e(nil), 'null') eq(e(true), 'true') eq(e(false), 'false') eq(e(1), '1')\n"
                   "eq(e(1.5), '1.5') eq(e(0.1), '0.1') eq(e(3.0), '3') eq(e(1e300), '1e+300')\n"
                   "eq(e(2^53), '9007199254740992') eq(e(-9007199254740992), '-9007199254740992')\n"
                   "eq(e(9007199254740993), '9007199254740993')\n"
                   "eq(e(math.maxinteger), '9223372036854775807')\n"
                   "eq(e(math.mininteger), '-9223372036854775808')\n"
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
        "refused('NaN', 0/0) refused('NaN', 1/0)\n"
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
           "eq(d '1.0', 1) eq(d '1e2', 100) eq(d '-0.0', 0) eq(d '1e16', 1e16)\n"
           "eq(d 'null', bh.json.null) eq(d '\"\\\\u20ac\"', '\\u{20ac}') eq(d ' true ', true)\n"
           "local t = d '{\"a\":[1,null,{\"b\":[]}],\"a2\":{}}'\n"
           "eq(t.a[1], 1) eq(t.a[2], bh.json.null) eq(#t.a, 3)\n"
           "eq(bh.json.encode(t.a[3]), '{\"b\":[]}') eq(bh.json.encode(t.a2), '{}')\n"
           "eq(d('{\"x\":1,\"x\":2}').x, 2) eq(d('{\"x\":1,\"\\\\u0078\":2}').x, 2)\n"
           "eq(d('{\"\":1,\"1\":2}')[''], 1) eq(d('{\"\":1,\"1\":2}')['1'], 2)");
}

static void test_decode_integers(void **state) {
    LUA_OK(
        *state,
        "local d, e = bh.json.decode, bh.json.encode\n"
        "for _, n in ipairs { 0, 1 << 53, (1 << 53) + 1, -(1 << 53) - 1, math.maxinteger,\n"
        "    math.mininteger } do eq(d(tostring(n)), n) eq(d(e { n })[1], n) end\n"
        "local max, big = '9223372036854775807', '9223372036854775808'\n"
        "for _, text in ipairs { big, '-9223372036854775809', ('9'):rep(300) } do\n"
        "  local v, why = d(text) eq(v, nil)\n"
        "  eq(why, 'an integer beyond 64 bits; the option big_integers accepts it (at byte 1)')\n"
        "  eq(d(text, { big_integers = 'error' }), nil) eq(d(text, {}), nil)\n"
        "  eq(d(text, { big_integers = 'string' }), text)\n"
        "  eq(d(text, { big_integers = 'float' }), tonumber(text)) end\n"
        "eq(d('[1,' .. big .. ']', { big_integers = 'string' })[2], big)\n"
        "eq(d(max, { big_integers = 'string' }), math.maxinteger)\n"
        "for _, text in ipairs { '1e400', '-1E+400', ('9'):rep(400), '0.' .. ('1'):rep(1000) } do\n"
        "  eq(d(text, { big_integers = 'string' }), text) end\n"
        "eq(d('1e300', { big_integers = 'string' }), 1e300)\n"
        "local v, why = d(('9'):rep(400), { big_integers = 'float' }) eq(v, nil)\n"
        "eq(why, 'a number too big for a double (at byte 1)')\n"
        "v, why = d('[1, 1e400]') eq(v, nil) eq(why, 'a number too big for a double (at byte 5)')\n"
        "throws('did you mean \"big_integers\"?', d, '1', { big_integer = 'float' })\n"
        "throws('option big_integers must be \"error\"', d, '1', { big_integers = 'number' })\n"
        "throws('option big_integers must be \"error\"', d, '1', { big_integers = 1 })\n"
        "throws('table expected', d, '1', 'float')");
}

static void test_decode_strings(void **state) {
    LUA_OK(
        *state,
        "local d, e = bh.json.decode, bh.json.encode\n"
        "eq(d '\"a\\\\u0000b\"', 'a\\0b') eq(d('{\"\\\\u0000\":1}')['\\0'], 1)\n"
        "eq(d '\"\\\\ud83d\\\\ude00\"', '\\u{1f600}') eq(d '\"\"', '')\n"
        "eq(d '\"a\\\\ud83d\"', 'a\\u{fffd}') eq(d('{\"\\\\ude00x\":1}')['\\u{fffd}x'], 1)\n"
        "eq(d '\"\\\\\"\\\\\\\\\\\\/\\\\b\\\\f\\\\n\\\\r\\\\t\"', '\"\\\\/\\b\\f\\n\\r\\t')\n"
        "for n = 0, 3000, 7 do\n"
        "  for _, c in ipairs { 'x', '\\n', '\\u{e9}', '\\u{1f600}', '\\0' } do\n"
        "    local s = 'a' .. c:rep(n) .. 'z' eq(d(e(s)), s) eq(d(e { [s] = s })[s], s) end end");
}

/* Containers that are larger than what waits on the stack, and just not. */
static void test_decode_sizes(void **state) {
    LUA_OK(
        *state,
        "local d, e = bh.json.decode, bh.json.encode\n"
        "for n = 0, 70 do\n"
        "  local list, members = {}, {}\n"
        "  for i = 1, n do list[i] = tostring(i) members[i] = ('\"k%d\":[%d]'):format(i, i) end\n"
        "  local a = d('[' .. table.concat(list, ',') .. ']') eq(#a, n)\n"
        "  for i = 1, n do eq(a[i], i) end\n"
        "  local o, count = d('{' .. table.concat(members, ',') .. '}'), 0\n"
        "  for k, v in pairs(o) do count = count + 1 eq(k, 'k' .. v[1]) end eq(count, n)\n"
        "  members[n + 1] = '\"k1\":[\"last\"]'\n"
        "  eq(d('{' .. table.concat(members, ',') .. '}').k1[1], 'last')\n"
        "  local nested = '[' .. ('[1,2,{\"a\":['):rep(n % 20) .. ('0,'):rep(n) .. '0'\n"
        "    .. (']}]'):rep(n % 20) .. ']'\n"
        "  eq(e(d(nested)), nested) end");
}

static void test_decode_depth(void **state) {
    LUA_OK(*state,
           "local d, e = bh.json.decode, bh.json.encode\n"
           "for _, open in ipairs { '[', '{\"a\":' } do\n"
           "  local close = open == '[' and ']' or '}'\n"
           "  local text = open:rep(64) .. '1' .. close:rep(64) eq(e(d(text)), text)\n"
           "  local deep = d(open:rep(4096) .. '1' .. close:rep(4096))\n"
           "  for _ = 1, 4096 do deep = deep[1] or deep.a end eq(deep, 1)\n"
           "  local v, why = d(open:rep(4097) .. '1' .. close:rep(4097)) eq(v, nil)\n"
           "  assert(why:find 'nested too deeply', why)\n"
           "  eq(d('{\"big\":' .. open:rep(999) .. '1' .. close:rep(999) .. ',\"a\":2}').a, 2)\n"
           "  eq(d(open:rep(100000)), nil) end");
}

static void test_decode_refuses(void **state) {
    LUA_OK(
        *state,
        "for _, bad in ipairs { '', '{', '[1,]', '{\"a\":1,}', 'nul', '01', '1 2', '\"\\xff\"',\n"
        "    '\"\\\\ud80\"', '\\u{feff}1', '[1}', '{1:1}', \"'a'\", '[1]]', '\"\\1\"', "
        "('['):rep(100) } do\n"
        "  local v, why = bh.json.decode(bad) eq(v, nil) assert(why:find('at byte %d'), why) end\n"
        "local text = "
        "'{\"a\":[1,-2.5e3,{\"b\":\"\\\\u00e9\\\\ud83d\\\\ude00\\u{e9}\"}],\"c\":null,\"d\":[true]}"
        "'\n"
        "assert(bh.json.decode(text))\n"
        "for n = 0, #text - 1 do local v, why = bh.json.decode(text:sub(1, n)) eq(v, nil)\n"
        "  assert(tonumber(why:match('at byte (%d+)')) <= n + 1, why) end\n"
        "local _, why = bh.json.decode '[1, tru]' eq(why, 'a value is expected here (at byte 5)')\n"
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
        "local v, why = p('{', 'a') eq(v, nil) assert(why)\n"
        "eq(p('{\"a\":\"\\\\u0000\"}', 'a'), '\\0') eq(p('{\"\\\\u0061\":1}', 'a'), 1)\n"
        "local big = '9223372036854775808' v, why = p('[' .. big .. ']', '0') eq(v, nil)\n"
        "assert(why:find 'beyond 64 bits', why)\n"
        "eq(p('[' .. big .. ']', '0', { big_integers = 'string' }), big)\n"
        "eq(p('[' .. big .. ']', '0', { big_integers = 'float' }), 2^63)\n"
        "v, why = p('{\"a\":1e400}', 'a') eq(v, nil) assert(why:find 'at byte 6', why)\n"
        "throws('did you mean \"big_integers\"?', p, '1', '', { bigintegers = 'float' })\n"
        "v, why = p(('1'):rep((16 << 20) + 1), '') eq(v, nil) assert(why:find '16 MiB', why)");
}

/* The bytes of a value, whatever it is; nothing else in the text is judged. */
static void test_peek_raw(void **state) {
    LUA_OK(
        *state,
        "local p, RAW = bh.json.peek, { raw = true }\n"
        "for value, what in pairs { ['1.50'] = 'number', ['-0'] = 'number', ['1e400'] = 'number',\n"
        "    ['18446744073709551615'] = 'number', ['\"a\\\\u0000\\\\ud83d\\\\/\"'] = 'string',\n"
        "    ['true'] = 'boolean', ['false'] = 'boolean', ['null'] = 'null',\n"
        "    ['[ 1,2 ]'] = 'array', ['{ }'] = 'object' } do\n"
        "  local text = '{\"v\": ' .. value .. ' ,\"n\":7}'\n"
        "  local raw, type = p(text, 'v', RAW) eq(raw, value) eq(type, what)\n"
        "  eq(p(text, 'n'), 7) eq(p(text, 'x', RAW), nil) end\n"
        "local deep = '{\"v\":' .. ('['):rep(4000) .. (']'):rep(4000) .. ',\"n\":7}'\n"
        "eq(p(deep, 'n'), 7) eq(#p(deep, 'v', RAW), 8000) eq(p(' 1 ', '', RAW), '1')\n"
        "eq(p('1', '', { raw = false }), 1)\n"
        "local v, why = p('{\"v\":01}', 'v', RAW) eq(v, nil) assert(why:find 'at byte', why)\n"
        "throws('unknown option \"raw\"', bh.json.decode, '1', RAW)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_encode),         SCRIPT_TEST(test_encode_refuses),
        SCRIPT_TEST(test_decode),         SCRIPT_TEST(test_decode_integers),
        SCRIPT_TEST(test_decode_strings), SCRIPT_TEST(test_decode_sizes),
        SCRIPT_TEST(test_decode_depth),   SCRIPT_TEST(test_decode_refuses),
        SCRIPT_TEST(test_peek),           SCRIPT_TEST(test_peek_raw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
