/* config.c - four sources for one table of keys.
 *
 * Each source (defaults, file, environment, command line) yields values as JSON text. The rows of
 * the table (config_keys.c) check and store them; the last source wins. A wrong value is reported,
 * and the one of the source before it stays, so that the rest can be checked too. The same rows
 * build the tree that scripts read through bh.config. */
#include "config.h"
#include "config_environment.h"
#include "config_history.h"
#include "config_keys.h"
#include "config_lines.h"
#include "config_rules.h"
#include "config_text.h"
#include "config_values.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/suggest.h"
#include "bellhop/script/script.h"

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
    struct bh_report *report;
    char **values; /* one for each key, JSON text */
    bool *failed;  /* one for each key: a mistake has been reported */
    char *app;     /* the free section, as JSON text */
    const char *file;
    struct bh_bytes source; /* the file's text, to find lines in */
    bool in_file;           /* its values are read now */
};

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
                                        [BH_CONFIG_SECONDS] = "a number of seconds",
                                        [BH_CONFIG_RULES] = "a list of rules, each a table"};
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
    case BH_CONFIG_RULES:
        return bh_config_history_is_list(node);
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
static bool check_text(struct load *l, const struct bh_config_key *k, const char *text,
                       const char *where) {
    size_t at = bh_slice_control(bh_slice_cstr(text));
    if (!text[at])
        return true;
    bh_report_error(l->report,
                    "%s: %s has a control character (byte %zu is 0x%02x); only one line feed at "
                    "the end is removed",
                    where, k->path, at + 1, (unsigned char)text[at]);
    return false;
}

static bool check_texts(struct load *l, const struct bh_config_key *k, const struct bh_json *node,
                        const char *where) {
    bool good = true;
    if (bh_json_str(node))
        return is_key_text(k, node) || check_text(l, k, bh_json_str(node), where);
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c))
        good = check_text(l, k, bh_json_str(c), where) && good;
    return good;
}

/* One entry of a list, or a string. A URL may contain a password, so its number is told. */
static bool check_item(struct load *l, const struct bh_config_key *k, const char *item,
                       size_t which, size_t count, const char *where) {
    const char *why = NULL;
    if (bh_config_value_check(k->path)(bh_slice_cstr(item), &why) == 0)
        return true;
    if (k->type != BH_CONFIG_URLS)
        bh_report_error(l->report, "%s: %s: %s: %s", where, k->path, item, why);
    else if (count == 1)
        bh_report_error(l->report, "%s: %s: %s", where, k->path, why);
    else
        bh_report_error(l->report, "%s: %s, URL %zu of %zu: %s", where, k->path, which + 1, count,
                        why);
    return false;
}

static bool check_items(struct load *l, const struct bh_config_key *k, const struct bh_json *node,
                        const char *where) {
    const char *string = bh_json_str(node);
    size_t count = 0, which = 0;
    bool good = true;
    if (!bh_config_value_check(k->path) || (string && !*string))
        return true;
    if (string)
        return check_item(l, k, string, 0, 1, where);
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c))
        count++;
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c))
        good = check_item(l, k, bh_json_str(c), which++, count, where) && good;
    return good;
}

struct rules {
    struct load *load;
    const struct bh_json *list;
    const char *where;
    bool failed;
};

/* 0: it is not known. */
static int line_of_rule(const struct rules *r, size_t rule, const char *key) {
    const struct bh_json *node = bh_json_child(r->list);
    size_t tables = 0;
    for (size_t i = 0; i < rule; i++, node = bh_json_sibling(node))
        tables += bh_json_type(node) == BH_JSON_OBJECT;
    if (!r->load->in_file || bh_json_type(node) != BH_JSON_OBJECT)
        return 0;
    return bh_config_find_entry(r->load->source.p, "history", tables, key);
}

static void on_rule_mistake(void *ud, size_t rule, const char *key, const char *text) {
    struct rules *r = ud;
    struct load *l = r->load;
    int line = line_of_rule(r, rule, key);
    r->failed = true;
    if (line)
        bh_report_error(l->report, "%s:%d: history, rule %zu: %s", l->file, line, rule + 1, text);
    else
        bh_report_error(l->report, "%s: history, rule %zu: %s", r->where, rule + 1, text);
}

