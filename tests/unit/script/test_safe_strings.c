/* test_safe_strings.c - find, match, gmatch, gsub and rep behave as Lua's own, in examples and for
 * many random patterns, and stop when the limit is reached. */
#include "safe_test.h"

#include <stdio.h>

#define SEEDS 4
#ifdef __SANITIZE_THREAD__ /* which makes it 20 times slower */
#define ROUNDS 400
#else
#define ROUNDS 8000 /* for each seed */
#endif

/* --- by examples --- */

LUA_TEST(test_find, "gives({ 3, 4 }, ('hello'):find('ll'))\n"
                    "gives({ 3, 4, 'l', 5 }, ('hello'):find('l(l)()'))\n"
                    "gives({ n = 1 }, ('hello'):find('x'))\n"
                    "gives({ 2, 2 }, ('a.b'):find('.', 2, true))\n"
                    "gives({ 1, 1 }, ('a.b'):find('.'))\n"
                    "gives({ 2, 3 }, ('ax)'):find('x)'))\n"
                    "gives({ 1, 0 }, (''):find(''))\n"
                    "gives({ 1, 2 }, string.find(12, 12))\n")

LUA_TEST(test_find_start, "gives({ 4, 4 }, ('abca'):find('a', 2))\n"
                          "gives({ 4, 4 }, ('abca'):find('a', -1))\n"
                          "gives({ 1, 1 }, ('abca'):find('a', -4))\n"
                          "gives({ 1, 1 }, ('abca'):find('a', -100))\n"
                          "gives({ 1, 1 }, ('abca'):find('a', 0))\n"
                          "gives({ 1, 1 }, ('abca'):find('a', math.mininteger))\n"
                          "gives({ 5, 4 }, ('abca'):find('', 5))\n"
                          "gives({ n = 1 }, ('abca'):find('', 6))\n"
                          "gives({ n = 1 }, ('abca'):find('a', math.maxinteger))\n"
                          "gives({ 2, 3 }, ('abc'):find('^bc', 2))\n"
                          "gives({ n = 1 }, ('abc'):find('^c', 2))\n"
                          "gives({ 2, 2 }, ('a1'):find('%f[%d]1', 2))\n")

LUA_TEST(test_match, "gives({ 'key', 'value' }, ('key = value'):match('^(%w+)%s*=%s*(%w+)$'))\n"
                     "gives({ 'ey' }, ('key'):match('ey'))\n"
                     "gives({ 1, 4 }, ('key'):match('()key()'))\n"
                     "gives({ '2024', '01' }, ('2024-01'):match('(%d+)-(%d+)'))\n"
                     "gives({ n = 1 }, ('key'):match('^e'))\n"
                     "gives({ '' }, ('key'):match('x*', 2))\n"
                     "throws('unfinished capture', string.match, 'a', '(a')\n")

LUA_TEST(
    test_arguments,
    "for name, n in pairs { find = 2, match = 2, gmatch = 2, gsub = 3 } do\n"
    "    throws('#1 to', string[name])\n"
    "    throws('#2 to', string[name], 'a')\n"
    "    throws('#2 to', string[name], 'a', {})\n"
    "    if n == 2 then throws('#3 to', string[name], 'a', 'b', 'x') end\n"
    "end\n"
    "throws(\"#1 to 'string.find' (string expected, got no value)\", string.find)\n"
    "throws('#3 to \\'string.gsub\\' (string/function/table expected, got nil)', string.gsub,\n"
    "    'a', 'a', nil)\n"
    "throws('#4 to', string.gsub, 'a', 'a', nil, 'x')\n")

LUA_TEST(test_gmatch,
         "local function all(...)\n"
         "    local found = {}\n"
         "    for a, b in string.gmatch(...) do found[#found + 1] = a .. (b or '') end\n"
         "    return stock.table.concat(found, '|')\n"
         "end\n"
         "gives({ 'one|two' }, all('one two', '%a+'))\n"
         "gives({ 'a1|b2' }, all('a=1, b=2', '(%w+)=(%w+)'))\n"
         "gives({ '1|2|3' }, all('ab', '()'))\n"
         "gives({ '|b||' }, all('abaa', '[^a]*'))\n"
         "gives({ '^a' }, all('a^a', '^a'))\n"
         "gives({ 'b|c' }, all('abc', '.', 2))\n"
         "gives({ 'c' }, all('abc', '.', -1))\n"
         "gives({ '' }, all('abc', '.', 4))\n"
         "gives({ '' }, all('abc', '.*', 5))\n"
         "gives({ 'a|bc' }, all('a,bc', '[^,]+'))\n"
         "local next_match = ('a'):gmatch('a')\n"
         "gives({ 'a' }, next_match()) gives({}, next_match()) gives({}, next_match())\n"
         "throws('unfinished capture', ('a'):gmatch('(a'))\n")

