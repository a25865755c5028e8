/* jwt_json.c - the parts of tokens and key sets: JSON objects, strings and base64url.
 *
 * Every text passes the strict scanner, and an object with two members of one name is rejected, so
 * every later reader sees the value that was checked here. Stateless; any thread. */
#include "jwt_key.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/map.h"
#include "bellhop/base/mem.h"

#include <stdlib.h>

static int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Compares keyed hashes of the names, so a hostile header costs n log n. */
bool bh_jwt_distinct(struct bh_json_value object) {
    uint64_t *hashes = bh_malloc((object.raw.n / 5 + 1) * sizeof *hashes); /* {"":0} */
    struct bh_bytes name = {0};
    struct bh_json_value key, value;
    size_t n = 0;
    for (size_t cursor = 0; bh_json_next(object, &cursor, &key, &value); n++) {
        bh_bytes_clear(&name);
        bh_json_string(key, &name);
        hashes[n] = bh_hash(bh_bytes_slice(&name));
    }
    qsort(hashes, n, sizeof *hashes, compare_hashes);
    bool distinct = true;
    for (size_t i = 1; i < n; i++)
        distinct &= hashes[i] != hashes[i - 1];
    bh_bytes_free(&name);
    bh_free(hashes);
    return distinct;
}

bool bh_jwt_object(struct bh_slice text, struct bh_json_value *object) {
    if (bh_json_check(text, NULL) != 0)
        return false;
    *object = bh_json_root(text);
    return object->type == BH_JSON_OBJECT && bh_jwt_distinct(*object);
}

bool bh_jwt_string_equals(struct bh_json_value string, struct bh_slice expected) {
    if (string.type != BH_JSON_STRING)
        return false;
    struct bh_bytes text = {0};
    bh_json_string(string, &text);
    bool equal = bh_slice_eq(bh_bytes_slice(&text), expected);
    bh_bytes_free(&text);
    return equal;
}

void bh_jwt_encode(struct bh_slice data, struct bh_bytes *out) {
    bh_bytes_reserve(out, bh_base64_len(data.n));
    out->len += bh_base64url_encode(data, out->p + out->len);
}

int bh_jwt_decode(struct bh_slice text, struct bh_bytes *out) {
    bh_bytes_reserve(out, 3 * (text.n + 3) / 4);
    int n = bh_base64url_decode(text, (unsigned char *)out->p + out->len);
    if (n < 0)
        return n;
    out->len += (size_t)n;
    return 0;
}