static bool check_rules(struct load *l, const struct bh_json *node, const char *where) {
    struct bh_history_rule ignored[BH_HISTORY_RULES_MAX];
    struct rules r = {l, node, where, false};
    bh_config_history_read(node, ignored, on_rule_mistake, &r);
    return !r.failed;
}

/* `where` names the source: "bellhop.conf.lua:12" or "BELLHOP_REDIS_URL". node NULL: the text is no
 * value of any type. */
static bool check_value(struct load *l, const struct bh_config_key *k, const struct bh_json *node,
                        const char *where) {
    if (!node || !fits(k, node))
        bh_report_error(l->report, "%s: %s must be %s", where, k->path, type_name(k));
    else if (k->choices && !is_choice(k, bh_json_str(node)))
        bh_report_error(l->report, "%s: %s must be one of %s", where, k->path, k->choices);
    else if (bh_json_type(node) == BH_JSON_NUMBER &&
             (bh_json_num(node) < k->min || bh_json_num(node) > k->max))
        bh_report_error(l->report, "%s: %s must be between %.15g and %.15g", where, k->path, k->min,
                        k->max);
    else if (k->type == BH_CONFIG_RULES)
        return check_rules(l, node, where);
    else
        return check_texts(l, k, node, where) && check_items(l, k, node, where);
    return false;
}

static struct bh_json *parsed(const char *text) {
    struct bh_json *node = NULL;
    struct bh_json_error why;
    return bh_json_parse(bh_slice_cstr(text), &node, &why) ? NULL : node;
}

/* Line ends that came with the value from a file are removed before it is checked, so they count
 * for nothing. given NULL: as in check_value. */
static void set_value(struct load *l, const struct bh_config_key *k, const struct bh_json *given,
                      const char *where) {
    size_t i = (size_t)(k - bh_config_keys);
    char *text = given ? bh_config_text_of(given, !is_key_text(k, given)) : NULL;
    struct bh_json *node = text ? parsed(text) : NULL;
    bool good = check_value(l, k, node, where);
    bh_json_free(node);
    if (!good) {
        l->failed[i] = true;
        bh_free(text);
        return;
    }
    bh_free(l->values[i]);
    bh_free(l->config->places[i]);
    l->values[i] = text;
    l->config->places[i] = bh_strdup(where);
}

/* --- environment and command line: text, parsed by the type of its key --- */

static char *text_to_json(const struct bh_config_key *k, const char *text) {
    if (k->type == BH_CONFIG_STRING ||
        (k->type == BH_CONFIG_AUTO_BYTES &&
         bh_slice_eq(bh_slice_chomp(bh_slice_cstr(text)), BH_SLICE("auto"))))
        return bh_config_text_quoted(text);
    if (is_list(k))
        return bh_config_text_list(text, k->type == BH_CONFIG_URLS);
    return bh_strdup(text);
}

static void read_value(struct load *l, const struct bh_config_key *k, const char *text,
                       const char *where) {
    char *json = text_to_json(k, text);
    struct bh_json *node = parsed(json);
    set_value(l, k, node, where);
    bh_json_free(node);
    bh_free(json);
}

static void read_environment(struct load *l) {
    for (size_t i = 0; i < bh_config_key_count; i++) {
        char name[BH_CONFIG_NAME_MAX];
        bh_config_environment_name(&bh_config_keys[i], name);
        const char *text = getenv(name);
        if (text)
            read_value(l, &bh_config_keys[i], text, name);
    }
}

