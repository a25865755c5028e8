/* Ids in the names of channels and keys: what is an id comes back unchanged, what is read back has
 * one spelling, and no encoded id contains a byte that separates names. Compared with an encoder
 * written from the definition. */
#include "bellhop/base/id.h"
#include "bellhop/base/utf8.h"
#include "fuzz.h"

static const enum bh_id_kind kinds[] = {BH_ID_USER, BH_ID_TENANT, BH_ID_TOPIC};

static void define(enum bh_id_kind kind, struct bh_slice id, struct bh_bytes *out) {
    const char *encoded = kind == BH_ID_TOPIC ? "%:{}" : "%:{}/";
    for (size_t i = 0; i < id.n; i++) {
        unsigned char c = (unsigned char)id.p[i];
        if (c && strchr(encoded, c))
            bh_bytes_addf(out, "%%%02X", c);
        else
            bh_bytes_addc(out, (char)c);
    }
}

static void check_id(enum bh_id_kind kind, struct bh_slice id, enum bh_id_form form) {
    char encoded_bytes[BH_ID_ENCODED_MAX], back[BH_TOPIC_ID_MAX];
    struct bh_bytes defined = {0};
    struct bh_slice again;
    CHECK(id.n >= 1 && id.n <= (kind == BH_ID_TOPIC ? BH_TOPIC_ID_MAX : BH_ID_MAX));
    CHECK(bh_utf8_valid(id));
    CHECK(!fuzz_holds_any(id, "\0\t\n\v\f\r \x1b\x7f", 9));
    struct bh_slice encoded = bh_id_encode(kind, id, encoded_bytes);
    define(kind, id, &defined);
    CHECK(bh_slice_eq(encoded, bh_bytes_slice(&defined)));
    CHECK(form == BH_ID_WIDE || bh_slice_eq(encoded, id));
    CHECK(!fuzz_holds_any(encoded, ":{}", 3));
    CHECK(bh_id_decode(kind, encoded, back, &again) == form && bh_slice_eq(again, id));
    bh_bytes_free(&defined);
}

static void check_encoded(enum bh_id_kind kind, struct bh_slice in) {
    char encoded_bytes[BH_ID_ENCODED_MAX], back[BH_TOPIC_ID_MAX];
    struct bh_slice id;
    enum bh_id_form form = bh_id_decode(kind, in, back, &id);
    if (form == BH_ID_INVALID)
        return;
    CHECK(form == bh_id_stored(kind, id));
    CHECK(bh_slice_eq(bh_id_encode(kind, id, encoded_bytes), in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = fuzz_exact(bh_slice(data, size));
    struct bh_slice in = bh_slice(copy, size);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        const char *why = NULL;
        enum bh_id_form form = bh_id_given(kinds[i], in, &why);
        CHECK((form == BH_ID_INVALID) == (why != NULL));
        CHECK(form == bh_id_stored(kinds[i], in));
        if (form != BH_ID_INVALID)
            check_id(kinds[i], in, form);
        check_encoded(kinds[i], in);
    }
    free(copy);
    return 0;
}
