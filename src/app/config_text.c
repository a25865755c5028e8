/* config_text.c - see the header. */
#include "config_text.h"

#include <ctype.h>

static void write_json(struct bh_bytes *out, const struct bh_json *node, bool chomp) {
    struct bh_slice text;
    int64_t integer;
    switch (bh_json_type(node)) {
    case BH_JSON_STRING:
        text = bh_slice_cstr(bh_json_str(node));
        bh_json_quote(out, chomp ? bh_slice_chomp(text) : text);
        return;
    case BH_JSON_NUMBER:
        if (bh_json_is_int(node, &integer))
            bh_bytes_addf(out, "%lld", (long long)integer);
        else
            bh_bytes_addf(out, "%.17g", bh_json_num(node));
        return;
    case BH_JSON_TRUE:
        bh_bytes_adds(out, "true");
        return;
    case BH_JSON_FALSE:
        bh_bytes_adds(out, "false");
        return;
    case BH_JSON_NULL:
        bh_bytes_adds(out, "null");
        return;
    case BH_JSON_ARRAY:
    case BH_JSON_OBJECT:
        break;
    }
    bool object = bh_json_type(node) == BH_JSON_OBJECT;
    bh_bytes_addc(out, object ? '{' : '[');
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c)) {
        if (c != bh_json_child(node))
            bh_bytes_addc(out, ',');
        if (object) {
            bh_json_quote(out, bh_slice_cstr(bh_json_name(c)));
            bh_bytes_addc(out, ':');
        }
        write_json(out, c, chomp);
    }
    bh_bytes_addc(out, object ? '}' : ']');
}

char *bh_config_text_of(const struct bh_json *node, bool chomp) {
    struct bh_bytes out = {0};
    write_json(&out, node, chomp);
    bh_bytes_addc(&out, '\0');
    return out.p;
}

char *bh_config_text_quoted(const char *s) {
    struct bh_bytes out = {0};
    bh_json_quote(&out, bh_slice_cstr(s));
    bh_bytes_addc(&out, '\0');
    return out.p;
}

static bool begins_with_scheme(struct bh_slice s) {
    size_t n = 0;
    while (n < s.n && (isalpha((unsigned char)s.p[n]) || s.p[n] == '+'))
        n++;
    return n > 0 && bh_slice_starts(bh_slice(s.p + n, s.n - n), BH_SLICE("://"));
}

static struct bh_slice first_url(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == ',' && begins_with_scheme(bh_slice_trim(bh_slice(s.p + i + 1, s.n - i - 1))))
            return bh_slice(s.p, i);
    return s;
}

static bool next_part(bool urls, struct bh_slice *rest, struct bh_slice *part) {
    if (!urls)
        return bh_slice_split(rest, ',', part);
    if (rest->n == 0)
        return false;
    *part = first_url(*rest);
    size_t used = part->n < rest->n ? part->n + 1 : part->n;
    *rest = bh_slice(rest->p + used, rest->n - used);
    return true;
}

char *bh_config_text_list(const char *text, bool urls) {
    struct bh_bytes out = {0};
    struct bh_slice rest = bh_slice_cstr(text), part;
    bh_bytes_addc(&out, '[');
    while (next_part(urls, &rest, &part)) {
        part = bh_slice_trim(part);
        if (part.n == 0)
            continue;
        if (out.len > 1)
            bh_bytes_addc(&out, ',');
        bh_json_quote(&out, part);
    }
    bh_bytes_adds(&out, "]");
    bh_bytes_addc(&out, '\0');
    return out.p;
}
