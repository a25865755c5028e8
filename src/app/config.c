/* config.c - four sources for one table of keys.
 *
 * Each source (defaults, file, environment, command line) yields values as JSON text. The rows of
 * the table (config_keys.c) check and store them; the last source wins. The same rows build the
 * tree that scripts read through bh.config. */
#include "config.h"
#include "config_keys.h"

#include "bellhop/base/error.h"
#include "bellhop/base/jwt.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/suggest.h"
#include "bellhop/script/script.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool is_list(const struct bh_config_key *k) {
    return k->type == BH_CONFIG_STRINGS || k->type == BH_CONFIG_URLS;
}

/* --- the state of a load: each key's value as JSON text --- */

struct load {
    struct bh_config *config;
    char **values; /* one for each key, JSON text */
    char *app;     /* the free section, as JSON text */
    const char *file;
    struct bh_bytes source; /* the file's text, to find lines in */
    struct bh_bytes error;
};

static int refuse(struct load *l, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct load *l, const char *format, ...) {
    va_list args;
    va_start(args, format);
    bh_bytes_clear(&l->error);
    bh_bytes_vaddf(&l->error, format, args);
    va_end(args);
    return BH_EINVAL;
}

/* --- writing a tree back as text --- */

/* chomp: without a line end at the end of its strings. */
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

static char *json_text(const struct bh_json *node, bool chomp) {
    struct bh_bytes out = {0};
    write_json(&out, node, chomp);
    bh_bytes_addc(&out, '\0');
    return out.p;
}

static char *quoted(const char *s) {
    struct bh_bytes out = {0};
    bh_json_quote(&out, bh_slice_cstr(s));
    bh_bytes_addc(&out, '\0');
    return out.p;
}

/* --- checking one value --- */

static const char *type_name(const struct bh_config_key *k) {
    static const char *const names[] = {[BH_CONFIG_STRING] = "a string",
                                        [BH_CONFIG_STRINGS] = "a list of strings",
                                        [BH_CONFIG_URLS] = "a URL, or a list of URLs",
                                        [BH_CONFIG_BOOL] = "true or false",
                                        [BH_CONFIG_COUNT] = "a whole number",
                                        [BH_CONFIG_BYTES] = "a whole number of bytes",
                                        [BH_CONFIG_AUTO_BYTES] =
                                            "a whole number of bytes, or \"auto\"",
                                        [BH_CONFIG_SECONDS] = "a number of seconds"};
    return names[k->type];
}

static bool is_choice(const struct bh_config_key *k, const char *value) {
    struct bh_slice rest = bh_slice_cstr(k->choices), choice;
    while (bh_slice_split(&rest, '|', &choice))
        if (bh_slice_eq(choice, bh_slice_cstr(value)))
            return true;
    return false;
}

static bool is_strings(const struct bh_json *node) {
    if (bh_json_type(node) == BH_JSON_OBJECT) /* Lua's empty table */
        return bh_json_child(node) == NULL;
    if (bh_json_type(node) != BH_JSON_ARRAY)
        return false;
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c))
        if (!bh_json_str(c))
            return false;
    return true;
}

static bool is_auto(const struct bh_json *node) {
    return bh_json_str(node) && strcmp(bh_json_str(node), "auto") == 0;
}

static bool fits(const struct bh_config_key *k, const struct bh_json *node) {
    int64_t integer;
    enum bh_json_type type = bh_json_type(node);
    switch (k->type) {
    case BH_CONFIG_STRING:
        return type == BH_JSON_STRING;
    case BH_CONFIG_STRINGS:
    case BH_CONFIG_URLS:
        return is_strings(node);
    case BH_CONFIG_BOOL:
        return type == BH_JSON_TRUE || type == BH_JSON_FALSE;
    case BH_CONFIG_COUNT:
    case BH_CONFIG_BYTES:
        return type == BH_JSON_NUMBER && bh_json_is_int(node, &integer);
    case BH_CONFIG_AUTO_BYTES:
        return is_auto(node) || (type == BH_JSON_NUMBER && bh_json_is_int(node, &integer));
    case BH_CONFIG_SECONDS:
        return type == BH_JSON_NUMBER;
    }
    return false;
}

