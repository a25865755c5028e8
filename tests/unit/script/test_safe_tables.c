/* test_safe_tables.c - the functions of `table` behave as Lua's own, in examples and for random
 * arguments, and stop when the limit is reached. */
#include "safe_test.h"

LUA_TEST(test_insert_and_remove,
         "local t = { 'a', 'b' }\n"
         "gives({}, table.insert(t, 'd')) table.insert(t, 3, 'c') table.insert(t, 1, '_')\n"
         "gives({ '_abcd' }, table.concat(t))\n"
         "gives({ 'd' }, table.remove(t)) gives({ '_' }, table.remove(t, 1))\n"
         "gives({ n = 1 }, table.remove(t, #t + 1)) gives({ 'abc' }, table.concat(t))\n"
         "gives({ n = 1 }, table.remove({})) gives({ n = 1 }, table.remove({}, 0))\n"
         "gives({ 'zero' }, table.remove({ [0] = 'zero' }))\n"
         "throws('position out of bounds', table.insert, t, 0, 1)\n"
         "throws('position out of bounds', table.insert, t, 5, 1)\n"
         "throws('position out of bounds', table.remove, t, 5)\n"
         "throws(\"wrong number of arguments to 'insert'\", table.insert, t)\n"
         "throws(\"wrong number of arguments to 'insert'\", table.insert, t, 1, 2, 3)\n"
         "throws(\"#1 to 'table.insert' (table expected, got number)\", table.insert, 1, 1)\n")

LUA_TEST(
    test_concat,
    "gives({ '1,2.5,x' }, table.concat({ 1, 2.5, 'x' }, ','))\n"
    "gives({ 'b-c' }, table.concat({ 'a', 'b', 'c', 'd' }, '-', 2, 3))\n"
    "gives({ '' }, table.concat({})) gives({ '' }, table.concat({ 1 }, ',', 2))\n"
    "gives({ 'x' }, table.concat({ [math.maxinteger] = 'x' }, ',', math.maxinteger,\n"
    "    math.maxinteger))\n"
    "throws(\"invalid value (nil) at index 1 in table for 'concat'\", table.concat, {}, '', 1, 2)\n"
    "throws(\"invalid value (table) at index 2 in table for 'concat'\", table.concat, { 1, {} })\n")

LUA_TEST(test_move,
         "local t = { 1, 2, 3, 4, 5 }\n"
         "assert(table.move(t, 1, 4, 2) == t) gives({ '1,1,2,3,4' }, table.concat(t, ','))\n"
         "table.move(t, 2, 5, 1) gives({ '1,2,3,4,4' }, table.concat(t, ','))\n"
         "local other = {} assert(table.move(t, 1, 2, 3, other) == other)\n"
         "gives({ n = 2, nil, nil }, other[1], other[2]) gives({ 1, 2 }, other[3], other[4])\n"
         "gives({ 7 }, table.move({ 7 }, 1, 0, 5, { 7 })[1])\n"
         "throws('too many elements to move', table.move, {}, -1, math.maxinteger, 2)\n"
         "throws('too many elements to move', table.move, {}, math.mininteger, 0, 2)\n"
         "throws('destination wrap around', table.move, {}, 1, math.maxinteger, 2)\n"
         "throws('table expected', table.move, {}, 1, 1, 1, 1)\n")

LUA_TEST(test_sort,
         "for _, n in ipairs { 0, 1, 2, 10, 1000, 2048, 2049, 5000 } do\n"
         "    local a, b, c = {}, {}, {}\n"
         "    for i = 1, n do a[i] = math.random(n // 2 + 1) b[i] = a[i] c[i] = a[i] end\n"
         "    table.sort(a)\n"
         "    table.sort(b, function(x, y) return x > y end)\n"
         "    table.sort(c, math.ult)\n"
         "    for i = 2, n do\n"
         "        assert(a[i - 1] <= a[i]) assert(b[i - 1] >= b[i]) assert(c[i - 1] <= c[i])\n"
         "    end\n"
         "end\n")

