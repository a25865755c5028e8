/* Tokens: raw, made here from any header and claims and signed, or with any signature; and PEM
 * texts. Keys are fixed, so that a saved input keeps its meaning; their private halves are not
 * kept. */
#include "bellhop/base/crypto.h"
#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/jwt.h"
#include "fuzz.h"

#define EVERY_ALG 0x1ff
/* Long enough for HS512. */
#define SECRET  "the secret of the fuzz target, as long as the hash of HS512: 64 bytes"
#define HS_ALGS (BH_JWT_HS256 | BH_JWT_HS384 | BH_JWT_HS512)

enum mode { AS_IT_COMES, SIGNED, WITH_SIGNATURE, PEM };

static const char *const pems[] = {
    "-----BEGIN PUBLIC KEY-----\n"
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAmNFSh+xO4s0vHXH3Pin1\n"
    "7MFNl8G9BuYXYUJ6wt4MMyx30cdHX9d+6Q2f4I4dpkrB/CG5Ewo0DU/OOzn5+JXu\n"
    "lViXzufoUPbPjkyhPqQhvj4xHzCLcvblT1OOpq8SLAd5b9lbc6GluUvLZ90r1gDF\n"
    "1GLLvfaCQRPHIKrs8T9sxeSJinjLZgq568DhhdX7lb1AqcuPklWbmXHiKB68otCs\n"
    "ten+9xdPQbS7g6vubihqCVjFOYKIaL2mJP97U9/w8/qKXhE5zXcqTKpYTQgt3P4E\n"
    "SOno5sBg2996NzD0dAmhG3ulpRIAHk3G46XxfeYwY9On97rR3hd6vaYEcKKCfexa\n"
    "5QIDAQAB\n"
    "-----END PUBLIC KEY-----\n",
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEnco1uQibredT2TLxf6I1hgjnCbpF\n"
    "NbXyLWoKJnm6ZfLOQQnaZ4EdX2r+cocitqLZYNfGWcXvc7/LWc9vkkqDlQ==\n"
    "-----END PUBLIC KEY-----\n",
    "-----BEGIN PUBLIC KEY-----\n"
    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEt1zbXnVBqm1E5ogA5FIk2WcR/WQ82ZVc\n"
    "F8/jDkY0sYLoIwE/uxvDu9yg5tK5eJ6Z7i6AN+zY/STm9FZ8RrOokQMKzWLvF4CK\n"
    "tFNp7vc8oMScTvUaXBoV/pEHX0lJ/jGH\n"
    "-----END PUBLIC KEY-----\n",
    "-----BEGIN PUBLIC KEY-----\n"
    "MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQBI3UiLl3Rp6au2ZbYYmG8//4UGsHC\n"
    "fgeNCrpzKl9ySA3CARuKM/z7Haj0lWPsxM63kud9Z6uJm4NPor+oEnyVM5IAuaG7\n"
    "D1CN1bFyJOADLGziplVwbmtWhfbzpebIv6eyCv+4MENEsbdKGdsKk6nFiBd5g4I5\n"
    "FrrwH7fk3ozI0kVfJGY=\n"
    "-----END PUBLIC KEY-----\n",
};

struct plan {
    enum mode mode;
    size_t key; /* of the list below; 0: the secret */
    struct bh_jwt_rules rules;
};

static const struct bh_jwt_key *key_of(size_t index) {
    static struct bh_jwt_key *keys[1 + COUNT(pems)];
    if (!keys[0])
        keys[0] = bh_jwt_key_secret(BH_SLICE(SECRET));
    if (!keys[index])
        CHECK(bh_jwt_key_pem(bh_slice_cstr(pems[index - 1]), &keys[index], NULL) == 0);
    return keys[index];
}

static struct plan make_plan(struct bh_slice *in) {
    uint8_t how = fuzz_byte(in), wishes = fuzz_byte(in);
    size_t key = (how >> 2) % (1 + COUNT(pems));
    return (struct plan){
        .mode = (enum mode)(how & 3),
        .key = key,
        .rules = {.algs = wishes & 1 ? EVERY_ALG : BH_JWT_HS256 | BH_JWT_RS256 | BH_JWT_ES256,
                  .key = key_of(key),
                  .issuer = wishes & 2 ? "issuer" : NULL,
                  .audience = wishes & 4 ? "audience" : NULL,
                  .require_exp = wishes & 8,
                  .leeway_ms = wishes & 16 ? 60000 : 0,
                  .now_ms = 1700000000000},
    };
}

static void add_base64url(struct bh_bytes *out, struct bh_slice data) {
    bh_bytes_reserve(out, bh_base64_len(data.n) + 1);
    out->len += bh_base64url_encode(data, out->p + out->len);
}

static bool text_is(struct bh_json_value object, struct bh_slice name, const char *wanted) {
    struct bh_json_value value;
    struct bh_bytes text = {0};
    if (bh_json_member(object, name, &value))
        bh_json_string(value, &text);
    bool same = bh_slice_eq(bh_bytes_slice(&text), bh_slice_cstr(wanted));
    bh_bytes_free(&text);
    return same;
}