/* Only PEM text has lines. */
static bool is_pem(const char *text) {
    return strncmp(text, "-----BEGIN", 10) == 0;
}

static bool is_key_text(const struct bh_config_key *k, const struct bh_json *node) {
    return strcmp(k->path, "auth.jwt.public_key") == 0 && bh_json_str(node) &&
           is_pem(bh_json_str(node));
}

/* The value may be a secret, so it is not shown. */
static int check_text(struct load *l, const struct bh_config_key *k, const char *text,
                      const char *where) {
    size_t at = bh_slice_control(bh_slice_cstr(text));
    if (!text[at])
        return 0;
    return refuse(l,
                  "%s: %s has a control character (byte %zu is 0x%02x); only one line feed at the "
                  "end is removed",
                  where, k->path, at + 1, (unsigned char)text[at]);
}

static int check_texts(struct load *l, const struct bh_config_key *k, const struct bh_json *node,
                       const char *where) {
    int error = 0;
    if (bh_json_str(node))
        return is_key_text(k, node) ? 0 : check_text(l, k, bh_json_str(node), where);
    for (const struct bh_json *c = bh_json_child(node); c && !error; c = bh_json_sibling(c))
        error = check_text(l, k, bh_json_str(c), where);
    return error;
}

/* `where` names the source: "bellhop.conf.lua:12" or "BELLHOP_REDIS_URL". */
static int check_value(struct load *l, const struct bh_config_key *k, const struct bh_json *node,
                       const char *where) {
    if (!fits(k, node))
        return refuse(l, "%s: %s must be %s", where, k->path, type_name(k));
    if (k->choices && !is_choice(k, bh_json_str(node)))
        return refuse(l, "%s: %s must be one of %s", where, k->path, k->choices);
    if (bh_json_type(node) == BH_JSON_NUMBER &&
        (bh_json_num(node) < k->min || bh_json_num(node) > k->max))
        return refuse(l, "%s: %s must be between %.15g and %.15g", where, k->path, k->min, k->max);
    return check_texts(l, k, node, where);
}

/* Checks and keeps a value. Line ends that came with it from a file are removed first, so they
 * count for nothing. */
static int keep_value(struct load *l, const struct bh_config_key *k, const struct bh_json *given,
                      const char *where) {
    char *text = json_text(given, !is_key_text(k, given));
    struct bh_json *node = NULL;
    struct bh_json_error why;
    int error = bh_json_parse(bh_slice_cstr(text), &node, &why);
    if (error)
        refuse(l, "%s: %s must be %s", where, k->path, type_name(k));
    else
        error = check_value(l, k, node, where);
    bh_json_free(node);
    if (error) {
        bh_free(text);
        return BH_EINVAL;
    }
    bh_free(l->values[k - bh_config_keys]);
    l->values[k - bh_config_keys] = text;
    return 0;
}

/* --- the file --- */

/* The file's text and a NUL; only the NUL when it cannot be read. */
static void read_text(const char *path, struct bh_bytes *out) {
    FILE *f = fopen(path, "r");
    char part[4096];
    size_t n;
    while (f && (n = fread(part, 1, sizeof part, f)) > 0)
        bh_bytes_add(out, bh_slice(part, n));
    if (f)
        fclose(f);
    bh_bytes_addc(out, '\0');
}

/* Lua tables have no line numbers. The first line that assigns the key's last name is nearly always
 * the right one. */
static int line_of(const struct load *l, const char *path) {
    const char *name = strrchr(path, '.') ? strrchr(path, '.') + 1 : path;
    size_t n = strlen(name);
    int line = 1;
    for (const char *p = l->source.p; *p; p++) {
        if (*p == '\n')
            line++;
        bool starts = p == l->source.p || !(isalnum((unsigned char)p[-1]) || p[-1] == '_');
        if (starts && strncmp(p, name, n) == 0) {
            const char *after = p + n + strspn(p + n, " \t\"']");
            if (*after == '=')
                return line;
        }
    }
    return 1;
}

