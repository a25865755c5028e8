/* config_keys.h - every configuration key: its name, type, bounds, default, and what it does.
 *
 * config.c reads values by this table, and docs/configuration.md is generated from it. Constant;
 * any thread. */
#ifndef BELLHOP_SRC_APP_CONFIG_KEYS_H
#define BELLHOP_SRC_APP_CONFIG_KEYS_H

#include <stddef.h>

enum bh_config_type {
    BH_CONFIG_STRING,
    BH_CONFIG_STRINGS,
    BH_CONFIG_URLS, /* as STRINGS; a single URL needs no list */
    BH_CONFIG_BOOL,
    BH_CONFIG_COUNT,
    BH_CONFIG_BYTES,
    BH_CONFIG_AUTO_BYTES, /* "auto" is stored as BH_CONFIG_AUTO */
    BH_CONFIG_SECONDS,    /* stored as milliseconds */
    BH_CONFIG_RULES,      /* of `history`; in the tree only, see config_history.h */
};

struct bh_config_key {
    const char *path; /* "redis.url" */
    enum bh_config_type type;
    size_t offset;        /* in struct bh_config */
    double min, max;      /* of numbers */
    const char *fallback; /* the default, as JSON text */
    const char *choices;  /* of strings: "a|b"; NULL: any */
    const char *what;     /* what it does, in Markdown */
};

/* Sorted by section. */
extern const struct bh_config_key bh_config_keys[];
extern const size_t bh_config_key_count;

/* NULL: no such key. */
const struct bh_config_key *bh_config_find_key(const char *path);
/* "BELLHOP_REDIS_URL" */
#define BH_CONFIG_NAME_MAX 128
void bh_config_environment_name(const struct bh_config_key *key, char out[BH_CONFIG_NAME_MAX]);

#endif
