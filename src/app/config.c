/* config.c - one table of keys, four sources.
 *
 * A row of `keys` says everything about a key: path, type, where it goes, bounds, default. A source
 * yields values as JSON text, the rows check them and store them, and the last source wins. From
 * the same rows the tree is made that scripts see through bh.config. */
#include "config.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/suggest.h"
#include "bellhop/script/script.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum type { STRING, STRINGS, URLS, BOOL, COUNT, SECONDS };

struct key {
    const char *path;
    enum type type;
    size_t offset;
    double min, max;      /* of numbers */
    const char *fallback; /* JSON text */
    const char *choices;  /* of strings: "a|b", NULL: any */
};

#define AT(field) offsetof(struct bh_config, field)
#define MIB       (1024.0 * 1024.0)
#define DAY       86400.0

static const struct key keys[] = {
    {"server.listen", STRINGS, AT(listen), 0, 0, "[\"127.0.0.1:8080\"]", NULL},
    {"server.workers", COUNT, AT(workers), 0, 64, "0", NULL},
    {"server.instance", STRING, AT(instance), 0, 0, "\"\"", NULL},
    {"server.dev", BOOL, AT(dev), 0, 0, "false", NULL},
    {"server.drain_timeout", SECONDS, AT(drain_timeout), 0, 3600, "10", NULL},
    {"server.connections_max", COUNT, AT(connections_max), 0, 1e8, "0", NULL},
    {"server.connections_per_ip", COUNT, AT(connections_per_ip), 0, 1e8, "0", NULL},
    {"server.accepts_per_second", COUNT, AT(accepts_per_second), 0, 1e8, "50000", NULL},
    {"server.trusted_proxies", STRINGS, AT(trusted_proxies), 0, 0, "[]", NULL},
    {"server.backlog", COUNT, AT(backlog), 1, 65535, "1024", NULL},
    {"tls.certificates", STRINGS, AT(tls_certificates), 0, 0, "[]", NULL},
    {"tls.keys", STRINGS, AT(tls_keys), 0, 0, "[]", NULL},
    {"tls.min_version", STRING, AT(tls_min_version), 0, 0, "\"1.2\"", "1.2|1.3"},
    {"tls.ciphers", STRING, AT(tls_ciphers), 0, 0, "\"\"", NULL},
    {"tls.client_certificates", STRING, AT(tls_client_certificates), 0, 0, "\"none\"",
     "none|optional|required"},
    {"tls.client_ca", STRING, AT(tls_client_ca), 0, 0, "\"\"", NULL},
    {"tls.handshake_timeout", SECONDS, AT(tls_handshake_timeout), 0.05, 600, "10", NULL},
    {"tls.ticket_lifetime", SECONDS, AT(tls_ticket_lifetime), 0, 7 * DAY, "7200", NULL},
    {"tls.ticket_keys", STRINGS, AT(tls_ticket_keys), 0, 0, "[]", NULL},
    {"http.head_bytes", COUNT, AT(head_bytes), 256, MIB, "16384", NULL},
    {"http.body_bytes", COUNT, AT(body_bytes), 1, 1024 * MIB, "4194304", NULL},
    {"http.idle_timeout", SECONDS, AT(idle_timeout), 0.1, DAY, "75", NULL},
    {"http.request_timeout", SECONDS, AT(request_timeout), 0.1, DAY, "10", NULL},
    {"websocket.paths", STRINGS, AT(ws_paths), 0, 0, "[\"/ws\"]", NULL},
    {"websocket.message_bytes", COUNT, AT(message_bytes), 1, 1024 * MIB, "16777216", NULL},
    {"websocket.fragments", COUNT, AT(fragments), 1, 1e9, "100000", NULL},
    {"websocket.ping_interval", SECONDS, AT(ping_interval), 0.05, DAY, "25", NULL},
    {"websocket.pong_timeout", SECONDS, AT(pong_timeout), 0.05, DAY, "8", NULL},
    {"websocket.close_timeout", SECONDS, AT(close_timeout), 0.05, 3600, "5", NULL},
    {"websocket.handshake_timeout", SECONDS, AT(handshake_timeout), 0.05, 3600, "10", NULL},
    {"websocket.queue_bytes", COUNT, AT(queue_bytes), 1024, 1024 * MIB, "4194304", NULL},
    {"websocket.on_slow", STRING, AT(on_slow), 0, 0, "\"close\"", "close|drop_oldest|drop_newest"},
    {"websocket.connections_per_user", COUNT, AT(connections_per_user), 0, 1e8, "1000", NULL},
    {"websocket.connections_per_tenant", COUNT, AT(connections_per_tenant), 0, 1e8, "0", NULL},
    {"websocket.messages_per_second", COUNT, AT(messages_per_second), 0, 1e9, "50000", NULL},
    {"websocket.bytes_per_second", COUNT, AT(bytes_per_second), 0, 1e11, "67108864", NULL},
    {"websocket.control_per_second", COUNT, AT(control_per_second), 0, 1e9, "100", NULL},
    {"websocket.origins", STRINGS, AT(origins), 0, 0, "[]", NULL},
    {"websocket.compression", STRING, AT(compression), 0, 0, "\"no_takeover\"",
     "off|no_takeover|takeover"},
    {"websocket.compression_threshold", COUNT, AT(compression_threshold), 0, MIB, "1024", NULL},
    {"websocket.compression_level", COUNT, AT(compression_level), 1, 9, "1", NULL},
    {"websocket.compression_window_bits", COUNT, AT(compression_window_bits), 9, 15, "15", NULL},
    {"websocket.client_messages", STRING, AT(client_messages), 0, 0, "\"refuse\"", "refuse|ignore"},
    {"api.keys", STRINGS, AT(api_keys), 0, 0, "[]", NULL},
    {"api.cors_origins", STRINGS, AT(cors_origins), 0, 0, "[]", NULL},
    {"redis.url", URLS, AT(redis_urls), 0, 0, "[]", NULL},
    {"redis.channel_prefix", STRING, AT(channel_prefix), 0, 0, "\"notification:\"", NULL},
    {"redis.connect_timeout", SECONDS, AT(connect_timeout), 0.05, 600, "5", NULL},
    {"redis.command_timeout", SECONDS, AT(command_timeout), 0.05, 600, "5", NULL},
    {"redis.probe_interval", SECONDS, AT(probe_interval), 0.05, 600, "2", NULL},
    {"redis.publish_queue", COUNT, AT(publish_queue), 0, 1e6, "0", NULL},
    {"redis.publish_wait", SECONDS, AT(publish_wait), 0.05, 600, "5", NULL},
    {"redis.unsubscribe_linger", SECONDS, AT(unsubscribe_linger), 0, 3600, "5", NULL},
    {"fetch.timeout", SECONDS, AT(fetch_timeout), 0.05, 600, "5", NULL},
    {"fetch.connect_timeout", SECONDS, AT(fetch_connect_timeout), 0.05, 600, "3", NULL},
    {"fetch.max_bytes", COUNT, AT(fetch_max_bytes), 1, 64 * MIB, "1048576", NULL},
    {"fetch.per_host", COUNT, AT(fetch_per_host), 1, 10000, "32", NULL},
    {"fetch.total", COUNT, AT(fetch_total), 1, 10000, "256", NULL},
    {"fetch.queue", COUNT, AT(fetch_queue), 0, 1e6, "10000", NULL},
    {"fetch.ca_file", STRING, AT(fetch_ca_file), 0, 0, "\"\"", NULL},
    {"fetch.proxy", STRING, AT(fetch_proxy), 0, 0, "\"\"", NULL},
    {"fetch.no_proxy", STRING, AT(fetch_no_proxy), 0, 0, "\"\"", NULL},
    {"fetch.allow", STRINGS, AT(fetch_allow), 0, 0, "[]", NULL},
    {"fetch.deny", STRINGS, AT(fetch_deny), 0, 0, "[]", NULL},
    {"tracking.lease", SECONDS, AT(tracking_lease), 1, DAY, "300", NULL},
    {"tracking.debounce", SECONDS, AT(tracking_debounce), 0.05, 3600, "3", NULL},
    {"tracking.key_prefix", STRING, AT(tracking_key_prefix), 0, 0, "\"ws:\"", NULL},
    {"delivery.strategy", STRING, AT(strategy), 0, 0, "\"local_first\"",
     "local_first|redis|both|local"},
    {"delivery.payload_bytes", COUNT, AT(payload_bytes), 1, 512 * MIB, "4194304", NULL},
    {"delivery.seen_max", COUNT, AT(seen_max), 1, 1e8, "100000", NULL},
    {"delivery.seen_ttl", SECONDS, AT(seen_ttl), 1, DAY, "300", NULL},
    {"script.files", STRINGS, AT(script_files), 0, 0, "[]", NULL},
    {"script.trusted", BOOL, AT(trusted), 0, 0, "false", NULL},
    {"script.lua_dir", STRING, AT(lua_dir), 0, 0, "\"\"", NULL},
    {"script.cpu_limit", SECONDS, AT(cpu_limit), 0, 60, "0.05", NULL},
    {"script.memory_limit", COUNT, AT(memory_limit), 0, 1024.0 * 1024 * MIB, "268435456", NULL},
    {"script.hook_timeout", SECONDS, AT(hook_timeout), 0, 3600, "10", NULL},
    {"script.shared_memory", COUNT, AT(shared_memory), 0, 1024.0 * MIB, "67108864", NULL},
    {"script.max_tasks", COUNT, AT(max_tasks), 0, 1e7, "10000", NULL},
    {"auth.jwt.algorithms", STRINGS, AT(jwt_algorithms), 0, 0, "[\"HS256\"]", NULL},
    {"auth.jwt.secret", STRING, AT(jwt_secret), 0, 0, "\"\"", NULL},
    {"auth.jwt.public_key", STRING, AT(jwt_public_key), 0, 0, "\"\"", NULL},
    {"auth.jwt.jwks", STRING, AT(jwt_jwks), 0, 0, "\"\"", NULL},
    {"auth.jwt.issuer", STRING, AT(jwt_issuer), 0, 0, "\"\"", NULL},
    {"auth.jwt.audience", STRING, AT(jwt_audience), 0, 0, "\"\"", NULL},
    {"auth.jwt.leeway", COUNT, AT(jwt_leeway), 0, 3600, "0", NULL},
    {"auth.jwt.cookie", STRING, AT(jwt_cookie), 0, 0, "\"token\"", NULL},
    {"auth.jwt.user_claim", STRING, AT(user_claim), 0, 0, "\"sub\"", NULL},
    {"auth.jwt.tenant_claim", STRING, AT(tenant_claim), 0, 0, "\"tenant\"", NULL},
    {"log.level", STRING, AT(log_level), 0, 0, "\"info\"", "debug|info|warn|error|off"},
    {"log.format", STRING, AT(log_format), 0, 0, "\"logfmt\"", "logfmt|json"},
    {"log.target", STRING, AT(log_target), 0, 0, "\"stderr\"", "stderr|syslog"},
};
#define KEY_COUNT (sizeof keys / sizeof keys[0])

