/* fetch_config.c - from configuration keys to the settings of the scripts' HTTP client.
 * bh_config_load has checked the values. */
#include "app.h"

#include "bellhop/base/mem.h"

static struct bh_cidr *read_list(const struct bh_strings *list) {
    const char *why;
    struct bh_cidr *out = bh_calloc(list->count + 1, sizeof *out);
    for (size_t i = 0; i < list->count; i++)
        bh_cidr_parse(bh_slice_cstr(list->items[i]), &out[i], &why);
    return out;
}

void bh_app_fetch_config(const struct bh_config *c, struct bh_app_fetch *out,
                         struct bh_report *report) {
    char *error = NULL;
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
    out->config.allow = out->allow = read_list(&c->fetch_allow);
    out->config.deny = out->deny = read_list(&c->fetch_deny);
    if (bh_http_config_check(&out->config, &error))
        bh_report_key(report, c, "fetch.ca_file", "%s", error);
    bh_free(error);
}

void bh_app_fetch_free(struct bh_app_fetch *f) {
    bh_free(f->allow);
    bh_free(f->deny);
}
