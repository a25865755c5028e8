/* config_docs.c - writes docs/configuration.md: copies a template, and puts the table of a
 * section's keys in the place of each line "@keys SECTION".
 *
 *     build/debug/tests/config_docs docs/configuration.in >docs/configuration.md
 *
 * The table is src/app/config_keys.c. A key that no section of the template contains is an error.
 */
#include "bellhop/base/buf.h"
#include "config_keys.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_in(const struct bh_config_key *key, struct bh_slice section) {
    const char *name = strrchr(key->path, '.');
    return bh_slice_eq(bh_slice(key->path, (size_t)(name - key->path)), section);
}

/* 100000 -> "100,000" */
static void add_number(struct bh_bytes *out, double n) {
    char digits[32];
    int count = snprintf(digits, sizeof digits, "%.15g", n);
    for (int i = 0; i < count; i++)
        bh_bytes_addf(out, "%s%c", n >= 10000 && i && (count - i) % 3 == 0 ? "," : "", digits[i]);
}

/* 1048576 -> "1 MiB". False: it is no round number. */
static bool add_size(struct bh_bytes *out, double bytes) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    uint64_t n = (uint64_t)bytes;
    size_t unit = 0;
    for (; n >= 1024 && n % 1024 == 0 && unit < 4; unit++)
        n /= 1024;
    if (unit == 0 || n >= 1024)
        return false;
    bh_bytes_addf(out, "%llu %s", (unsigned long long)n, units[unit - 1]);
    return true;
}

static void add_bound(struct bh_bytes *out, const struct bh_config_key *key, double n) {
    bool bytes = key->type == BH_CONFIG_BYTES || key->type == BH_CONFIG_AUTO_BYTES;
    if (!bytes || !add_size(out, n))
        add_number(out, n);
}

static void add_choices(struct bh_bytes *out, const char *choices) {
    struct bh_slice rest = bh_slice_cstr(choices), choice;
    const char *before = "";
    while (bh_slice_split(&rest, '|', &choice)) {
        bh_bytes_addf(out, "%s`\"%.*s\"`", before, BH_SLICE_ARG(choice));
        before = rest.p && memchr(rest.p, '|', rest.n) ? ", " : " or ";
    }
}

static void add_range(struct bh_bytes *out, const struct bh_config_key *key, const char *what) {
    bh_bytes_addf(out, "%s, ", what);
    add_bound(out, key, key->min);
    bh_bytes_adds(out, " to ");
    add_bound(out, key, key->max);
}

static void add_type(struct bh_bytes *out, const struct bh_config_key *key) {
    switch (key->type) {
    case BH_CONFIG_STRING:
        if (key->choices)
            add_choices(out, key->choices);
        else
            bh_bytes_adds(out, "string");
        return;
    case BH_CONFIG_STRINGS:
        bh_bytes_adds(out, "list of strings");
        return;
    case BH_CONFIG_URLS:
        bh_bytes_adds(out, "URL, or list of URLs");
        return;
    case BH_CONFIG_BOOL:
        bh_bytes_adds(out, "`true` or `false`");
        return;
    case BH_CONFIG_COUNT:
        add_range(out, key, "number");
        return;
    case BH_CONFIG_BYTES:
        add_range(out, key, "bytes");
        return;
    case BH_CONFIG_AUTO_BYTES:
        add_range(out, key, "`\"auto\"`, or bytes");
        return;
    case BH_CONFIG_SECONDS:
        add_range(out, key, "seconds");
        return;
    case BH_CONFIG_RULES:
        bh_bytes_adds(out, "list of rules");
        return;
    }
}

/* As it is written in the file: JSON's lists become Lua's tables. */
static void add_default(struct bh_bytes *out, const struct bh_config_key *key) {
    const char *text = key->fallback;
    struct bh_bytes size = {0};
    if (text[0] != '[')
        bh_bytes_addf(out, "`%s`", text);
    else if (text[1] == ']')
        bh_bytes_adds(out, "`{}`");
    else
        bh_bytes_addf(out, "`{ %.*s }`", (int)strlen(text) - 2, text + 1);
    if (key->type == BH_CONFIG_BYTES && add_size(&size, strtod(text, NULL)))
        bh_bytes_addf(out, " (%.*s)", BH_SLICE_ARG(bh_bytes_slice(&size)));
    bh_bytes_free(&size);
}

static void add_row(struct bh_bytes *out, const struct bh_config_key *key) {
    char variable[BH_CONFIG_NAME_MAX];
    bh_config_environment_name(key, variable);
    bh_bytes_addf(out, "| `%s`<br>`%s` | ", key->path, variable);
    add_type(out, key);
    bh_bytes_adds(out, " | ");
    add_default(out, key);
    bh_bytes_addf(out, " | %s |\n", key->what);
}

static size_t add_table(struct bh_bytes *out, struct bh_slice section) {
    size_t count = 0;
    bh_bytes_adds(out, "| key, variable | type | default | what it does |\n|---|---|---|---|\n");
    for (size_t i = 0; i < bh_config_key_count; i++) {
        if (is_in(&bh_config_keys[i], section)) {
            add_row(out, &bh_config_keys[i]);
            count++;
        }
    }
    return count;
}

static int fail(const char *what, struct bh_slice which) {
    fprintf(stderr, "config_docs: %s: %.*s\n", what, BH_SLICE_ARG(which));
    return 1;
}

int main(int argc, char **argv) {
    char line[1024];
    struct bh_bytes out = {0};
    size_t printed = 0;
    FILE *template = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (!template)
        return fail("no such template", bh_slice_cstr(argc > 1 ? argv[1] : "none given"));
    while (fgets(line, sizeof line, template)) {
        struct bh_slice rest = bh_slice_cstr(line), keys = BH_SLICE("@keys "), section;
        bh_slice_split(&rest, '\n', &section);
        if (!bh_slice_starts(section, keys)) {
            bh_bytes_adds(&out, line);
            continue;
        }
        section = bh_slice(section.p + keys.n, section.n - keys.n);
        size_t count = add_table(&out, section);
        if (count == 0)
            return fail("no keys in section", section);
        printed += count;
    }
    fclose(template);
    if (printed != bh_config_key_count)
        return fail("a section is missing, or there twice", bh_slice_cstr(argv[1]));
    fwrite(out.p, 1, out.len, stdout);
    bh_bytes_free(&out);
    return 0;
}
