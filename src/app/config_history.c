/* config_history.c - see the header. The fields of a rule are a table, as the keys are. */
#include "config_history.h"

#include "bellhop/base/error.h"
#include "bellhop/base/suggest.h"

#include <math.h>
#include <stdio.h>

#define DAY              86400.0
#define POSITION_DEFAULT (30 * DAY)

struct reading {
    bh_config_rule_cb mistake;
    void *ud;
    size_t rule; /* that is read */
    bool failed;
    char text[512];
};

static void fail(struct reading *r, const char *key) {
    r->failed = true;
    r->mistake(r->ud, r->rule, key, r->text);
}

#define FAIL(r, key, ...) (snprintf((r)->text, sizeof(r)->text, __VA_ARGS__), fail(r, key))

/* --- patterns --- */

static const struct bh_slice spaces[] = {BH_SLICE("user:"), BH_SLICE("tenant:"), BH_SLICE("topic:"),
                                         BH_SLICE("all")};

static struct bh_slice after(struct bh_slice s, size_t n) {
    return bh_slice(s.p + n, s.n - n);
}

/* Whether a topic's name can begin with it. */
static bool begins_a_name(struct bh_slice prefix) {
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
        if (bh_slice_starts(spaces[i], prefix) || (i < 3 && bh_slice_starts(prefix, spaces[i])))
            return true;
    return false;
}

/* "user", "user:" */
static bool is_name_space(struct bh_slice pattern) {
    for (size_t i = 0; i < 3; i++)
        if (bh_slice_starts(spaces[i], pattern) && pattern.n + 1 >= spaces[i].n)
            return true;
    return false;
}

/* "notification:tenant:7" is the channel of "tenant:7". */
static void suggest_topic_of_channel(struct reading *r, struct bh_slice pattern) {
    struct bh_slice rest = after(pattern, strlen(BH_CHANNEL_PREFIX));
    if (bh_slice_eq(rest, BH_SLICE("broadcast")))
        FAIL(r, "topic", "%.*s is a channel; write \"all\"", BH_SLICE_ARG(pattern));
    else
        FAIL(r, "topic", "%.*s is a channel; write \"%s%.*s\"", BH_SLICE_ARG(pattern),
             bh_slice_starts(rest, spaces[1]) || bh_slice_starts(rest, spaces[2]) ? "" : "user:",
             BH_SLICE_ARG(rest));
}

static void suggest_topic(struct reading *r, struct bh_slice pattern) {
    static const char *const words[] = {"user:", "tenant:", "topic:", "all", NULL};
    char space[32];
    struct bh_slice rest = pattern, head;
    if (bh_slice_starts(pattern, BH_SLICE(BH_CHANNEL_PREFIX))) {
        suggest_topic_of_channel(r, pattern);
        return;
    }
    if (is_name_space(pattern)) {
        FAIL(r, "topic", "%.*s is not the name of a topic; write \"%.*s%s*\"",
             BH_SLICE_ARG(pattern), BH_SLICE_ARG(pattern),
             memchr(pattern.p, ':', pattern.n) ? "" : ":");
        return;
    }
    if (bh_slice_eq(pattern, BH_SLICE("broadcast"))) {
        FAIL(r, "topic", "broadcasts are the topic \"all\"");
        return;
    }
    if (!memchr(pattern.p, ':', pattern.n)) {
        FAIL(r, "topic",
             "%.*s is not the name of a topic; write \"user:%.*s\", \"tenant:%.*s\" or "
             "\"topic:%.*s\"",
             BH_SLICE_ARG(pattern), BH_SLICE_ARG(pattern), BH_SLICE_ARG(pattern),
             BH_SLICE_ARG(pattern));
        return;
    }
    bh_slice_split(&rest, ':', &head);
    snprintf(space, sizeof space, "%.*s:", head.n < 30 ? (int)head.n : 30, head.p);
    const char *near = bh_suggest(space, words);
    if (near && strchr(near, ':') && strcmp(near, space) != 0)
        FAIL(r, "topic", "%.*s is not the name of a topic; did you mean \"%s%.*s\"?",
             BH_SLICE_ARG(pattern), near, BH_SLICE_ARG(rest));
    else
        FAIL(r, "topic",
             "%.*s is not the name of a topic, which is user:ID, tenant:ID, topic:ID or all; a "
             "pattern is a name, or ends in *",
             BH_SLICE_ARG(pattern));
}

static void read_pattern(struct reading *r, struct bh_slice pattern, struct bh_history_rule *out) {
    struct bh_topic ignored;
    out->prefix = pattern.n > 0 && pattern.p[pattern.n - 1] == '*';
    out->pattern = bh_slice(pattern.p, pattern.n - out->prefix);
    if (pattern.n == 0)
        FAIL(r, "topic", "topic is empty; \"user:*\" are all users, \"*\" is every topic");
    else if (bh_slice_control(pattern) < pattern.n)
        FAIL(r, "topic", "topic has a control character");
    else if (memchr(out->pattern.p, '*', out->pattern.n))
        FAIL(r, "topic", "%.*s: a * is allowed at the end only", BH_SLICE_ARG(pattern));
    else if (out->prefix ? !begins_a_name(out->pattern)
                         : bh_topic_parse(out->pattern, &ignored) != 0)
        suggest_topic(r, pattern);
}

/* --- fields --- */

static const char *const names[] = {"topic", "size", "ttl",      "position_ttl",
                                    "bytes", "mode", "revision", NULL};