LUA_TEST(test_sort_errors,
         "throws('attempt to compare', table.sort, { 3, 'x', 1 })\n"
         "throws('#2 to', table.sort, { 1, 2 }, 5)\n"
         "throws('array too big', table.sort, setmetatable({}, { __len = function() return 1 << 40 "
         "end }))\n"
         "local many, mixed = {}, {}\n"
         "for i = 1, 3000 do many[i] = i mixed[i] = i % 2 == 0 and i or tostring(i) end\n"
         "throws('attempt to compare', table.sort, mixed)\n"
         "throws('#2 to', table.sort, many, 5)\n"
         "throws('stop it', table.sort, many, function() error('stop it') end)\n"
         "throws('invalid order function for sorting', table.sort, { 1, 2, 3, 4 },\n"
         "    function() return true end)\n"
         "local ones = {} for i = 1, 3000 do ones[i] = 1 end\n"
         "throws('invalid order function for sorting', table.sort, ones, rawequal)\n")

LUA_TEST(test_values_like_tables,
         "local log, held = {}, { 'a', 'b', 'c' }\n"
         "local t = setmetatable({}, {\n"
         "    __len = function() log[#log + 1] = '#' return #held end,\n"
         "    __index = function(_, k) log[#log + 1] = 'get ' .. k return held[k] end,\n"
         "    __newindex = function(_, k, v) log[#log + 1] = 'set ' .. k held[k] = v end,\n"
         "})\n"
         "local function did(expected)\n"
         "    gives({ expected }, stock.table.concat(log, ' ')) log = {}\n"
         "end\n"
         "table.insert(t, 2, 'x') did('# get 3 set 4 get 2 set 3 set 2')\n"
         "gives({ 'x' }, table.remove(t, 2)) did('# get 2 get 3 set 2 get 4 set 3 set 4')\n"
         "gives({ 'abc' }, table.concat(t)) did('# get 1 get 2 get 3')\n"
         "table.move(t, 1, 2, 2) did('get 2 set 3 get 1 set 2')\n"
         "table.sort(t) gives({ 'aab' }, stock.table.concat(held)) log = {}\n"
         "local m = getmetatable(t)\n"
         "debug.setmetatable(1, m) local n = 1\n"
         "table.insert(n, 'z') gives({ 'z' }, table.remove(n)) gives({ 'aab' }, table.concat(n))\n"
         "m.__newindex = nil throws('table expected', table.insert, n, 1)\n"
         "m.__len = nil throws('table expected', table.concat, n)\n"
         "debug.setmetatable(1, nil)\n")

/* --- by comparison --- */