/* Several options for one list are read as one, at the first of them. */
static void read_option(struct load *l, const struct bh_config_option *options, size_t count,
                        size_t which) {
    const struct bh_config_key *k = bh_config_find_key(options[which].path);
    struct bh_bytes text = {0};
    for (size_t i = 0; i < count; i++) {
        if (strcmp(options[i].path, k->path) != 0)
            continue;
        if (i < which)
            goto out; /* has been read */
        if (!is_list(k))
            bh_bytes_clear(&text); /* the last one counts */
        else if (text.len)
            bh_bytes_addc(&text, ',');
        bh_bytes_adds(&text, options[i].value);
    }
    bh_bytes_addc(&text, '\0');
    read_value(l, k, text.p, "command line");
out:
    bh_bytes_free(&text);
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

/* The rules have no name of their own in the file. */
static int line_of(const struct load *l, const char *path) {
    int line =
        bh_config_find_line(l->source.p, strcmp(path, "history.rules") == 0 ? "history" : path);
    return line ? line : 1;
}

static void report_unknown(struct load *l, const char *path) {
    const char **words = bh_calloc(bh_config_key_count + 1, sizeof *words);
    char phrase[128];
    for (size_t i = 0; i < bh_config_key_count; i++)
        words[i] = bh_config_keys[i].path;
    bh_report_error(l->report, "%s:%d: unknown key %s%s", l->file, line_of(l, path), path,
                    bh_suggest_phrase(path, words, phrase, sizeof phrase));
    bh_free(words);
}

static bool is_section(const char *path) {
    size_t n = strlen(path);
    for (size_t i = 0; i < bh_config_key_count; i++)
        if (strncmp(bh_config_keys[i].path, path, n) == 0 && bh_config_keys[i].path[n] == '.')
            return true;
    return false;
}

static void read_key(struct load *l, const struct bh_config_key *k, const struct bh_json *node) {
    char where[512];
    snprintf(where, sizeof where, "%s:%d", l->file, line_of(l, k->path));
    if (k->type == BH_CONFIG_URLS && bh_json_str(node))
        read_value(l, k, bh_json_str(node), where);
    else
        set_value(l, k, node, where);
}

static void read_member(struct load *l, const char *prefix, const struct bh_json *node) {
    char path[256];
    snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", bh_json_name(node));
    const struct bh_config_key *k = bh_config_find_key(path);
    if (k)
        read_key(l, k, node);
    else if (strcmp(path, "app") == 0)
        l->app = bh_config_text_of(node, false);
    else if (!is_section(path))
        report_unknown(l, path);
    else if (bh_json_type(node) != BH_JSON_OBJECT)
        bh_report_error(l->report, "%s:%d: %s must be a table", l->file, line_of(l, path), path);
    else
        for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c))
            read_member(l, path, c);
}

/* "FILE: PATH: why" names a value that is no data, without its line. */
static void report_unreadable(struct load *l, const char *error) {
    size_t n = strlen(l->file);
    const char *rest = strncmp(error, l->file, n) == 0 && error[n] == ':' ? error + n + 1 : "";
    char *path = bh_strndup(rest + (*rest == ' '), strcspn(rest + (*rest == ' '), ":"));
    int line = *rest == ' ' ? bh_config_find_line(l->source.p, path) : 0;
    if (line)
        bh_report_error(l->report, "%s:%d:%s", l->file, line, rest);
    else
        bh_report_error(l->report, "%s", error);
    bh_free(path);
}

/* False: there is nothing to check. */
static bool read_file(struct load *l) {
    struct bh_json *root = NULL;
    char *error = NULL;
    int failed = bh_script_read_config(l->file, &root, &error);
    read_text(l->file, &l->source); /* afterwards: a pipe has no lines, but must be evaluated */
    if (failed) {
        report_unreadable(l, error ? error : l->file);
        bh_free(error);
        return false;
    }
    size_t first = l->report->errors.count;
    bool list = bh_json_type(root) == BH_JSON_ARRAY && bh_json_child(root);
    l->in_file = true;
    for (const struct bh_json *c = bh_json_child(root); c && !list; c = bh_json_sibling(c))
        read_member(l, "", c);
    l->in_file = false;
    bh_report_sort(l->report, first, l->file); /* a table of Lua has no order */
    if (list)
        bh_report_error(l->report, "%s: the file must return a table of sections", l->file);
    bh_json_free(root);
    return !list;
}