static bool is_list(const struct key *k) {
    return k->type == STRINGS || k->type == URLS;
}

/* --- the state of a load: each key's value as JSON text --- */

struct load {
    struct bh_config *config;
    char *values[KEY_COUNT];
    char *app; /* the free section, as JSON text */
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

static const struct key *find_key(const char *path) {
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strcmp(keys[i].path, path) == 0)
            return &keys[i];
    return NULL;
}

/* --- writing a tree back as text --- */

static void write_json(struct bh_bytes *out, const struct bh_json *node) {
    int64_t integer;
    switch (bh_json_type(node)) {
    case BH_JSON_STRING:
        bh_json_quote(out, bh_slice_cstr(bh_json_str(node)));
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
        write_json(out, c);
    }
    bh_bytes_addc(out, object ? '}' : ']');
}

static char *json_text(const struct bh_json *node) {
    struct bh_bytes out = {0};
    write_json(&out, node);
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

static const char *type_name(const struct key *k) {
    static const char *const names[] = {[STRING] = "a string",
                                        [STRINGS] = "a list of strings",
                                        [URLS] = "a URL, or a list of URLs",
                                        [BOOL] = "true or false",
                                        [COUNT] = "a whole number",
                                        [SECONDS] = "a number of seconds"};
    return names[k->type];
}

static bool is_choice(const struct key *k, const char *value) {
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

static bool fits(const struct key *k, const struct bh_json *node) {
    int64_t integer;
    enum bh_json_type type = bh_json_type(node);
    switch (k->type) {
    case STRING:
        return type == BH_JSON_STRING;
    case STRINGS:
    case URLS:
        return is_strings(node);
    case BOOL:
        return type == BH_JSON_TRUE || type == BH_JSON_FALSE;
    case COUNT:
        return type == BH_JSON_NUMBER && bh_json_is_int(node, &integer);
    case SECONDS:
        return type == BH_JSON_NUMBER;
    }
    return false;
}

/* `where` names the source: "bellhop.conf.lua:12" or "BELLHOP_REDIS_URL". */
static int check_value(struct load *l, const struct key *k, const struct bh_json *node,
                       const char *where) {
    if (!fits(k, node))
        return refuse(l, "%s: %s must be %s", where, k->path, type_name(k));
    if (k->choices && !is_choice(k, bh_json_str(node)))
        return refuse(l, "%s: %s must be one of %s", where, k->path, k->choices);
    if ((k->type == COUNT || k->type == SECONDS) &&
        (bh_json_num(node) < k->min || bh_json_num(node) > k->max))
        return refuse(l, "%s: %s must be between %g and %g", where, k->path, k->min, k->max);
    return 0;
}

/* --- the file --- */

/* The file's text and a NUL; just the NUL when it cannot be read. */
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

/* Lua tables do not know their lines: the first line on which the key's last name is assigned is
 * nearly always the one, and good enough to look at. */
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
    const char *words[KEY_COUNT + 1];
    char phrase[128];
    for (size_t i = 0; i < KEY_COUNT; i++)
        words[i] = keys[i].path;
    words[KEY_COUNT] = NULL;
    return refuse(l, "%s:%d: unknown key %s%s", l->file, line_of(l, path), path,
                  bh_suggest_phrase(path, words, phrase, sizeof phrase));
}

static bool is_section(const char *path) {
    size_t n = strlen(path);
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (strncmp(keys[i].path, path, n) == 0 && keys[i].path[n] == '.')
            return true;
    return false;
}

static int take_text(struct load *l, const struct key *k, const char *text, const char *where);

static int take_member(struct load *l, const char *prefix, const struct bh_json *node) {
    char path[256], where[512];
    snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", bh_json_name(node));
    if (strcmp(path, "app") == 0) {
        l->app = json_text(node);
        return 0;
    }
    const struct key *k = find_key(path);
    if (k) {
        snprintf(where, sizeof where, "%s:%d", l->file, line_of(l, path));
        if (k->type == URLS && bh_json_str(node))
            return take_text(l, k, bh_json_str(node), where);
        int error = check_value(l, k, node, where);
        if (error)
            return error;
        bh_free(l->values[k - keys]);
        l->values[k - keys] = json_text(node);
        return 0;
    }
    if (!is_section(path))
        return refuse_unknown(l, path);
    if (bh_json_type(node) != BH_JSON_OBJECT)
        return refuse(l, "%s:%d: %s must be a table", l->file, line_of(l, path), path);
    for (const struct bh_json *c = bh_json_child(node); c; c = bh_json_sibling(c)) {
        int error = take_member(l, path, c);
        if (error)
            return error;
    }
    return 0;
}

static int take_file(struct load *l) {
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
        rc = bh_json_name(c) ? take_member(l, "", c)
                             : refuse(l, "%s: must return a table of sections", l->file);
    bh_json_free(root);
    return rc;
}

/* --- environment and command line: text that takes the type of its key --- */

static bool begins_with_scheme(struct bh_slice s) {
    size_t n = 0;
    while (n < s.n && (isalpha((unsigned char)s.p[n]) || s.p[n] == '+'))
        n++;
    return n > 0 && bh_slice_starts(bh_slice(s.p + n, s.n - n), BH_SLICE("://"));
}

/* A URL may have commas inside (the hosts of Sentinels): the next one begins with its scheme. */
static struct bh_slice first_url(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == ',' && begins_with_scheme(bh_slice_trim(bh_slice(s.p + i + 1, s.n - i - 1))))
            return bh_slice(s.p, i);
    return s;
}

