/* bind_metrics.c - bh.metrics.counter, gauge, histogram: what a script counts appears in /metrics.
 *
 * A metric is declared while the script is loaded, with its name, its help and the names of its
 * labels; each combination of label values is a series, bounded in number, because values that come
 * from clients would grow without end. Metrics belong to the process: all workers and generations
 * that declare the same one count together. One lock guards them, held for one addition. */
#include "bind/bind.h"
#include "lua/args.h"
#include "lua/class.h"
#include "run/state.h"

#include "bellhop/base/error.h"
#include "bellhop/base/map.h"
#include "bellhop/base/mem.h"
#include "bellhop/base/metrics.h"
#include "bellhop/base/prometheus.h"

#include <math.h>
#include <pthread.h>

#define METRIC_MT    "bellhop.metric"
#define METRICS_MAX  200
#define SERIES_MAX   1000
#define LABELS_MAX   8
#define NAME_LEN_MAX 128
#define VALUE_MAX    256

enum type { COUNTER, GAUGE, HISTOGRAM };
static const char *const type_names[] = {"counter", "gauge", "histogram"};

static const double bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                0.25,  0.5,    1,     2.5,  5,     10};
#define BOUNDS (sizeof bounds / sizeof *bounds)

struct series {
    double value; /* of a histogram: the sum */
    uint64_t buckets[BOUNDS + 1];
    size_t len;
    char labels[]; /* a="x",b="y", escaped */
};

struct metric {
    enum type type;
    char *name, *help;
    size_t label_count;
    char *labels[LABELS_MAX];
    struct bh_map series;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *metrics[METRICS_MAX];
static size_t metric_count;

static struct bh_slice key_of(const void *value) {
    const struct series *s = value;
    return bh_slice(s->labels, s->len);
}

/* --- /metrics --- */

static void render(struct bh_bytes *out) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < metric_count; i++) {
        const struct metric *m = metrics[i];
        size_t cursor = 0;
        bh_prometheus_describe(out, m->name, type_names[m->type], m->help);
        for (const struct series *s; (s = bh_map_next(&m->series, &cursor));) {
            if (m->type == HISTOGRAM)
                bh_prometheus_histogram(out, m->name, key_of(s), bounds, s->buckets, BOUNDS,
                                        s->value);
            else
                bh_prometheus_double(out, m->name, key_of(s), s->value);
        }
    }
    pthread_mutex_unlock(&lock);
}

/* --- declaring --- */

static bool is_name(const char *name) {
    size_t n = strlen(name);
    if (n == 0 || n > NAME_LEN_MAX || (*name >= '0' && *name <= '9'))
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == n;
}

static struct metric *find(const char *name) {
    for (size_t i = 0; i < metric_count; i++)
        if (strcmp(metrics[i]->name, name) == 0)
            return metrics[i];
    return NULL;
}

static bool is_same(const struct metric *a, const struct metric *b) {
    bool same = a->type == b->type && a->label_count == b->label_count;
    for (size_t i = 0; same && i < a->label_count; i++)
        same = strcmp(a->labels[i], b->labels[i]) == 0;
    return same;
}

/* A metric without labels appears at once, with the value 0. */
static void add_empty_series(struct metric *m) {
    bh_map_put(&m->series, bh_calloc(1, sizeof(struct series)));
}

/* Copies a new metric. NULL and *why: not possible. */
static struct metric *declare(const struct metric *wanted, const char **why) {
    struct metric *m = find(wanted->name);
    if (m && !is_same(m, wanted)) {
        *why = "already declared with another type or other labels; restart to change it";
        return NULL;
    }
    if (m)
        return m;
    if (metric_count == METRICS_MAX) {
        *why = "too many metrics: at most 200";
        return NULL;
    }
    if (metric_count == 0)
        bh_metrics_add_source(render);
    m = metrics[metric_count++] = bh_calloc(1, sizeof *m);
    *m = *wanted;
    m->name = bh_strdup(wanted->name);
    m->help = bh_strdup(wanted->help);
    for (size_t i = 0; i < m->label_count; i++)
        m->labels[i] = bh_strdup(wanted->labels[i]);
    bh_map_init(&m->series, key_of);
    if (m->label_count == 0)
        add_empty_series(m);
    return m;
}

static void read_labels(lua_State *L, struct metric *m) {
    if (lua_isnoneornil(L, 3))
        return;
    luaL_checktype(L, 3, LUA_TTABLE);
    size_t n = lua_rawlen(L, 3);
    luaL_argcheck(L, n <= LABELS_MAX, 3, "at most 8 labels");
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, 3, (lua_Integer)i + 1);
        const char *label = lua_tostring(L, -1);
        luaL_argcheck(L, label && is_name(label) && strcmp(label, "le") != 0, 3,
                      "labels are a list of names: letters, digits and _");
        m->labels[m->label_count++] = (char *)label; /* the table keeps it alive */
        lua_pop(L, 1);
    }
}