/* The iterator keeps what it needs, in any coroutine. */
LUA_TEST(test_gmatch_outlives_its_arguments,
         "local next_match = string.gmatch(('ab'):rep(100), '(' .. ('a'):rep(1) .. ')b')\n"
         "for _ = 1, 10 do collectgarbage() end\n"
         "for _ = 1, 50 do gives({ 'a' }, next_match()) end\n"
         "coroutine.wrap(function() for _ = 1, 49 do gives({ 'a' }, next_match()) end end)()\n"
         "collectgarbage()\n"
         "gives({ 'a' }, next_match()) gives({}, next_match())\n"
         "local maker = coroutine.create(function() return ('a'):gmatch('a[') end)\n"
         "local _, wrong = coroutine.resume(maker)\n"
         "coroutine.wrap(function() throws(\"missing ']'\", wrong) end)()\n"
         "gives({ 'dead' }, coroutine.status(maker))\n")

LUA_TEST(test_gsub_with_text, "gives({ 'hexxo', 2 }, ('hello'):gsub('l', 'x'))\n"
                              "gives({ 'hexlo', 1 }, ('hello'):gsub('l', 'x', 1))\n"
                              "gives({ 'hello', 0 }, ('hello'):gsub('l', 'x', 0))\n"
                              "gives({ 'hello', 0 }, ('hello'):gsub('l', 'x', -1))\n"
                              "gives({ '-a-b-', 3 }, ('ab'):gsub('', '-'))\n"
                              "gives({ '-b-', 2 }, ('ab'):gsub('a*', '-'))\n"
                              "gives({ 'b=a', 1 }, ('a=b'):gsub('(%w)=(%w)', '%2=%1'))\n"
                              "gives({ '<a><b>', 2 }, ('ab'):gsub('.', '<%0>'))\n"
                              "gives({ '<a><b>', 2 }, ('ab'):gsub('.', '<%1>'))\n"
                              "gives({ '1%2%', 2 }, ('ab'):gsub('().', '%1%%'))\n"
                              "gives({ 'xab', 1 }, ('aab'):gsub('^a', 'x'))\n"
                              "gives({ 'aab', 0 }, ('aab'):gsub('^b', 'x'))\n"
                              "gives({ '5b', 1 }, ('ab'):gsub('a', 5))\n"
                              "gives({ 'x', 1 }, ('a'):gsub('(a', 'x'))\n")

LUA_TEST(test_gsub_with_wrong_text,
         "throws('invalid capture index %2', string.gsub, 'a', 'a', '%2')\n"
         "throws('invalid capture index %2', string.gsub, 'a', '(a)', '%2')\n"
         "throws(\"invalid use of '%' in replacement string\", string.gsub, 'a', 'a', '%')\n"
         "throws(\"invalid use of '%' in replacement string\", string.gsub, 'a', 'a', '%x')\n"
         "throws('unfinished capture', string.gsub, 'a', '(a', '%1')\n"
         "gives({ 'b', 0 }, string.gsub('b', 'a', '%x'))\n")

LUA_TEST(
    test_gsub_with_values,
    "gives({ 'A1false', 3 }, ('ab' .. 'c'):gsub('.', { a = 'A', b = 1, c = 'false' }))\n"
    "gives({ 'ab', 2 }, ('ab'):gsub('.', { a = false }))\n"
    "gives({ 'bb', 1 }, ('ab'):gsub('(a)()', { a = 'b' }))\n"
    "gives({ 'xx', 2 }, ('ab'):gsub('.', setmetatable({}, { __index = function() return 'x' "
    "end })))\n"
    "gives({ 'b-a', 1 }, ('a=b'):gsub('(.)=(.)', function(a, b) return b .. '-' .. a end))\n"
    "gives({ 'ab', 2 }, ('ab'):gsub('.', function() end))\n"
    "gives({ '2.53', 2 }, ('ab'):gsub('()', function(n) return n == 1 and 2.5 or 3 end, 2)"
    ":gsub('[ab]', ''))\n"
    "throws('invalid replacement value (a table)', string.gsub, 'a', 'a', function() return {} "
    "end)\n"
    "throws('invalid replacement value (a boolean)', string.gsub, 'a', 'a', { a = true })\n"
    "throws('inside', string.gsub, 'a', 'a', function() error('inside') end)\n"
    "throws('unfinished capture', string.gsub, 'a', '(a', function() end)\n")

