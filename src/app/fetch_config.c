/* fetch_config.c - from configuration keys to the settings of the scripts' HTTP client. */
#include "app.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

static int read_list(const char *key, const struct bh_strings *list, struct bh_cidr **out,
                     char **error) {
    const char *why = NULL;
    *out = bh_calloc(list->count + 1, sizeof **out);
    for (size_t i = 0; i < list->count; i++)
        if (bh_cidr_parse(bh_slice_cstr(list->items[i]), &(*out)[i], &why))
            return bh_error_set(error, "%s: %s: %s", key, list->items[i], why);
    return 0;
}

int bh_app_fetch_config(const struct bh_config *c, struct bh_app_fetch *out, char **error) {
    *out = (struct bh_app_fetch){.config = {.timeout_ms = c->fetch_timeout,
                                            .connect_timeout_ms = c->fetch_connect_timeout,
                                            .max_bytes = (size_t)c->fetch_max_bytes,
                                            .per_host = (unsigned)c->fetch_per_host,
                                            .total = (unsigned)c->fetch_total,
                                            .queue = (size_t)c->fetch_queue,
                                            .ca_file = c->fetch_ca_file,
                                            .proxy = c->fetch_proxy,
                                            .no_proxy = c->fetch_no_proxy,
                                            .allow_count = c->fetch_allow.count,
                                            .deny_count = c->fetch_deny.count}};
    if (read_list("fetch.allow", &c->fetch_allow, &out->allow, error) ||
        read_list("fetch.deny", &c->fetch_deny, &out->deny, error))
        return BH_EINVAL;
    out->config.allow = out->allow;
    out->config.deny = out->deny;
    return bh_http_config_check(&out->config, error);
}

void bh_app_fetch_free(struct bh_app_fetch *f) {
    bh_free(f->allow);
    bh_free(f->deny);
}