static int refuse_unknown(struct load *l, const char *path) {
    const char **words = bh_calloc(bh_config_key_count + 1, sizeof *words);
    char phrase[128];
    for (size_t i = 0; i < bh_config_key_count; i++)
        words[i] = bh_config_keys[i].path;
    refuse(l, "%s:%d: unknown key %s%s", l->file, line_of(l, path), path,
           bh_suggest_phrase(path, words, phrase, sizeof phrase));
    bh_free(words);
    return BH_EINVAL;
}

static bool is_section(const char *path) {
    size_t n = strlen(path);
    for (size_t i = 0; i < bh_config_key_count; i++)
        if (strncmp(bh_config_keys[i].path, path, n) == 0 && bh_config_keys[i].path[n] == '.')
            return true;
    return false;
}

static int read_value(struct load *l, const struct bh_config_key *k, const char *text,
                      const char *where);

static int read_member(struct load *l, const char *prefix, const struct bh_json *node) {
    char path[256], where[512];
    snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", bh_json_name(node));
    if (strcmp(path, "app") == 0) {
        l->app = json_text(node, false);
        return 0;
    }
    const struct bh_config_key *k = bh_config_find_key(path);
    if (k) {
        snprintf(where, sizeof where, "%s:%d", l->file, line_of(l, path));
        if (k->type == BH_CONFIG_URLS && bh_json_str(node))
            return read_value(l, k, bh_json_str(node), where);
        return keep_value(l, k, node, where);
    }
    if (!is_section(path))
        return refuse_unknown(l, path);
    if (bh_json_type(node) != BH_JSON_OBJECT)
        return refuse(l, "%s:%d: %s must be a table", l->file, line_of(l, path), path);
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c)) {
        int error = read_member(l, path, c);
        if (error)
            return error;
    }
    return 0;
}

static int read_file(struct load *l) {
    struct bh_json *root = NULL;
    char *error = NULL;
    int rc = bh_script_read_config(l->file, &root, &error);
    if (rc) {
        refuse(l, "%s", error ? error : l->file);
        bh_free(error);
        return BH_EINVAL;
    }
    read_text(l->file, &l->source);
    for (const struct bh_json *c = bh_json_child(root); c && !rc; c = bh_json_sibling(c))
        rc = bh_json_name(c) ? read_member(l, "", c)
                             : refuse(l, "%s: the file must return a table of sections", l->file);
    bh_json_free(root);
    return rc;
}

/* --- environment and command line: text, parsed by the type of its key --- */

static bool begins_with_scheme(struct bh_slice s) {
    size_t n = 0;
    while (n < s.n && (isalpha((unsigned char)s.p[n]) || s.p[n] == '+'))
        n++;
    return n > 0 && bh_slice_starts(bh_slice(s.p + n, s.n - n), BH_SLICE("://"));
}

/* A URL may contain commas (the hosts of Sentinels): the next URL begins with a scheme. */
static struct bh_slice first_url(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == ',' && begins_with_scheme(bh_slice_trim(bh_slice(s.p + i + 1, s.n - i - 1))))
            return bh_slice(s.p, i);
    return s;
}

static bool next_part(const struct bh_config_key *k, struct bh_slice *rest, struct bh_slice *part) {
    if (k->type != BH_CONFIG_URLS)
        return bh_slice_split(rest, ',', part);
    if (rest->n == 0)
        return false;
    *part = first_url(*rest);
    size_t used = part->n < rest->n ? part->n + 1 : part->n;
    *rest = bh_slice(rest->p + used, rest->n - used);
    return true;
}