/* The default when it is absent. */
static double number(struct reading *r, const struct bh_json *rule, const char *name, bool whole,
                     double min, double max, double otherwise) {
    const struct bh_json *node = bh_json_get(rule, name);
    int64_t integer;
    if (!node)
        return otherwise;
    if (bh_json_type(node) != BH_JSON_NUMBER || (whole && !bh_json_is_int(node, &integer)))
        FAIL(r, name, "%s must be %s", name, whole ? "a whole number" : "a number of seconds");
    else if (bh_json_num(node) < min || bh_json_num(node) > max)
        FAIL(r, name, "%s must be between %.15g and %.15g", name, min, max);
    else
        return bh_json_num(node);
    return otherwise;
}

static uint64_t milliseconds(double seconds) {
    return (uint64_t)llround(seconds * 1000);
}

static void read_times(struct reading *r, const struct bh_json *rule, struct bh_history_rule *out) {
    double ttl = number(r, rule, "ttl", false, 0.1, 3650 * DAY, DAY);
    double least = 2 * ttl > POSITION_DEFAULT ? 2 * ttl : POSITION_DEFAULT;
    double position = number(r, rule, "position_ttl", false, 0.2, 7300 * DAY, least);
    if (position < 2 * ttl)
        FAIL(r, "position_ttl",
             "position_ttl must be at least twice ttl, %.15g; the default is 2592000, or twice ttl "
             "if that is more",
             2 * ttl);
    out->ttl_ms = milliseconds(ttl);
    out->position_ttl_ms = milliseconds(position);
}

static void read_mode(struct reading *r, const struct bh_json *rule, struct bh_history_rule *out) {
    const struct bh_json *node = bh_json_get(rule, "mode");
    const char *mode = node ? bh_json_str(node) : "log";
    out->latest = mode && strcmp(mode, "latest") == 0;
    if (!mode || (!out->latest && strcmp(mode, "log") != 0))
        FAIL(r, "mode", "mode must be one of log|latest");
    if (!out->latest)
        return;
    if (bh_json_get(rule, "size") && out->size != 1)
        FAIL(r, "size", "size: mode \"latest\" keeps one message; leave size out");
    out->size = 1;
}

static void read_names(struct reading *r, const struct bh_json *rule) {
    char phrase[128];
    for (const struct bh_json *c = bh_json_child(rule); c; c = bh_json_sibling(c)) {
        const char *const *known = names;
        while (*known && strcmp(*known, bh_json_name(c)) != 0)
            known++;
        if (!*known)
            FAIL(r, bh_json_name(c), "unknown key %.200s%s", bh_json_name(c),
                 bh_suggest_phrase(bh_json_name(c), names, phrase, sizeof phrase));
    }
}

static void read_rule(struct reading *r, const struct bh_json *rule, struct bh_history_rule *out) {
    const struct bh_json *topic = bh_json_get(rule, "topic");
    *out = (struct bh_history_rule){0};
    if (bh_json_type(rule) != BH_JSON_OBJECT) {
        FAIL(r, NULL, "a rule is a table: { topic = \"user:*\", size = 100, ttl = 86400 }");
        return;
    }
    read_names(r, rule);
    if (!topic)
        FAIL(r, NULL, "topic is missing; \"user:*\" are all users");
    else if (!bh_json_str(topic))
        FAIL(r, "topic", "topic must be a string");
    else
        read_pattern(r, bh_slice_cstr(bh_json_str(topic)), out);
    out->size = (uint32_t)number(r, rule, "size", true, 1, 100000, 100);
    out->bytes = (uint64_t)number(r, rule, "bytes", true, 1024, 536870912, 1048576);
    out->revision = (uint32_t)number(r, rule, "revision", true, 1, UINT32_MAX, 1);
    read_times(r, rule, out);
    read_mode(r, rule, out);
}

/* --- the list --- */

static bool covers(const struct bh_history_rule *a, const struct bh_history_rule *b) {
    if (a->prefix)
        return bh_slice_starts(b->pattern, a->pattern);
    return !b->prefix && bh_slice_eq(a->pattern, b->pattern);
}

/* Only rules whose pattern is good have one. */
static void check_reached(struct reading *r, const struct bh_history_rule *rules) {
    const struct bh_history_rule *own = &rules[r->rule];
    for (size_t i = 0; i < r->rule && !r->failed; i++) {
        const struct bh_history_rule *a = &rules[i];
        if (!a->size || !covers(a, own))
            continue;
        if (a->prefix == own->prefix && a->pattern.n == own->pattern.n)
            FAIL(r, "topic", "rule %zu has the same topic", i + 1);
        else
            FAIL(r, "topic", "is never used, because rule %zu (%.*s*) matches first; put it before",
                 i + 1, BH_SLICE_ARG(a->pattern));
    }
}

bool bh_config_history_is_list(const struct bh_json *list) {
    return bh_json_type(list) == BH_JSON_ARRAY ||
           (bh_json_type(list) == BH_JSON_OBJECT && !bh_json_child(list)); /* Lua's empty table */
}

size_t bh_config_history_read(const struct bh_json *list, struct bh_history_rule *out,
                              bh_config_rule_cb mistake, void *ud) {
    struct reading r = {.mistake = mistake, .ud = ud};
    size_t good = 0;
    for (const struct bh_json *c = bh_json_child(list); c; c = bh_json_sibling(c), r.rule++) {
        if (r.rule == BH_HISTORY_RULES_MAX) {
            FAIL(&r, NULL, "at most %d rules are allowed", BH_HISTORY_RULES_MAX);
            break;
        }
        r.failed = false;
        read_rule(&r, c, &out[r.rule]);
        check_reached(&r, out);
        if (r.failed)
            out[r.rule].size = 0; /* nothing is compared with it */
        good += !r.failed;
    }
    return good;
}
