/* test_bind_crypto.c - bh.crypto and bh.jwt. */
#include "script_cmocka.h"

static void test_crypto(void **state) {
    LUA_OK(
        *state,
        "local c = bh.crypto\n"
        "eq(c.hex(c.hash('sha256', 'abc')),\n"
        "  'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')\n"
        "eq(c.hex(c.hmac('sha256', 'Jefe', 'what do ya want for nothing?')),\n"
        "  '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')\n"
        "eq(c.base64('ab'), 'YWI=') eq(c.unbase64('YWI='), 'ab') eq(c.base64url('\\xff\\xff'), "
        "'__8')\n"
        "eq(c.unbase64url('__8'), '\\xff\\xff') eq(c.base64(''), '') eq(c.unbase64(''), '')\n"
        "eq(c.unhex('00fF'), '\\0\\xff') eq(c.hex(''), '')\n"
        "eq(c.unhex('0'), nil) eq(c.unhex('zz'), nil) eq(c.unbase64('YWI'), nil)\n"
        "eq(c.unbase64url('YWI='), nil) eq(select(2, c.unbase64('?')), 'not valid base64')\n"
        "eq(#c.random(32), 32) assert(c.random(16) ~= c.random(16)) eq(c.random(0), '')\n"
        "eq(c.equal('a', 'a'), true) eq(c.equal('a', 'b'), false) eq(c.equal('a', 'aa'), false)\n"
        "throws('unknown digest', c.hash, 'crc32', '') throws('65536', c.random, -1)");
}

static void test_jwt_round_trip(void **state) {
    LUA_OK(
        *state,
        "local key = ('k'):rep(64)\n"
        "local now = 1700000000\n"
        "local t = bh.jwt.sign({ sub = 'u1', exp = now + 60, iss = 'me', aud = { 'x', 'us' } },\n"
        "  { alg = 'HS256', key = key })\n"
        "local o = { alg = { 'HS256', 'HS512' }, key = key, issuer = 'me', audience = 'us' }\n"
        "local claims = assert(bh.jwt.verify(t, o)) eq(claims.sub, 'u1') eq(claims.exp, now + 60)\n"
        "for name, bad in pairs { issuer = 'you', audience = 'them', key = ('x'):rep(64) } do\n"
        "  local good = o[name] o[name] = bad\n"
        "  local c, why = bh.jwt.verify(t, o) eq(c, nil) assert(type(why) == 'string')\n"
        "  o[name] = good end\n"
        "eq(bh.jwt.verify(t, { alg = 'HS512', key = key }), nil)\n"
        "local old = bh.jwt.sign({ exp = now - 10 }, { alg = 'HS256', key = key })\n"
        "eq(bh.jwt.verify(old, { alg = 'HS256', key = key }), nil)\n"
        "assert(bh.jwt.verify(old, { alg = 'HS256', key = key, leeway = 11 }))\n"
        "local ever = bh.jwt.sign({ sub = 1 }, { alg = 'HS256', key = key })\n"
        "assert(bh.jwt.verify(ever, { alg = 'HS256', key = key }))\n"
        "eq(bh.jwt.verify(ever, { alg = 'HS256', key = key, require_exp = true }), nil)\n"
        "for _, junk in ipairs { '', 'a.b.c', '...', t .. 'x', ('x'):rep(20000) } do\n"
        "  eq(bh.jwt.verify(junk, { alg = 'HS256', key = key }), nil) end");
}

static void test_jwt_none_is_never_accepted(void **state) {
    LUA_OK(*state, "local head = bh.crypto.base64url('{\"alg\":\"none\"}')\n"
                   "local t = head .. '.' .. bh.crypto.base64url('{\"sub\":\"u1\"}') .. '.'\n"
                   "eq(bh.jwt.verify(t, { alg = 'HS256', key = ('k'):rep(32) }), nil)\n"
                   "throws('unknown algorithm', bh.jwt.verify, t, { alg = 'none', key = 'k' })");
}

static void test_jwt_misuse(void **state) {
    LUA_OK(*state, "local v = bh.jwt.verify\n"
                   "throws('option alg is missing', v, 't', { key = 'k' })\n"
                   "throws('option key is missing', v, 't', { alg = 'HS256' })\n"
                   "throws('did you mean \"alg\"', v, 't', { algs = 'HS256', key = 'k' })\n"
                   "throws('empty list', v, 't', { alg = {}, key = 'k' })\n"
                   "throws('mixes HS*', v, 't', { alg = { 'HS256', 'RS256' }, key = 'k' })\n"
                   "throws('option key', v, 't', { alg = 'RS256', key = 'no pem' })\n"
                   "throws('leeway', v, 't', { alg = 'HS256', key = 'k', leeway = -1 })\n"
                   "throws('issuer', v, 't', { alg = 'HS256', key = 'k', issuer = 1 })\n"
                   "throws('table expected', v, 't') throws('string expected', v, nil, {})\n"
                   "throws('HS256', bh.jwt.sign, {}, { alg = 'RS256', key = 'k' })\n"
                   "eq(bh.jwt.sign({ f = 0/0 }, { alg = 'HS256', key = ('k'):rep(32) }), nil)");
}

/* A secret that is too short is a mistake of the script, not of the token: it throws. */
static void test_jwt_short_secrets(void **state) {
    LUA_OK(*state,
           "local v, s = bh.jwt.verify, bh.jwt.sign\n"
           "for alg, least in pairs { HS256 = 32, HS384 = 48, HS512 = 64 } do\n"
           "  local short, long = { alg = alg, key = ('k'):rep(least - 1) }, { alg = alg, key = "
           "('k'):rep(least) }\n"
           "  local why = ('option key: the secret has %d bytes; %s needs at least %d')\n"
           "    :format(least - 1, alg, least)\n"
           "  throws(why, v, 't', short) throws(why, s, {}, short)\n"
           "  throws(why, v, 't', short)\n"
           "  eq(v(s({ sub = 'u1' }, long), long).sub, 'u1') end\n"
           "throws('HS512 needs at least 64', v, 't', { alg = { 'HS512', 'HS256' }, key = "
           "('k'):rep(40) })");
}

static void test_jwt_times(void **state) {
    LUA_OK(*state, "local key = ('k'):rep(32)\n"
                   "local function try(claims, leeway)\n"
                   "  local t = bh.jwt.sign(claims, { alg = 'HS256', key = key })\n"
                   "  return bh.jwt.verify(t, { alg = 'HS256', key = key, leeway = leeway }) end\n"
                   "local now = 1700000000\n"
                   "eq(try({ iat = now + 0.25 }), nil) assert(try({ iat = now + 0.25 }, 0.25))\n"
                   "assert(try({ nbf = now + 0.5 }, 0.5)) eq(try({ nbf = now + 0.75 }, 0.5), nil)\n"
                   "local claims, why = try { exp = (now + 60) * 1000 }\n"
                   "eq(claims, nil) assert(why:find('milliseconds', 1, true))");
}

static void test_jwt_key_cache(void **state) {
    LUA_OK(*state, "for i = 1, 1000 do local o = { alg = 'HS256', key = ('k'):rep(32) .. i }\n"
                   "  eq(bh.jwt.verify(bh.jwt.sign({ n = i }, o), o).n, i) end");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_crypto),
        SCRIPT_TEST(test_jwt_round_trip),
        SCRIPT_TEST(test_jwt_none_is_never_accepted),
        SCRIPT_TEST(test_jwt_misuse),
        SCRIPT_TEST(test_jwt_short_secrets),
        SCRIPT_TEST(test_jwt_times),
        SCRIPT_TEST(test_jwt_key_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
