/* config_environment.c - reads the whole environment.
 *
 * The names of the section `app` are the user's, so they are found by comparison: the path
 * "app.push.key" has the name BELLHOP_APP_PUSH_KEY. Several paths may have the same name; then all
 * are set. Kubernetes sets variables for each service, named after it, and a service is often
 * called like its program: these are told in one line. */
#include "config_environment.h"

#include "bellhop/base/mem.h"
#include "bellhop/base/suggest.h"
#include "config_keys.h"
#include "config_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PREFIX     "BELLHOP_"
#define APP_PREFIX PREFIX "APP_"
#define MAX        256 /* bytes of a name; a longer one is not the name of a key */

/* Splits the next variable that begins with the prefix; `at` starts at environ. */
static const char *next_variable(char ***at, const char *prefix, char name[MAX]) {
    for (; **at; ++*at) {
        size_t n = strcspn(**at, "=");
        if (strncmp(**at, prefix, strlen(prefix)) != 0 || n >= MAX || (**at)[n] != '=')
            continue;
        snprintf(name, MAX, "%.*s", (int)n, **at);
        const char *value = **at + n + 1;
        ++*at;
        return value;
    }
    return NULL;
}

/* --- the section app --- */

struct app {
    struct bh_bytes out;
    struct bh_report *report;
    struct bh_strings used; /* names of variables that have set something */
};

static bool is_used(const struct app *a, const char *name) {
    for (size_t i = 0; i < a->used.count; i++)
        if (strcmp(a->used.items[i], name) == 0)
            return true;
    return false;
}

/* "BELLHOP_APP" and the path of its members so far. */
static void add_name(struct bh_bytes *name, const char *member) {
    bh_bytes_addc(name, '_');
    for (; *member; member++)
        bh_bytes_addc(name, isalnum((unsigned char)*member) ? (char)toupper((unsigned char)*member)
                                                            : '_');
}

static bool is_strings(const struct bh_json *node) {
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c))
        if (!bh_json_str(c))
            return false;
    return bh_json_type(node) == BH_JSON_ARRAY || !bh_json_child(node);
}

static const char *wanted(const struct bh_json *node) {
    switch (bh_json_type(node)) {
    case BH_JSON_NUMBER:
        return "a number";
    case BH_JSON_TRUE:
    case BH_JSON_FALSE:
        return "true or false";
    default:
        return "set in the file: it is a table there";
    }
}

static bool is_like(const struct bh_json *node, const struct bh_json *value) {
    enum bh_json_type type = bh_json_type(value);
    if (bh_json_type(node) == BH_JSON_NUMBER)
        return type == BH_JSON_NUMBER;
    return (bh_json_type(node) == BH_JSON_TRUE || bh_json_type(node) == BH_JSON_FALSE) &&
           (type == BH_JSON_TRUE || type == BH_JSON_FALSE);
}

/* Without the line end of the file that it came from. */
static char *chomped(const char *value) {
    struct bh_slice text = bh_slice_chomp(bh_slice_cstr(value));
    return bh_strndup(text.p, text.n);
}

/* The text as a value of the node's type; NULL: it is none. */
static char *converted(const struct bh_json *node, const char *text) {
    struct bh_json *value = NULL;
    struct bh_json_error why;
    if (bh_json_type(node) == BH_JSON_STRING)
        return bh_config_text_quoted(text);
    if (bh_json_type(node) >= BH_JSON_ARRAY)
        return is_strings(node) ? bh_config_text_list(text, false) : NULL;
    if (bh_json_parse(bh_slice_cstr(text), &value, &why))
        return NULL;
    char *result = is_like(node, value) ? bh_config_text_of(value, false) : NULL;
    bh_json_free(value);
    return result;
}

static void add_value(struct app *a, const struct bh_json *node, const char *name) {
    const char *given = getenv(name);
    char *text = given ? chomped(given) : NULL;
    char *value = text ? converted(node, text) : bh_config_text_of(node, false);
    if (text)
        bh_strings_add(&a->used, bh_strdup(name));
    if (!value)
        bh_report_error(a->report, "%s: must be %s", name, wanted(node));
    bh_bytes_adds(&a->out, value ? value : "null");
    bh_free(value);
    bh_free(text);
}

static void add_member(struct app *a, const struct bh_json *node, struct bh_bytes *name);

static void add_members(struct app *a, const struct bh_json *object, struct bh_bytes *name) {
    for (const struct bh_json *c = bh_json_child(object); c; c = bh_json_sibling(c)) {
        if (c != bh_json_child(object))
            bh_bytes_addc(&a->out, ',');
        bh_json_quote(&a->out, bh_slice_cstr(bh_json_name(c)));
        bh_bytes_addc(&a->out, ':');
        add_member(a, c, name);
    }
}

static void add_member(struct app *a, const struct bh_json *node, struct bh_bytes *name) {
    size_t before = name->len;
    add_name(name, bh_json_name(node));
    bh_bytes_addc(name, '\0');
    bool set = getenv(name->p) != NULL;
    if (bh_json_type(node) == BH_JSON_OBJECT && bh_json_child(node) && !set) {
        name->len--;
        bh_bytes_addc(&a->out, '{');
        add_members(a, node, name);
        bh_bytes_addc(&a->out, '}');
    } else {
        add_value(a, node, name->p);
    }
    name->len = before;
}