static int new_metric(lua_State *L, enum type type) {
    const char *why = NULL;
    struct metric wanted = {.type = type};
    wanted.name = (char *)luaL_checkstring(L, 1);
    wanted.help = (char *)luaL_optstring(L, 2, "");
    luaL_argcheck(L, is_name(wanted.name) && strncmp(wanted.name, "bellhop_", 8) != 0, 1,
                  "a name of letters, digits and _, which does not begin with bellhop_");
    luaL_argcheck(L, !strpbrk(wanted.help, "\n\\"), 2, "help is one line of plain text");
    if (bh_script_of(L)->started)
        return luaL_error(L,
                          "bh.metrics.%s: declare metrics while the script is loaded, outside "
                          "of hooks",
                          type_names[type]);
    read_labels(L, &wanted);
    struct metric **m = lua_newuserdatauv(L, sizeof(struct metric *), 0);
    pthread_mutex_lock(&lock);
    *m = declare(&wanted, &why);
    pthread_mutex_unlock(&lock);
    if (!*m)
        return luaL_error(L, "bh.metrics.%s(\"%s\"): %s", type_names[type], wanted.name, why);
    luaL_setmetatable(L, METRIC_MT);
    return 1;
}

static int metrics_counter(lua_State *L) {
    return new_metric(L, COUNTER);
}

static int metrics_gauge(lua_State *L) {
    return new_metric(L, GAUGE);
}

static int metrics_histogram(lua_State *L) {
    return new_metric(L, HISTOGRAM);
}

/* --- counting --- */

/* The label values are the arguments from 3, in the order of the label names. */
static struct bh_slice read_values(lua_State *L, const struct metric *m) {
    struct bh_bytes *out = &bh_script_of(L)->scratch;
    int given = lua_gettop(L) - 2;
    if (given < 0)
        given = 0;
    if ((size_t)given != m->label_count)
        luaL_error(L, "%s has %d labels, but %d values were given", m->name, (int)m->label_count,
                   given);
    bh_bytes_clear(out);
    for (size_t i = 0; i < m->label_count; i++) {
        struct bh_slice value = bh_check_slice(L, 3 + (int)i);
        if (value.n > VALUE_MAX)
            value.n = VALUE_MAX;
        bh_prometheus_label(out, m->labels[i], value);
    }
    return bh_bytes_slice(out);
}

/* The caller holds the lock. NULL: too many series. */
static struct series *series_of(struct metric *m, struct bh_slice labels) {
    struct series *s = bh_map_get(&m->series, labels);
    if (s || m->series.count >= SERIES_MAX)
        return s;
    s = bh_calloc(1, sizeof *s + labels.n);
    s->len = labels.n;
    if (labels.n)
        memcpy(s->labels, labels.p, labels.n);
    bh_map_put(&m->series, s);
    return s;
}

static void apply(const struct metric *m, struct series *s, double n, bool set) {
    size_t bucket = 0;
    s->value = set ? n : s->value + n;
    if (m->type != HISTOGRAM)
        return;
    while (bucket < BOUNDS && n > bounds[bucket])
        bucket++;
    s->buckets[bucket]++;
}

static int count(lua_State *L, enum type of, const char *method, double n, bool set) {
    struct metric *m = *(struct metric **)luaL_checkudata(L, 1, METRIC_MT);
    if (m->type != of && !(of == COUNTER && m->type == GAUGE))
        return luaL_error(L, "%s is a %s, which has no method %s", m->name, type_names[m->type],
                          method);
    luaL_argcheck(L, isfinite(n) && (m->type != COUNTER || n >= 0), 2,
                  m->type == COUNTER ? "a counter cannot decrease" : "a finite number");
    struct bh_slice labels = read_values(L, m);
    pthread_mutex_lock(&lock);
    struct series *s = series_of(m, labels);
    if (s)
        apply(m, s, n, set);
    pthread_mutex_unlock(&lock);
    return s ? bh_push_result(L, 0)
             : bh_push_error(L, "too many label values: at most 1000 series per metric");
}

static int metric_inc(lua_State *L) {
    return count(L, COUNTER, "inc", luaL_optnumber(L, 2, 1), false);
}

static int metric_set(lua_State *L) {
    return count(L, GAUGE, "set", luaL_checknumber(L, 2), true);
}

static int metric_observe(lua_State *L) {
    return count(L, HISTOGRAM, "observe", luaL_checknumber(L, 2), false);
}

static const luaL_Reg methods[] = {
    {"inc", metric_inc}, {"set", metric_set}, {"observe", metric_observe}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"counter", metrics_counter},
                                     {"gauge", metrics_gauge},
                                     {"histogram", metrics_histogram},
                                     {NULL, NULL}};

void bh_bind_metrics(lua_State *L) {
    bh_class_new_methods(L, METRIC_MT, methods);
    bh_set_module(L, "metrics", functions);
}