LUA_TEST(
    test_rep,
    "gives({ 'ababab' }, ('ab'):rep(3)) gives({ 'a,a' }, ('a'):rep(2, ','))\n"
    "gives({ '' }, ('a'):rep(0)) gives({ '' }, ('a'):rep(-1)) gives({ 'a' }, ('a'):rep(1, 'x'))\n"
    "gives({ '' }, (''):rep(math.maxinteger)) gives({ ',,' }, (''):rep(3, ','))\n"
    "for _, unit in ipairs { 1, 2, 3, 1000, 65535, 65536, 70001 } do\n"
    "    for _, n in ipairs { 1, 2, 3, 7, 70 } do\n"
    "        local s = stock.string.rep('abc', unit // 3 + 1):sub(1, unit)\n"
    "        assert(s:rep(n) == stock.string.rep(s, n))\n"
    "        assert(s:rep(n, 'x;') == stock.string.rep(s, n, 'x;'))\n"
    "    end\n"
    "end\n"
    "assert(('xy'):rep(100001, 'z') == stock.string.rep('xy', 100001, 'z'))\n"
    "throws('resulting string too large', string.rep, 'x', 1 << 31)\n"
    "throws('resulting string too large', string.rep, 'xy', math.maxinteger, 'z')\n"
    "throws('#2 to', string.rep, 'x') throws('#3 to', string.rep, 'x', 1, {})\n")

LUA_TEST(test_errors_name_the_place_in_the_script,
         "throws('test:1: malformed pattern', function() return ('a'):find('[') end)\n"
         "throws(\"test:2: bad argument #1 to 'find'\", function() return ('a'):find({}) end)\n")

/* Too long to be compiled onto the C stack. */
LUA_TEST(test_long_patterns,
         "local parts, subject = {}, {}\n"
         "for i = 1, 300 do parts[i] = '[a-c]%d+x?' subject[i] = 'b' .. i end\n"
         "local p, s = stock.table.concat(parts), stock.table.concat(subject)\n"
         "gives({ 3, #s + 2 }, ('--' .. s):find(p))\n"
         "gives({ s }, (s .. '!'):match('^(' .. p .. ')!$'))\n"
         "gives({ '<' .. s .. '>' .. '<' .. s .. '>', 2 }, (s .. s):gsub(p, '<%0>'))\n"
         "local n = 0 for m in (s .. ' ' .. s):gmatch(p) do n = n + 1 assert(m == s) end\n"
         "gives({ 2 }, n)\n")

/* --- by comparison --- */