/* A time in milliseconds, of a member that may be missing. */
static double time_of(struct bh_json_value object, struct bh_slice name, double missing) {
    struct bh_json_value value;
    if (!bh_json_member(object, name, &value))
        return missing;
    CHECK(value.type == BH_JSON_NUMBER);
    char *text = strndup(value.raw.p, value.raw.n);
    double number = strtod(text, NULL);
    free(text);
    return number * 1000;
}

static void check_claims(struct bh_json_value claims, const struct bh_jwt_rules *rules) {
    double now = (double)rules->now_ms, leeway = (double)rules->leeway_ms;
    double exp = time_of(claims, BH_SLICE("exp"), rules->require_exp ? 0 : now);
    CHECK(exp + leeway >= now && exp < 1e15);
    CHECK(time_of(claims, BH_SLICE("nbf"), now) - leeway < now + 1);
    CHECK(time_of(claims, BH_SLICE("iat"), now) - leeway < now + 1);
    CHECK(!rules->issuer || text_is(claims, BH_SLICE("iss"), rules->issuer));
}

/* True with *claims when the rules accept it. */
static bool verify(struct bh_slice token, const struct bh_jwt_rules *rules,
                   struct bh_bytes *claims) {
    const char *why = NULL;
    char *copy = fuzz_exact(token);
    int r = bh_jwt_verify(bh_slice(copy, token.n), rules, claims, &why);
    free(copy);
    if (r) {
        CHECK(r == BH_EPROTO || r == BH_EDENIED || r == BH_ETIMEDOUT);
        CHECK(why && *why && claims->len == 0);
        return false;
    }
    struct bh_slice text = bh_bytes_slice(claims);
    CHECK(bh_json_check(text, NULL) == 0 && bh_json_root(text).type == BH_JSON_OBJECT);
    check_claims(bh_json_root(text), rules);
    return true;
}

/* "HEADER\nCLAIMS", and with a signature given "HEADER\nSIGNATURE\nCLAIMS" (in base64url). */
static struct bh_slice make_token(struct bh_slice in, bool with_signature, struct bh_bytes *token) {
    struct bh_slice rest = in, header = {0}, signature = {0};
    bh_slice_split(&rest, '\n', &header);
    if (with_signature)
        bh_slice_split(&rest, '\n', &signature);
    add_base64url(token, header);
    bh_bytes_addc(token, '.');
    add_base64url(token, rest);
    if (!with_signature) {
        unsigned char mac[BH_DIGEST_MAX];
        bool wide = memmem(header.p, header.n, "HS512", 5) != NULL;
        int n = bh_hmac(wide ? "sha512" : "sha256", BH_SLICE(SECRET), bh_bytes_slice(token), mac);
        CHECK(n > 0);
        bh_bytes_addc(token, '.');
        add_base64url(token, bh_slice(mac, (size_t)n));
    } else {
        bh_bytes_addc(token, '.');
        bh_bytes_add(token, signature);
    }
    return rest;
}

/* What was signed with the secret must say so: an HMAC is no RSA signature. */
static bool names_hmac(struct bh_slice in) {
    struct bh_slice header;
    bh_slice_split(&in, '\n', &header);
    struct bh_json_value object = bh_json_root(header);
    return text_is(object, BH_SLICE("alg"), "HS256") || text_is(object, BH_SLICE("alg"), "HS512");
}

static void verify_made(struct bh_slice in, const struct plan *plan, struct bh_bytes *claims) {
    struct bh_bytes token = {0};
    bool with_signature = plan->mode == WITH_SIGNATURE;
    struct bh_slice payload = make_token(in, with_signature, &token);
    if (verify(bh_bytes_slice(&token), &plan->rules, claims)) {
        CHECK(with_signature || (plan->key == 0 && names_hmac(in)));
        CHECK(bh_slice_eq(bh_bytes_slice(claims), payload));
    }
    bh_bytes_free(&token);
}

/* Claims that can be signed come back unchanged from the token. */
static void sign(struct bh_slice claims, const struct plan *plan) {
    struct bh_jwt_rules rules = {.algs = HS_ALGS, .key = key_of(0), .now_ms = plan->rules.now_ms};
    struct bh_bytes token = {0}, back = {0};
    if (bh_jwt_sign(BH_JWT_HS256, key_of(0), claims, &token) == 0) {
        if (verify(bh_bytes_slice(&token), &rules, &back))
            CHECK(bh_slice_eq(bh_bytes_slice(&back), claims));
    } else {
        CHECK(token.len == 0);
    }
    bh_bytes_free(&token);
    bh_bytes_free(&back);
}

static void read_pem(struct bh_slice in) {
    struct bh_jwt_key *key = NULL;
    const char *why = NULL;
    if (bh_jwt_key_pem(in, &key, &why))
        CHECK(!key && why && *why);
    else
        CHECK(key);
    bh_jwt_key_free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size);
    struct plan plan = make_plan(&in);
    struct bh_bytes claims = {0};
    if (plan.mode == PEM)
        read_pem(in);
    else if (plan.mode == AS_IT_COMES)
        verify(in, &plan.rules, &claims);
    else
        verify_made(in, &plan, &claims);
    sign(in, &plan);
    bh_bytes_free(&claims);
    return 0;
}