static char *text_to_json(const struct bh_config_key *k, const char *text) {
    if (k->type == BH_CONFIG_STRING ||
        (k->type == BH_CONFIG_AUTO_BYTES && strcmp(text, "auto") == 0))
        return quoted(text);
    if (!is_list(k))
        return bh_strdup(text);
    struct bh_bytes out = {0};
    struct bh_slice rest = bh_slice_cstr(text), part;
    bh_bytes_addc(&out, '[');
    while (next_part(k, &rest, &part)) {
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

static int read_value(struct load *l, const struct bh_config_key *k, const char *text,
                      const char *where) {
    char *json = text_to_json(k, text);
    struct bh_json *node = NULL;
    struct bh_json_error why;
    int error = bh_json_parse(bh_slice_cstr(json), &node, &why);
    if (error)
        error = refuse(l, "%s: %s must be %s", where, k->path, type_name(k));
    else
        error = keep_value(l, k, node, where);
    bh_json_free(node);
    bh_free(json);
    return error;
}

static int read_environment(struct load *l) {
    for (size_t i = 0; i < bh_config_key_count; i++) {
        char name[BH_CONFIG_NAME_MAX];
        bh_config_environment_name(&bh_config_keys[i], name);
        const char *text = getenv(name);
        int error = text ? read_value(l, &bh_config_keys[i], text, name) : 0;
        if (error)
            return error;
    }
    return 0;
}

/* --- from text to the struct --- */

static void store_strings(struct bh_strings *to, const struct bh_json *node) {
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c)) {
        to->items = bh_realloc(to->items, (to->count + 1) * sizeof *to->items);
        to->items[to->count++] = bh_strdup(bh_json_str(c));
    }
}

static void store(struct bh_config *c, const struct bh_config_key *k, const char *text) {
    void *to = (char *)c + k->offset;
    struct bh_json *node = NULL;
    struct bh_json_error why;
    if (bh_json_parse(bh_slice_cstr(text), &node, &why))
        abort(); /* checked when it was read */
    switch (k->type) {
    case BH_CONFIG_STRING:
        *(char **)to = bh_strdup(bh_json_str(node));
        break;
    case BH_CONFIG_STRINGS:
    case BH_CONFIG_URLS:
        store_strings(to, node);
        break;
    case BH_CONFIG_BOOL:
        *(bool *)to = bh_json_type(node) == BH_JSON_TRUE;
        break;
    case BH_CONFIG_COUNT:
    case BH_CONFIG_BYTES:
        *(uint64_t *)to = (uint64_t)bh_json_num(node);
        break;
    case BH_CONFIG_AUTO_BYTES:
        *(uint64_t *)to = is_auto(node) ? BH_CONFIG_AUTO : (uint64_t)bh_json_num(node);
        break;
    case BH_CONFIG_SECONDS:
        *(uint64_t *)to = (uint64_t)llround(bh_json_num(node) * 1000);
        break;
    }
    bh_json_free(node);
}

/* The rows are sorted by section, so one pass writes the tree: it closes a section and opens the
 * next. */
static void write_tree(struct load *l, struct bh_bytes *out) {
    const char *section = "";
    size_t section_len = 0;
    bh_bytes_adds(out, "{");
    for (size_t i = 0; i < bh_config_key_count; i++) {
        const char *path = bh_config_keys[i].path, *dot = strchr(path, '.');
        size_t n = (size_t)(dot - path);
        bool jwt = strncmp(dot + 1, "jwt.", 4) == 0;
        if (n != section_len || strncmp(section, path, n) != 0) {
            if (section_len)
                bh_bytes_adds(out, strncmp(section, "auth", 4) == 0 ? "}}," : "},");
            bh_bytes_addf(out, "\"%.*s\":{%s", (int)n, path, jwt ? "\"jwt\":{" : "");
            section = path;
            section_len = n;
        } else {
            bh_bytes_addc(out, ',');
        }
        bh_bytes_addf(out, "\"%s\":", strrchr(path, '.') + 1);
        bh_bytes_adds(out, l->values[i]);
    }
    bh_bytes_addf(out, "},\"dev\":%s,\"app\":", l->config->dev ? "true" : "false");
    bh_bytes_adds(out, l->app ? l->app : "{}");
    bh_bytes_addc(out, '}');
}