static const char compare[] =
    "local random, pack = math.random, table.pack\n"
    "local own, ours = stock.string, string\n"
    "local bytes = { \"a\", \"a\", \"b\", \"b\", \"c\", \"-\", \"]\", \"^\", \"%\", \"(\", \")\", "
    "\"1\", \" \", \".\", \"\\0\", \"\\xff\", \"A\" }\n"
    "local plain = { \"a\", \"b\", \"c\", \"1\", \" \", \"\\0\", \"\\xff\", \"A\" }\n"
    "local classes = { \"%a\", \"%d\", \"%s\", \"%w\", \"%p\", \"%A\", \"%W\", \"%c\", \"%l\", "
    "\"%u\", \"%x\", \"%g\", \"%z\", \"%.\", \"%%\", \"%]\", \"%-\", \"%k\" }\n"
    "local in_set = { \"a\", \"b\", \"c\", \"a-c\", \"%a\", \"%W\", \"-\", \"^\", \"]\", \"%]\", "
    "\"b-%\", \"%%\", \"\\0\", \"[\", \"1-\\xff\", \"a-\" }\n"
    "local endings = { \"\", \"\", \"\", \"\", \"*\", \"+\", \"-\", \"?\" }\n"
    "\n"
    "local function set()\n"
    "    local parts = { \"[\", pick { \"\", \"\", \"^\" } }\n"
    "    for _ = 1, random(0, 3) do parts[#parts + 1] = pick(in_set) end\n"
    "    return stock.table.concat(parts) .. (random(40) == 1 and \"\" or \"]\")\n"
    "end\n"
    "\n"
    "local open\n"
    "local function piece()\n"
    "    local kind = random(24)\n"
    "    if kind <= 8 then return pick(plain) .. pick(endings) end\n"
    "    if kind <= 10 then return \".\" .. pick(endings) end\n"
    "    if kind <= 12 then return pick(classes) .. pick(endings) end\n"
    "    if kind <= 15 then return set() .. pick(endings) end\n"
    "    if kind == 16 then return \"%b\" .. pick { \"ab\", \"()\", \"aa\", \"a\", \"\" , "
    "\"b\\0\"} end\n"
    "    if kind == 17 then return \"%f\" .. (random(20) == 1 and \"a\" or set()) end\n"
    "    if kind == 18 then return \"%\" .. random(0, 3) end\n"
    "    if kind == 19 then return \"()\" end\n"
    "    if kind == 20 then return pick { \"$\", \"^\", \"%\", \")\", \"]\", \"$*\", \"(\" } end\n"
    "    if open > 0 and random(2) == 1 then open = open - 1 return \")\" end\n"
    "    open = open + 1\n"
    "    return \"(\"\n"
    "end\n"
    "\n"
    "local function pattern()\n"
    "    local parts = { random(5) == 1 and \"^\" or \"\" }\n"
    "    open = 0\n"
    "    for _ = 1, random(1, 7) do parts[#parts + 1] = piece() end\n"
    "    if random(30) > 1 then parts[#parts + 1] = (\")\"):rep(open) end\n"
    "    parts[#parts + 1] = random(6) == 1 and \"$\" or \"\"\n"
    "    return stock.table.concat(parts)\n"
    "end\n"
    "\n"
    "local function subject()\n"
    "    local parts = {}\n"
    "    for i = 1, random(0, 14) do parts[i] = random(3) > 1 and pick { \"a\", \"b\" } or "
    "pick(bytes) end\n"
    "    return stock.table.concat(parts)\n"
    "end\n"
    "\n"
    "local function all_matches(library, ...)\n"
    "    local found = {}\n"
    "    for a, b, c in library.gmatch(...) do\n"
    "        found[#found + 1] = tostring(a) .. \"|\" .. tostring(b) .. \"|\" .. tostring(c)\n"
    "        assert(#found < 100)\n"
    "    end\n"
    "    return stock.table.concat(found, \"\\n\")\n"
    "end\n"
    "\n"
    "local replacements = {\n"
    "    function() return pick { \"\", \"x\", \"%0\", \"<%1>\", \"%2%1\", \"%%\", \"%\", \"%x\", "
    "\"%9\", 7, \"a%3b\" } end,\n"
    "    function() return function(a, b) return b or a end end,\n"
    "    function() return function(a) return a == \"a\" and {} or a ~= \"b\" and \"y\" end end,\n"
    "    function() return { a = \"A\", b = false, [1] = 2, [3] = \"three\", ab = {} } end,\n"
    "}\n"
    "\n"
    "local functions = {\n"
    "    function(l, s, p, init, plain_find) return l.find(s, p, init, plain_find) end,\n"
    "    function(l, s, p, init) return l.match(s, p, init) end,\n"
    "    all_matches,\n"
    "    function(l, s, p, _, _, repl, max) return l.gsub(s, p, repl, max) end,\n"
    "}\n"
    "\n"
    "local matched = 0\n"
    "for _ = 1, rounds do\n"
    "    local s, p = subject(), pattern()\n"
    "    local init, plain_find, max = nil, random(20) == 1, random(8) == 1 and random(-1, 3) or "
    "nil\n"
    "    if random(4) == 1 then init = random(-17, 17) end\n"
    "    local repl = pick(replacements)()\n"
    "    for number, f in ipairs(functions) do\n"
    "        local a = pack(pcall(f, own, s, p, init, plain_find, repl, max))\n"
    "        local b = pack(pcall(f, ours, s, p, init, plain_find, repl, max))\n"
    "        if not same(a, b) then\n"
    "            error((\"function %d of %q, pattern %q, init %s, replacement %s:\\nLua: "
    "%s\\nours: %s\"):format(number,\n"
    "                s, p, tostring(init), tostring(repl), texts(a), texts(b)), 0)\n"
    "        end\n"
    "        if not a[1] then\n"
    "            errors[own.gsub(a[2], \"^.-: \", \"\")] = true\n"
    "        elseif a[2] and a[2] ~= \"\" then\n"
    "            matched = matched + 1\n"
    "        end\n"
    "    end\n"
    "end\n"
    "assert(matched > rounds, \"too few of them match to tell anything\")\n";