/* --- from text to the struct --- */

static void store_strings(struct bh_strings *to, const struct bh_json *node) {
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c))
        bh_strings_add(to, bh_strdup(bh_json_str(c)));
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
    case BH_CONFIG_RULES:
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
static void read_public_key(struct load *l) {
    const struct bh_config_key *k = bh_config_find_key("auth.jwt.public_key");
    struct bh_config *c = l->config;
    struct bh_bytes pem = {0};
    if (!*c->jwt_public_key || is_pem(c->jwt_public_key))
        return;
    read_text(c->jwt_public_key, &pem);
    if (!is_pem(pem.p)) {
        bh_report_key(l->report, c, k->path,
                      "auth.jwt.public_key: %s: neither PEM text nor a readable PEM file",
                      c->jwt_public_key);
        bh_bytes_free(&pem);
        return;
    }
    bh_free(l->values[k - bh_config_keys]);
    l->values[k - bh_config_keys] = bh_config_text_quoted(pem.p);
    bh_free(c->jwt_public_key);
    c->jwt_public_key = pem.p;
}

/* Scripts get the path and read the file again when it changes; here it must only be readable. */
static void check_key_set(struct load *l) {
    const char *path = l->config->jwt_jwks;
    if (*path && access(path, R_OK) != 0)
        bh_report_key(l->report, l->config, "auth.jwt.jwks", "auth.jwt.jwks: %s: %s", path,
                      strerror(errno));
}

static void make_tree(struct load *l) {
    struct bh_bytes text = {0};
    struct bh_json_error why;
    char *app = bh_config_app_environment(l->app, l->report);
    bh_free(l->app);
    l->app = app;
    write_tree(l, &text);
    if (bh_json_parse(bh_bytes_slice(&text), &l->config->tree, &why))
        bh_report_error(l->report, "%s: section app: %s", l->file, why.why);
    bh_bytes_free(&text);
}

static void store_all(struct load *l) {
    for (size_t i = 0; i < bh_config_key_count; i++)
        store(l->config, &bh_config_keys[i], l->values[i]);
}

static void begin(struct load *l) {
    l->values = bh_calloc(bh_config_key_count, sizeof *l->values);
    l->failed = bh_calloc(bh_config_key_count, sizeof *l->failed);
    l->config->places = bh_calloc(bh_config_key_count, sizeof *l->config->places);
    for (size_t i = 0; i < bh_config_key_count; i++)
        l->values[i] = bh_strdup(bh_config_keys[i].fallback);
}

static void end(struct load *l) {
    for (size_t i = 0; i < bh_config_key_count; i++)
        bh_free(l->values[i]);
    bh_free(l->values);
    bh_free(l->failed);
    bh_free(l->app);
    bh_bytes_free(&l->source);
}

int bh_config_load(struct bh_config *c, const char *file, const struct bh_config_option *options,
                   size_t option_count, struct bh_report *report) {
    *c = (struct bh_config){0};
    struct load l = {.config = c, .report = report, .file = file};
    size_t before = report->errors.count;
    begin(&l);
    bool readable = !file || read_file(&l);
    read_environment(&l);
    for (size_t i = 0; i < option_count; i++)
        read_option(&l, options, option_count, i);
    store_all(&l);
    bh_config_warn_of_unknown(report);
    if (readable) {
        read_public_key(&l);
        check_key_set(&l);
        bh_config_check_rules(c, l.failed, report);
        make_tree(&l);
    }
    end(&l);
    return report->errors.count > before ? BH_EINVAL : 0;
}

void bh_config_free(struct bh_config *c) {
    for (size_t i = 0; i < bh_config_key_count; i++) {
        void *at = (char *)c + bh_config_keys[i].offset;
        if (bh_config_keys[i].type == BH_CONFIG_STRING)
            bh_free(*(char **)at);
        else if (is_list(&bh_config_keys[i]))
            bh_strings_free(at);
        bh_free(c->places[i]);
    }
    bh_free(c->places);
    bh_json_free(c->tree);
}
