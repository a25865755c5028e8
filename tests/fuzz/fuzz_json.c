/* The scanner's events, its readers, its search and cJSON's tree see the same values in a text;
 * text survives quoting and decoding. */
#include "bellhop/base/error.h"
#include "bellhop/base/json.h"
#include "bellhop/base/utf8.h"
#include "fuzz.h"

static void string_of(struct bh_json_value value, struct bh_bytes *out) {
    bh_bytes_clear(out);
    bh_json_string(value, out);
    CHECK(bh_utf8_valid(bh_bytes_slice(out)));
    CHECK(bh_json_equals(value, bh_bytes_slice(out)));
}

static void compare_number(struct bh_json_value value, const struct bh_json *node) {
    int64_t scanned, built;
    double number;
    struct bh_bytes text = {0};
    bh_bytes_add(&text, value.raw);
    bh_bytes_addc(&text, '\0');
    CHECK(bh_json_num(node) == strtod(text.p, NULL));
    CHECK(bh_json_double(value, &number) == 0 && number == bh_json_num(node));
    bh_bytes_free(&text);
    if (bh_json_int64(value, &scanned) == 0)
        CHECK(bh_json_is_int(node, &built) && scanned == built);
}

static void compare_string(struct bh_json_value value, const struct bh_json *node) {
    struct bh_bytes text = {0};
    string_of(value, &text);
    CHECK(bh_slice_eq(bh_bytes_slice(&text), bh_slice_cstr(bh_json_str(node))));
    bh_bytes_free(&text);
}

/* A member is found by its name, and both ways find the same one. */
static void compare_member(struct bh_json_value object, struct bh_json_value key,
                           const struct bh_json *parent, const struct bh_json *node) {
    struct bh_bytes name = {0};
    struct bh_json_value found;
    string_of(key, &name);
    CHECK(bh_json_member(object, bh_bytes_slice(&name), &found));
    if (node) {
        CHECK(bh_slice_eq(bh_bytes_slice(&name), bh_slice_cstr(bh_json_name(node))));
        bh_bytes_addc(&name, '\0');
        const struct bh_json *got = bh_json_get(parent, name.p);
        CHECK(got && bh_json_type(got) == found.type);
    }
    bh_bytes_free(&name);
}

/* node NULL: the text has no tree. */
static void walk(struct bh_json_value value, const struct bh_json *node) {
    CHECK(bh_json_check(value.raw, NULL) == 0);
    CHECK(bh_json_root(value.raw).raw.n == value.raw.n);
    CHECK(!node || bh_json_type(node) == value.type);
    if (node && value.type == BH_JSON_NUMBER)
        compare_number(value, node);
    if (node && value.type == BH_JSON_STRING)
        compare_string(value, node);
    const struct bh_json *child = node ? bh_json_child(node) : NULL;
    struct bh_json_value key = {0}, each;
    size_t members = 0;
    for (size_t cursor = 0; bh_json_next(value, &cursor, &key, &each); members++) {
        CHECK(!node || child);
        if (value.type == BH_JSON_OBJECT && members < 32)
            compare_member(value, key, node, child);
        walk(each, child);
        child = child ? bh_json_sibling(child) : NULL;
    }
    CHECK(!child);
}

static void check_quote(struct bh_slice in) {
    struct bh_bytes quoted = {0}, back = {0}, again = {0};
    bh_json_quote(&quoted, in);
    CHECK(bh_json_check(bh_bytes_slice(&quoted), NULL) == 0);
    struct bh_json_value value = bh_json_root(bh_bytes_slice(&quoted));
    CHECK(value.type == BH_JSON_STRING);
    string_of(value, &back);
    if (bh_utf8_valid(in))
        CHECK(bh_slice_eq(bh_bytes_slice(&back), in));
    bh_json_quote(&again, bh_bytes_slice(&back));
    CHECK(bh_slice_eq(bh_bytes_slice(&again), bh_bytes_slice(&quoted)));
    bh_bytes_free(&quoted);
    bh_bytes_free(&back);
    bh_bytes_free(&again);
}