static bool next_part(const struct key *k, struct bh_slice *rest, struct bh_slice *part) {
    if (k->type != URLS)
        return bh_slice_split(rest, ',', part);
    if (rest->n == 0)
        return false;
    *part = first_url(*rest);
    size_t used = part->n < rest->n ? part->n + 1 : part->n;
    *rest = bh_slice(rest->p + used, rest->n - used);
    return true;
}

static char *text_to_json(const struct key *k, const char *text) {
    if (k->type == STRING)
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

static int take_text(struct load *l, const struct key *k, const char *text, const char *where) {
    char *json = text_to_json(k, text);
    struct bh_json *node = NULL;
    struct bh_json_error why;
    int error = bh_json_parse(bh_slice_cstr(json), &node, &why);
    if (error)
        error = refuse(l, "%s: %s must be %s", where, k->path, type_name(k));
    else
        error = check_value(l, k, node, where);
    bh_json_free(node);
    if (error) {
        bh_free(json);
        return error;
    }
    bh_free(l->values[k - keys]);
    l->values[k - keys] = json;
    return 0;
}

static void environment_name(const struct key *k, char *out, size_t cap) {
    size_t n = (size_t)snprintf(out, cap, "BELLHOP_%s", k->path);
    for (size_t i = 0; i < n && i < cap; i++)
        out[i] = out[i] == '.' ? '_' : (char)toupper((unsigned char)out[i]);
}

static int take_environment(struct load *l) {
    for (size_t i = 0; i < KEY_COUNT; i++) {
        char name[128];
        environment_name(&keys[i], name, sizeof name);
        const char *text = getenv(name);
        int error = text ? take_text(l, &keys[i], text, name) : 0;
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

static void store(struct bh_config *c, const struct key *k, const char *text) {
    void *to = (char *)c + k->offset;
    struct bh_json *node = NULL;
    struct bh_json_error why;
    if (bh_json_parse(bh_slice_cstr(text), &node, &why))
        abort(); /* checked when it was taken */
    switch (k->type) {
    case STRING:
        *(char **)to = bh_strdup(bh_json_str(node));
        break;
    case STRINGS:
    case URLS:
        store_strings(to, node);
        break;
    case BOOL:
        *(bool *)to = bh_json_type(node) == BH_JSON_TRUE;
        break;
    case COUNT:
        *(uint64_t *)to = (uint64_t)bh_json_num(node);
        break;
    case SECONDS:
        *(uint64_t *)to = (uint64_t)llround(bh_json_num(node) * 1000);
        break;
    }
    bh_json_free(node);
}

/* The rows are sorted by section, so the tree can be written in one pass: leave the old section,
 * enter the new one. */
static void write_tree(struct load *l, struct bh_bytes *out) {
    const char *section = "";
    size_t section_len = 0;
    bh_bytes_adds(out, "{");
    for (size_t i = 0; i < KEY_COUNT; i++) {
        const char *path = keys[i].path, *dot = strchr(path, '.');
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
    const struct key *k = find_key("auth.jwt.public_key");
    struct bh_config *c = l->config;
    struct bh_bytes pem = {0};
    if (!*c->jwt_public_key || strncmp(c->jwt_public_key, "-----BEGIN", 10) == 0)
        return 0;
    read_text(c->jwt_public_key, &pem);
    if (strncmp(pem.p, "-----BEGIN", 10) != 0) {
        bh_bytes_free(&pem);
        return refuse(l, "auth.jwt.public_key: %s is no readable PEM file (nor PEM text)",
                      c->jwt_public_key);
    }
    bh_free(l->values[k - keys]);
    l->values[k - keys] = quoted(pem.p);
    bh_free(c->jwt_public_key);
    c->jwt_public_key = pem.p;
    return 0;
}

/* Scripts get the path and read the file again when it changes; here only its absence is told. */
static int check_key_set(struct load *l) {
    const char *path = l->config->jwt_jwks;
    if (!*path || access(path, R_OK) == 0)
        return 0;
    return refuse(l, "auth.jwt.jwks: %s: %s", path, strerror(errno));
}

static int finish(struct load *l) {
    struct bh_bytes text = {0};
    struct bh_json_error why;
    for (size_t i = 0; i < KEY_COUNT; i++)
        store(l->config, &keys[i], l->values[i]);
    if (read_public_key(l) || check_key_set(l))
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
    for (size_t i = 0; i < KEY_COUNT; i++)
        l.values[i] = bh_strdup(keys[i].fallback);
    int rc = file ? take_file(&l) : 0;
    if (!rc)
        rc = take_environment(&l);
    for (size_t i = 0; i < option_count && !rc; i++)
        rc = take_text(&l, find_key(options[i].path), options[i].value, "command line");
    if (!rc)
        rc = finish(&l);
    if (rc)
        *error = bh_strndup(l.error.p, l.error.len);
    for (size_t i = 0; i < KEY_COUNT; i++)
        bh_free(l.values[i]);
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
    for (size_t i = 0; i < KEY_COUNT; i++) {
        void *at = (char *)c + keys[i].offset;
        if (keys[i].type == STRING)
            bh_free(*(char **)at);
        else if (is_list(&keys[i]))
            bh_strings_free(at);
    }
    bh_json_free(c->tree);
}
