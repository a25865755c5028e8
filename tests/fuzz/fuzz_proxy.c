/* PROXY headers: every prefix gives "more" until the result, and every longer one the same result.
 */
#include "bellhop/base/error.h"
#include "bellhop/proto/proxy.h"
#include "fuzz.h"

#define EXACT_MAX 256 /* longer prefixes are not copied: that would take quadratic time */

static int decode(struct bh_slice in, struct bh_proxy *out) {
    const char *why = NULL;
    char *copy = in.n <= EXACT_MAX ? fuzz_exact(in) : NULL;
    int r = bh_proxy_decode(bh_slice(copy ? copy : in.p, in.n), out, &why);
    free(copy);
    CHECK(r >= 0 ? (size_t)r <= in.n && r <= BH_PROXY_MAX : r == BH_EPROTO && why && *why);
    return r;
}

static void check_found(const struct bh_proxy *found) {
    static const struct bh_proxy none = {0};
    CHECK(found->family == 0 || found->family == 4 || found->family == 6);
    if (found->family == 0)
        CHECK(memcmp(found->source, none.source, 16) == 0 && found->source_port == 0);
    if (found->family != 6)
        CHECK(memcmp(found->source + 4, none.source, 12) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bh_proxy found = {0}, first = {0};
    int before = 0;
    for (size_t n = 0; n <= size; n++) {
        memset(&found, 0, sizeof found);
        int r = decode(bh_slice(data, n), &found);
        if (before) {
            CHECK(r == before && memcmp(&found, &first, sizeof found) == 0);
            continue;
        }
        CHECK(r <= 0 || r == (int)n);
        before = r;
        first = found;
    }
    CHECK(before || size < BH_PROXY_MAX);
    check_found(&first);
    return 0;
}