/* --- the path, step by step --- */

static bool element(struct bh_json_value array, struct bh_slice index,
                    struct bh_json_value *value) {
    uint64_t left;
    if (bh_slice_u64(index, SIZE_MAX, &left) != 0)
        return false;
    for (size_t cursor = 0; bh_json_next(array, &cursor, NULL, value); left--)
        if (left == 0)
            return true;
    return false;
}

static bool walk_path(struct bh_json_value here, struct bh_slice path,
                      struct bh_json_value *value) {
    struct bh_slice step;
    path.p = path.n ? path.p : NULL;
    while (bh_slice_split(&path, '.', &step)) {
        struct bh_json_value next;
        bool found = here.type == BH_JSON_ARRAY ? element(here, step, &next)
                                                : bh_json_member(here, step, &next);
        if (!found)
            return false;
        here = next;
    }
    *value = here;
    return true;
}

static void check_find(struct bh_slice text, struct bh_slice path, struct bh_json_value root) {
    struct bh_json_value found, expected;
    int rc = bh_json_find(text, path, NULL, NULL, &found, NULL);
    if (rc == BH_ESYNTAX) {
        CHECK(text.n > 2 * BH_JSON_DEPTH_MAX); /* too deep for a reader */
        return;
    }
    if (!walk_path(root, path, &expected)) {
        CHECK(rc == BH_ENOTFOUND);
        return;
    }
    CHECK(rc == 0 && found.type == expected.type);
    CHECK(found.raw.p == expected.raw.p && found.raw.n == expected.raw.n);
}

/* --- events: a decoder that believes them sees a well-formed text --- */

static void check_scalar(const struct bh_json_reader *r) {
    CHECK(bh_json_check(r->value.raw, NULL) == 0);
    CHECK(r->value.type == BH_JSON_STRING || r->value.type == bh_json_root(r->value.raw).type);
    if (r->value.type == BH_JSON_STRING) {
        bool escaped = memchr(r->value.raw.p, '\\', r->value.raw.n) != NULL;
        CHECK(escaped == !r->plain);
    }
}

static void check_events(struct bh_slice text, int expected) {
    struct bh_json_reader r;
    enum bh_json_event event;
    unsigned depth = 0;
    bh_json_reader_init(&r, text);
    while ((event = bh_json_read(&r)) > BH_JSON_END) {
        depth += event == BH_JSON_OPEN;
        depth -= event == BH_JSON_CLOSE;
        CHECK(depth == r.depth && depth <= BH_JSON_DEPTH_MAX);
        if (event == BH_JSON_NAME || event == BH_JSON_VALUE)
            check_scalar(&r);
    }
    CHECK((event == BH_JSON_END) == (expected == 0) || r.depth == BH_JSON_DEPTH_MAX);
    CHECK(event == BH_JSON_INVALID || depth == 0);
}

static void check_text(struct bh_slice text, struct bh_slice path) {
    struct bh_json_error error = {0};
    struct bh_json *tree = NULL;
    int r = bh_json_check(text, &error);
    int built = bh_json_parse(text, &tree, NULL);
    check_events(text, r);
    if (r) {
        CHECK(r == BH_ESYNTAX && error.why && error.offset <= text.n);
        CHECK(built == BH_ESYNTAX && !tree);
        return;
    }
    CHECK(built == 0 ? tree != NULL : built == BH_ESYNTAX && !tree);
    struct bh_json_value root = bh_json_root(text);
    walk(root, tree);
    check_find(text, path, root);
    bh_json_free(tree);
}

/* A path, a line feed and a text; without a line feed only the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *copy = fuzz_exact(bh_slice(data, size));
    struct bh_slice in = bh_slice(copy, size), rest = in, path;
    check_quote(in);
    bh_slice_split(&rest, '\n', &path);
    if (rest.p)
        check_text(rest, path);
    else
        check_text(in, bh_slice(NULL, 0));
    free(copy);
    return 0;
}