static const char compare[] =
    "local random, pack, wrap = math.random, table.pack, setmetatable\n"
    "local far = { math.maxinteger, math.mininteger, math.maxinteger - 2, math.mininteger + 2 }\n"
    "local function place()\n"
    "    if random(15) == 1 then return pick { 1.5, '2', 'x', {}, false } end\n"
    "    if random(15) == 1 then return nil end\n"
    "    return random(-2, 8)\n"
    "end\n"
    "local function bound() return random(12) == 1 and pick(far) or place() end\n"
    "local values = { 'a', 'b', 1, 2.5, '', 'a' }\n"
    "local calls = {\n"
    "    { 'insert', function() return 'x' end },\n"
    "    { 'insert', function() return bound(), 'x' end },\n"
    "    { 'remove', function() end },\n"
    "    { 'remove', bound },\n"
    "    { 'concat', function() return pick { ',', '', 7 } end },\n"
    "    { 'concat', function() return ',', place(), place() end },\n"
    "    { 'move', function() return place(), place(), bound() end },\n"
    "    { 'sort', function() end },\n"
    "    { 'sort', function() return function(a, b) return tostring(a) < tostring(b) end end },\n"
    "}\n"
    "local function content(t)\n"
    "    local all = {}\n"
    "    for i = -3, 20 do all[#all + 1] = tostring(rawget(t, i)) end\n"
    "    for _, base in ipairs(far) do\n"
    "        for i = -2, 2 do all[#all + 1] = tostring(rawget(t, base + i)) end\n"
    "    end\n"
    "    return stock.table.concat(all, ' ')\n"
    "end\n"
    "local good = 0\n"
    "for _ = 1, 20000 do\n"
    "    local t, u, call = {}, {}, pick(calls)\n"
    "    for i = 1, random(0, 7) do t[i] = pick(values) u[i] = t[i] end\n"
    "    if random(4) == 1 then\n"
    "        local n = random(-1, 9)\n"
    "        local meta = { __len = function() return n end }\n"
    "        wrap(t, meta) wrap(u, meta)\n"
    "    end\n"
    "    local arguments = pack(call[2]())\n"
    "    local function by(library, on)\n"
    "        local name = call[1]\n"
    "        local r = pack(pcall(function()\n"
    "            return library[name](on, table.unpack(arguments, 1, arguments.n))\n"
    "        end))\n"
    "        for i = 1, r.n do if r[i] == on then r[i] = 'itself' end end\n"
    "        return r\n"
    "    end\n"
    "    local a, b = by(stock.table, t), by(table, u)\n"
    "    if a[1] then good = good + 1 end\n"
    "    if not same(a, b) or content(t) ~= content(u) then\n"
    "        error(('%s(%s):\\nLua: %s: %s\\nours: %s: %s'):format(call[1], texts(arguments),\n"
    "            texts(a), content(t), texts(b), content(u)), 0)\n"
    "    end\n"
    "end\n"
    "assert(good > 10000, good)\n";

static void test_same_as_luas_own(void **state) {
    run(*state, "math.randomseed(5)");
    run(*state, compare);
}

/* --- when time is up --- */

LUA_TEST(test_loops_are_stopped,
         "local long = setmetatable({}, { __len = function() return 1 << 60 end })\n"
         "stops(table.move, {}, 1, 1e12, 1)\n"
         "stops(table.move, {}, 1, 1e12, 2)\n"
         "stops(table.move, {}, 1, 1e12, 1, {})\n"
         "stops(table.insert, long, 1, 1)\n"
         "stops(table.remove, long, 1)\n"
         "stops(table.concat, setmetatable({}, { __index = rawlen }), '', 1, 1e12)\n"
         "local large = {} for i = 1, 300 do large[i] = stock.string.rep('a', 100000) end\n"
         "stops(table.concat, large)\n")

LUA_TEST(
    test_sorting_is_stopped,
    "local t = {} for i = 1, 20000 do t[i] = i * 7919 % 1000003 end\n"
    "stops(table.sort, t)\n"
    "stops(table.sort, t, math.ult)\n"
    "stops(table.sort, setmetatable({}, { __len = function() return 1 << 30 end }), rawequal)\n")

LUA_TEST(
    test_unpack_has_a_bound_of_its_own,
    "throws('too many results to unpack', table.unpack, {}, 1, 1e12)\n"
    "throws('too many results to unpack', table.unpack, {}, math.mininteger, math.maxinteger)\n")

int main(void) {
    const struct CMUnitTest tests[] = {
        SAFE_TEST(test_insert_and_remove),
        SAFE_TEST(test_concat),
        SAFE_TEST(test_move),
        SAFE_TEST(test_sort),
        SAFE_TEST(test_sort_errors),
        SAFE_TEST(test_values_like_tables),
        SAFE_TEST(test_same_as_luas_own),
        SAFE_TEST(test_loops_are_stopped),
        SAFE_TEST(test_sorting_is_stopped),
        SAFE_TEST(test_unpack_has_a_bound_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