static const char check_errors[] =
    "for _, message in ipairs { \"invalid capture index %1\", \"invalid capture index %0\", "
    "\"invalid pattern capture\",\n"
    "    \"unfinished capture\", \"malformed pattern (ends with '%')\", \"malformed pattern "
    "(missing ']')\",\n"
    "    \"malformed pattern (missing arguments to '%b')\", \"missing '[' after '%f' in "
    "pattern\",\n"
    "    \"invalid use of '%' in replacement string\", \"invalid replacement value (a table)\" } "
    "do\n"
    "    assert(errors[message], message)\n"
    "end\n";

static void test_same_as_luas_own(void **state) {
    run(*state, "errors = {}");
    for (int seed = 1; seed <= SEEDS; seed++) {
        char settings[64];
        snprintf(settings, sizeof settings, "math.randomseed(%d) rounds = %d", seed, ROUNDS);
        run(*state, settings);
        run(*state, compare);
    }
    run(*state, check_errors);
}

/* --- when time is up --- */

/* Many ways to match. */
LUA_TEST(test_patterns_are_stopped,
         "local a = stock.string.rep('a', 50000)\n"
         "for _, p in ipairs { '.-', 'a-', 'a*', 'a?', '[ab]*', '[ab]-', '(.-)' } do\n"
         "    stops(a.find, a, stock.string.rep(p, 20) .. 'b')\n"
         "    stops(a.match, a, stock.string.rep(p, 20) .. '[bc]')\n"
         "    stops(a.gsub, a, stock.string.rep(p, 20) .. '%f[b]', '')\n"
         "    stops(a:gmatch(stock.string.rep(p, 20) .. '%d'))\n"
         "end\n"
         "stops(a.find, a, '(.*)%1b')\n"
         "stops(a.find, a, '(.-)(.-)%1%2b')\n"
         "stops(a.find, a, 'a*$b')\n"
         "stops(a.find, stock.string.rep('a', 10000), '[ab]-c')\n"
         "stops(a.find, stock.string.rep(stock.string.rep('a', 10000) .. 'b', 1000), '[bx]c')\n"
         "stops(a.find, stock.string.rep('(', 5000), '%b()')\n"
         "stops(a.find, a, stock.string.rep('.', 25000) .. 'b')\n"
         "stops(a.find, stock.string.rep('a', 200000), stock.string.rep('a', 100000) .. 'b%d')\n"
         "stops(a.find, a, stock.string.rep('%.', 1000000))\n")

/* One long way: the loop itself must stop. */
LUA_TEST(test_long_subjects_are_stopped,
         "local long = stock.string.rep('a', 20000000)\n"
         "for _, p in ipairs { '[bc]%d', '^a*$', '^[ab]*$', '^[ab]-$', '^[ab]-c', '^%bab', '.-c',\n"
         "    '.*c' } do\n"
         "    stops(long.find, long, p)\n"
         "end\n"
         "stops(long.find, stock.string.rep(long, 4), 'ab', 1, true)\n")

LUA_TEST(test_gsub_is_stopped,
         "local a, few = stock.string.rep('a', 1000000), stock.string.rep('a', 1000)\n"
         "stops(a.gsub, a, '', '')\n"
         "stops(a.gsub, 'a', '(x?)', stock.string.rep('%1', 500000))\n"
         "stops(a.gsub, few, 'a', { a = false })\n"
         "stops(a.gsub, few, 'a', math.type)\n"
         "stops(a.rep, stock.string.rep('a', 100000), 1000)\n"
         "stops(a.rep, 'a', 100000000)\n")

int main(void) {
    const struct CMUnitTest tests[] = {
        SAFE_TEST(test_find),
        SAFE_TEST(test_find_start),
        SAFE_TEST(test_match),
        SAFE_TEST(test_arguments),
        SAFE_TEST(test_gmatch),
        SAFE_TEST(test_gmatch_outlives_its_arguments),
        SAFE_TEST(test_gsub_with_text),
        SAFE_TEST(test_gsub_with_wrong_text),
        SAFE_TEST(test_gsub_with_values),
        SAFE_TEST(test_rep),
        SAFE_TEST(test_errors_name_the_place_in_the_script),
        SAFE_TEST(test_long_patterns),
        SAFE_TEST(test_same_as_luas_own),
        SAFE_TEST(test_patterns_are_stopped),
        SAFE_TEST(test_long_subjects_are_stopped),
        SAFE_TEST(test_gsub_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