/* A public key is given as PEM text or as the path of a PEM file; scripts get the text. */
static int read_public_key(struct load *l) {
    const struct bh_config_key *k = bh_config_find_key("auth.jwt.public_key");
    struct bh_config *c = l->config;
    struct bh_bytes pem = {0};
    if (!*c->jwt_public_key || is_pem(c->jwt_public_key))
        return 0;
    read_text(c->jwt_public_key, &pem);
    if (!is_pem(pem.p)) {
        bh_bytes_free(&pem);
        return refuse(l, "auth.jwt.public_key: %s: neither PEM text nor a readable PEM file",
                      c->jwt_public_key);
    }
    bh_free(l->values[k - bh_config_keys]);
    l->values[k - bh_config_keys] = quoted(pem.p);
    bh_free(c->jwt_public_key);
    c->jwt_public_key = pem.p;
    return 0;
}

/* Scripts get the path and read the file again when it changes; here it must only be readable. */
static int check_key_set(struct load *l) {
    const char *path = l->config->jwt_jwks;
    if (!*path || access(path, R_OK) == 0)
        return 0;
    return refuse(l, "auth.jwt.jwks: %s: %s", path, strerror(errno));
}

unsigned bh_config_jwt_algorithms(const struct bh_config *c) {
    unsigned algs = 0;
    for (size_t i = 0; i < c->jwt_algorithms.count; i++)
        algs |= bh_jwt_alg_from_name(bh_slice_cstr(c->jwt_algorithms.items[i]));
    return algs;
}

/* Policies may use it for HS256 without naming that in auth.jwt.algorithms. */
static int check_secret(struct load *l) {
    size_t n = strlen(l->config->jwt_secret);
    char why[BH_JWT_WHY_MAX];
    if (n == 0 || !bh_jwt_secret_check(n, bh_config_jwt_algorithms(l->config) | BH_JWT_HS256, why))
        return 0;
    return refuse(l, "auth.jwt.secret: %s", why);
}

static int finish(struct load *l) {
    struct bh_bytes text = {0};
    struct bh_json_error why;
    for (size_t i = 0; i < bh_config_key_count; i++)
        store(l->config, &bh_config_keys[i], l->values[i]);
    if (check_secret(l) || read_public_key(l) || check_key_set(l))
        return BH_EINVAL;
    write_tree(l, &text);
    int error = bh_json_parse(bh_bytes_slice(&text), &l->config->tree, &why);
    bh_bytes_free(&text);
    return error ? refuse(l, "%s: section app: %s", l->file, why.why) : 0;
}

int bh_config_load(struct bh_config *c, const char *file, const struct bh_config_option *options,
                   size_t option_count, char **error) {
    *c = (struct bh_config){0};
    struct load l = {.config = c, .file = file};
    l.values = bh_calloc(bh_config_key_count, sizeof *l.values);
    for (size_t i = 0; i < bh_config_key_count; i++)
        l.values[i] = bh_strdup(bh_config_keys[i].fallback);
    int rc = file ? read_file(&l) : 0;
    if (!rc)
        rc = read_environment(&l);
    for (size_t i = 0; i < option_count && !rc; i++)
        rc = read_value(&l, bh_config_find_key(options[i].path), options[i].value, "command line");
    if (!rc)
        rc = finish(&l);
    if (rc)
        *error = bh_strndup(l.error.p, l.error.len);
    for (size_t i = 0; i < bh_config_key_count; i++)
        bh_free(l.values[i]);
    bh_free(l.values);
    bh_free(l.app);
    bh_bytes_free(&l.source);
    bh_bytes_free(&l.error);
    return rc;
}

void bh_strings_free(struct bh_strings *s) {
    for (size_t i = 0; i < s->count; i++)
        bh_free(s->items[i]);
    bh_free(s->items);
    *s = (struct bh_strings){0};
}

void bh_config_free(struct bh_config *c) {
    for (size_t i = 0; i < bh_config_key_count; i++) {
        void *at = (char *)c + bh_config_keys[i].offset;
        if (bh_config_keys[i].type == BH_CONFIG_STRING)
            bh_free(*(char **)at);
        else if (is_list(&bh_config_keys[i]))
            bh_strings_free(at);
    }
    bh_json_free(c->tree);
}
