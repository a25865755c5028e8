/* Key sets, and choosing among their keys: a token, a line feed, the text of a set. */
#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/jwks.h"
#include "fuzz.h"

static void verify(struct bh_slice token, const struct bh_jwks *set) {
    struct bh_jwt_rules rules = {.algs = ~0u, .keys = set, .now_ms = 1700000000000};
    struct bh_bytes claims = {0};
    const char *why = NULL;
    char *copy = fuzz_exact(token);
    int r = bh_jwt_verify(bh_slice(copy, token.n), &rules, &claims, &why);
    free(copy);
    if (r)
        CHECK(why && *why && claims.len == 0);
    else
        CHECK(bh_jwks_count(set) > 0 && bh_json_check(bh_bytes_slice(&claims), NULL) == 0);
    bh_bytes_free(&claims);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_slice in = bh_slice(data, size), token = {0};
    struct bh_jwks *set = NULL;
    const char *why = NULL;
    bh_slice_split(&in, '\n', &token);
    char *copy = fuzz_exact(in);
    int r = bh_jwks_parse(bh_slice(copy, in.n), &set, &why);
    free(copy);
    if (r) {
        CHECK(r == BH_EINVAL && !set && why && *why);
        return 0;
    }
    size_t skipped = bh_jwks_skipped(set, &why);
    CHECK(bh_json_check(in, NULL) == 0);
    CHECK((skipped > 0) == (why != NULL));
    CHECK(bh_jwks_count(set) + skipped <= BH_JWKS_KEYS_MAX);
    verify(token, set);
    bh_jwks_free(set);
    return 0;
}
