/* settings.c - the settings of all layers, and what can only be checked on the machine that serves.
 */
#include "app.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/listener.h"

#include <string.h>

static void read_tls(const struct bh_config *c, struct bh_tls **out, struct bh_report *report) {
    char *error = NULL;
    if (bh_app_tls(c, NULL, out, &error)) {
        char *key = bh_strndup(error, strcspn(error, ":"));
        bh_report_key(report, c, key, "%s", error);
        bh_free(key);
    }
    bh_free(error);
}

const char *bh_app_explain_listen(int error) {
    switch (error) {
    case BH_EEXIST:
        return "the address is in use";
    case BH_EDENIED:
        return "permission denied";
    case BH_EUNAVAIL:
        return "address not available: this machine has no such address";
    case BH_ENOTFOUND:
        return "no such directory";
    default:
        return bh_strerror(error);
    }
}

static void check_addresses(const struct bh_config *c, const struct bh_app_edge *e,
                            bool may_be_in_use, struct bh_report *report) {
    char address[BH_ADDR_TEXT_MAX];
    for (size_t i = 0; i < e->listen_count; i++) {
        const char *key = e->listen[i].admin ? "server.admin_listen" : "server.listen";
        int error = bh_listener_probe(&e->listen[i].address);
        if (!error || (error == BH_EEXIST && may_be_in_use))
            continue;
        bh_addr_format(&e->listen[i].address, address);
        bh_report_key(report, c, key, "%s: %s: %s", key, address, bh_app_explain_listen(error));
    }
}

int bh_app_settings_init(struct bh_app_settings *s, const struct bh_config *config,
                         const char *instance, bool may_be_in_use, struct bh_report *report) {
    size_t before = report->errors.count;
    s->tls = NULL;
    bh_app_edge_config(config, &s->edge);
    bh_app_redis_config(config, instance, &s->redis, report);
    bh_app_fetch_config(config, &s->fetch, report);
    bh_app_history_config(config, &s->history);
    read_tls(config, &s->tls, report);
    check_addresses(config, &s->edge, may_be_in_use, report);
    return report->errors.count > before ? BH_EINVAL : 0;
}

void bh_app_settings_free(struct bh_app_settings *s) {
    bh_app_edge_free(&s->edge);
    bh_app_redis_free(&s->redis);
    bh_app_fetch_free(&s->fetch);
    bh_tls_unref(s->tls);
}
