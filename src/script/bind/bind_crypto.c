/* bind_crypto.c - bh.crypto: digests, encodings, random bytes. Digests are raw bytes. */
#include "bind/bind.h"
#include "lua/args.h"
#include "lua/class.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"

#define RANDOM_MAX 65536

static int push_digest(lua_State *L, int n, const unsigned char *digest) {
    if (n < 0)
        return luaL_argerror(L, 1,
                             "unknown digest; use md5, sha1, sha224, sha256, sha384 or sha512");
    lua_pushlstring(L, (const char *)digest, (size_t)n);
    return 1;
}

static int crypto_hash(lua_State *L) {
    unsigned char digest[BH_DIGEST_MAX];
    const char *name = luaL_checkstring(L, 1);
    return push_digest(L, bh_digest(name, bh_check_slice(L, 2), digest), digest);
}

static int crypto_hmac(lua_State *L) {
    unsigned char digest[BH_DIGEST_MAX];
    const char *name = luaL_checkstring(L, 1);
    struct bh_slice key = bh_check_slice(L, 2), data = bh_check_slice(L, 3);
    return push_digest(L, bh_hmac(name, key, data, digest), digest);
}

static int crypto_base64(lua_State *L) {
    struct bh_slice data = bh_check_slice(L, 1);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, bh_base64_len(data.n) + 1);
    luaL_pushresultsize(&b, bh_base64_encode(data, out));
    return 1;
}

static int crypto_base64url(lua_State *L) {
    struct bh_slice data = bh_check_slice(L, 1);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, bh_base64_len(data.n) + 1);
    luaL_pushresultsize(&b, bh_base64url_encode(data, out));
    return 1;
}

static int decode(lua_State *L, int (*decoder)(struct bh_slice, unsigned char *), const char *why) {
    struct bh_slice text = bh_check_slice(L, 1);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, 3 * (text.n + 3) / 4 + 1);
    int n = decoder(text, (unsigned char *)out);
    if (n < 0)
        return bh_push_error(L, why);
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static int crypto_unbase64(lua_State *L) {
    return decode(L, bh_base64_decode, "not valid base64");
}

static int crypto_unbase64url(lua_State *L) {
    return decode(L, bh_base64url_decode, "not valid base64url (without padding)");
}

static int crypto_hex(lua_State *L) {
    struct bh_slice data = bh_check_slice(L, 1);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, 2 * data.n + 1);
    bh_hex_encode(data, out);
    luaL_pushresultsize(&b, 2 * data.n);
    return 1;
}

static int nibble(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int crypto_unhex(lua_State *L) {
    struct bh_slice text = bh_check_slice(L, 1);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, text.n / 2 + 1);
    if (text.n % 2)
        return bh_push_error(L, "not valid hex: an odd number of digits");
    for (size_t i = 0; i < text.n / 2; i++) {
        int high = nibble(text.p[2 * i]), low = nibble(text.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return bh_push_error(L, "not valid hex");
        out[i] = (char)(high << 4 | low);
    }
    luaL_pushresultsize(&b, text.n / 2);
    return 1;
}

static int crypto_random(lua_State *L) {
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_Buffer b;
    luaL_argcheck(L, n >= 0 && n <= RANDOM_MAX, 1, "0 to 65536 bytes");
    char *out = luaL_buffinitsize(L, &b, (size_t)n + 1);
    bh_random(out, (size_t)n);
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static int crypto_equal(lua_State *L) {
    lua_pushboolean(L, bh_equal_ct(bh_check_slice(L, 1), bh_check_slice(L, 2)));
    return 1;
}

static const luaL_Reg functions[] = {
    {"hash", crypto_hash},
    {"hmac", crypto_hmac},
    {"base64", crypto_base64},
    {"unbase64", crypto_unbase64},
    {"base64url", crypto_base64url},
    {"unbase64url", crypto_unbase64url},
    {"hex", crypto_hex},
    {"unhex", crypto_unhex},
    {"random", crypto_random},
    {"equal", crypto_equal},
    {NULL, NULL},
};

void bh_bind_crypto(lua_State *L) {
    bh_set_module(L, "crypto", functions);
}
