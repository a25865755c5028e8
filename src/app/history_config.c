/* history_config.c - from the section `history` to the rules of the core, and the history itself.
 * bh_config_load has checked the rules. */
#include "app.h"

#include "bellhop/backend/memory.h"
#include "bellhop/base/mem.h"
#include "config_history.h"

#include <stdio.h>

static const struct bh_json *rules_of(const struct bh_json *tree) {
    return bh_json_get(bh_json_get(tree, "history"), "rules");
}

void bh_app_history_config(const struct bh_config *config, struct bh_app_history *out) {
    *out = (struct bh_app_history){0};
    if (config->tree)
        out->config.rule_count =
            bh_config_history_read(rules_of(config->tree), out->rules, NULL, NULL);
    out->config.rules = out->rules;
    out->config.window_bytes = config->history_window_bytes;
    out->config.recover_wait_ms = config->history_recover_wait;
    out->config.ids_ms = config->seen_ttl;
    out->config.min_replicas = (unsigned)config->history_min_replicas;
    out->memory_bytes = config->history_memory_bytes;
}

static void on_mistake(void *ud, size_t rule, const char *key, const char *text) {
    char **error = ud, line[640];
    if (*error)
        return;
    snprintf(line, sizeof line, "config: history, rule %zu: %s", rule + 1, text);
    *error = bh_strdup(line);
}

size_t bh_app_history_rules(const struct bh_json *tree, struct bh_history_rule *out, char **error) {
    const struct bh_json *rules = rules_of(tree);
    if (!rules)
        return 0;
    if (!bh_config_history_is_list(rules)) {
        *error = bh_strdup("config: history.rules must be a list");
        return 0;
    }
    return bh_config_history_read(rules, out, on_mistake, error);
}

struct bh_history *bh_app_history_new(const struct bh_app_settings *settings,
                                      struct bh_broker *broker, unsigned workers) {
    const struct bh_app_history *h = &settings->history;
    if (h->config.rule_count == 0)
        return NULL;
    if (settings->redis.count == 0)
        return bh_memory_history_new(&h->config, broker, h->memory_bytes);
    return bh_redis_history_new(broker, &h->config, workers);
}