/* What the file does not have, as strings at the top. */
static void add_new(struct app *a, bool first) {
    char **at = environ, name[MAX];
    const char *value;
    while ((value = next_variable(&at, APP_PREFIX, name))) {
        char *key = name + strlen(APP_PREFIX);
        if (!*key || is_used(a, name))
            continue;
        for (char *p = key; *p; p++)
            *p = (char)tolower((unsigned char)*p);
        if (!first)
            bh_bytes_addc(&a->out, ',');
        first = false;
        bh_json_quote(&a->out, bh_slice_cstr(key));
        bh_bytes_addc(&a->out, ':');
        bh_json_quote(&a->out, bh_slice_chomp(bh_slice_cstr(value)));
    }
}

static bool sets_app(void) {
    char **at = environ, name[MAX];
    return next_variable(&at, APP_PREFIX, name) != NULL;
}

char *bh_config_app_environment(const char *app, struct bh_report *report) {
    struct app a = {.report = report};
    struct bh_bytes name = {0};
    struct bh_json *root = NULL;
    struct bh_json_error why;
    app = app ? app : "{}";
    if (!sets_app() || bh_json_parse(bh_slice_cstr(app), &root, &why))
        return bh_strdup(app);
    if (bh_json_type(root) != BH_JSON_OBJECT && bh_json_child(root)) {
        bh_json_free(root);
        bh_report_error(report, APP_PREFIX "*: app is not a table with names in the file");
        return bh_strdup(app);
    }
    bh_bytes_adds(&name, "BELLHOP_APP");
    bh_bytes_addc(&a.out, '{');
    add_members(&a, root, &name);
    add_new(&a, bh_json_child(root) == NULL);
    bh_bytes_addc(&a.out, '}');
    bh_bytes_addc(&a.out, '\0');
    bh_json_free(root);
    bh_bytes_free(&name);
    bh_strings_free(&a.used);
    return a.out.p;
}

/* --- unknown variables --- */

static bool is_key(const char *name) {
    char known[BH_CONFIG_NAME_MAX];
    for (size_t i = 0; i < bh_config_key_count; i++) {
        bh_config_environment_name(&bh_config_keys[i], known);
        if (strcmp(known, name) == 0)
            return true;
    }
    return false;
}

static bool begins_with(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* A service `bellhop` gives BELLHOP_SERVICE_HOST, BELLHOP_SERVICE_PORT, BELLHOP_SERVICE_PORT_HTTP,
 * BELLHOP_PORT=tcp://10.0.0.1:80, BELLHOP_PORT_80_TCP, BELLHOP_PORT_80_TCP_ADDR and so on. */
static bool is_of_kubernetes(const char *name, const char *value) {
    static const char *const protocols[] = {"tcp://", "udp://", "sctp://"};
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (begins_with(value, protocols[i]))
            return true;
    const char *port = strstr(name, "_PORT_");
    return ends_with(name, "_SERVICE_HOST") || strstr(name, "_SERVICE_PORT") ||
           (port && isdigit((unsigned char)port[strlen("_PORT_")]));
}

/* A key whose section was forgotten, BELLHOP_WORKERS, else the nearest name. */
static const char *suggest(const char *name, const char *const *known) {
    const char *found = NULL, *rest = name + strlen("BELLHOP");
    for (size_t i = 0; known[i]; i++) {
        size_t section = strcspn(bh_config_keys[i].path, ".");
        if (strcmp(known[i] + strlen(PREFIX) + section, rest) != 0)
            continue;
        if (found)
            return NULL;
        found = known[i];
    }
    return found ? found : bh_suggest(name, known);
}

static void warn(struct bh_report *report, const char *name) {
    char(*names)[BH_CONFIG_NAME_MAX] = bh_calloc(bh_config_key_count, sizeof *names);
    const char **known = bh_calloc(bh_config_key_count + 1, sizeof *known);
    for (size_t i = 0; i < bh_config_key_count; i++) {
        bh_config_environment_name(&bh_config_keys[i], names[i]);
        known[i] = names[i];
    }
    const char *word = suggest(name, known);
    if (word)
        bh_report_warning(report, "%s: unknown variable, ignored; did you mean %s?", name, word);
    else
        bh_report_warning(report,
                          "%s: unknown variable, ignored; keys are BELLHOP_<SECTION>_<KEY>, and "
                          "BELLHOP_APP_X sets app.x for scripts",
                          name);
    bh_free(known);
    bh_free(names);
}

void bh_config_warn_of_unknown(struct bh_report *report) {
    char **at = environ, name[MAX], first[MAX] = "";
    const char *value;
    size_t of_kubernetes = 0;
    while ((value = next_variable(&at, PREFIX, name))) {
        if (is_key(name) || (begins_with(name, APP_PREFIX) && name[strlen(APP_PREFIX)]))
            continue;
        if (!is_of_kubernetes(name, value))
            warn(report, name);
        else if (of_kubernetes++ == 0)
            snprintf(first, sizeof first, "%s", name);
    }
    if (of_kubernetes)
        bh_report_warning(report,
                          "%s and %zu more: unknown variables, ignored; Kubernetes sets them for a "
                          "service (enableServiceLinks: false leaves them out)",
                          first, of_kubernetes - 1);
}
