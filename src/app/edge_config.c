/* edge_config.c - from configuration keys to the edge's settings: addresses, lists, limits, TLS.
 * bh_config_load has checked the values. */
#include "app.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"
#include "listen_address.h"

static void add_addresses(const struct bh_strings *list, bool admin, struct bh_app_edge *out) {
    const char *why;
    for (size_t i = 0; i < list->count; i++) {
        struct bh_edge_listen *l = &out->listen[out->listen_count++];
        l->admin = admin;
        bh_listen_address_parse(bh_slice_cstr(list->items[i]), l, &why);
    }
}

static void read_addresses(const struct bh_config *c, struct bh_app_edge *out) {
    out->listen = bh_calloc(c->listen.count + c->admin_listen.count + 1, sizeof *out->listen);
    add_addresses(&c->listen, false, out);
    add_addresses(&c->admin_listen, true, out);
}

static void read_trusted(const struct bh_config *c, struct bh_app_edge *out) {
    const struct bh_strings *list = &c->trusted_proxies;
    const char *why;
    out->trusted = bh_calloc(list->count + 1, sizeof *out->trusted);
    for (size_t i = 0; i < list->count; i++)
        bh_cidr_parse(bh_slice_cstr(list->items[i]), &out->trusted[i], &why);
    out->config.trusted = out->trusted;
    out->config.trusted_count = list->count;
}

static struct bh_slice *read_list(const struct bh_strings *list, const struct bh_slice *more,
                                  size_t more_count, size_t *count) {
    struct bh_slice *out = bh_calloc(list->count + more_count + 1, sizeof *out);
    for (size_t i = 0; i < list->count; i++)
        out[(*count)++] = bh_slice_cstr(list->items[i]);
    for (size_t i = 0; i < more_count; i++)
        out[(*count)++] = more[i];
    return out;
}

static void read_lists(const struct bh_config *c, struct bh_app_edge *out) {
    /* With --dev: pages from this machine. Not "null", which any page can have in a sandboxed
     * frame. */
    static const struct bh_slice dev[] = {BH_SLICE("localhost:*"), BH_SLICE("*.localhost:*"),
                                          BH_SLICE("127.0.0.1:*"), BH_SLICE("[::1]:*"),
                                          BH_SLICE("file://")};
    struct bh_edge_config *e = &out->config;
    e->origin_required = c->origins.count > 0;
    e->origins = out->origins =
        read_list(&c->origins, dev, c->dev ? sizeof dev / sizeof *dev : 0, &e->origin_count);
    e->cors = out->cors = read_list(&c->cors_origins, NULL, 0, &e->cors_count);
    e->api_keys = out->api_keys = read_list(&c->api_keys, NULL, 0, &e->api_key_count);
    e->ws_paths = out->ws_paths = read_list(&c->ws_paths, NULL, 0, &e->ws_path_count);
    e->sse_paths = out->sse_paths = read_list(&c->sse_paths, NULL, 0, &e->sse_path_count);
}

static int find_choice(const char *value, const char *const *choices) {
    int i = 0;
    while (choices[i] && strcmp(choices[i], value) != 0)
        i++;
    return i;
}

static void set_limits(const struct bh_config *c, struct bh_edge_config *e) {
    static const char *const slow[] = {
        [BH_SLOW_CLOSE] = "close",
        [BH_SLOW_DROP_OLDEST] = "drop_oldest",
        [BH_SLOW_DROP_NEWEST] = "drop_newest",
        NULL,
    };
    e->http_head_bytes = c->head_bytes;
    e->http_body_bytes = c->body_bytes;
    e->http_idle_ms = c->idle_timeout;
    e->http_request_ms = c->request_timeout;
    e->tls_handshake_ms = c->tls_handshake_timeout;
    e->handshake_ms = c->handshake_timeout;
    e->message_bytes = c->message_bytes;
    e->message_timeout_ms = c->message_timeout;
    e->fragments = (uint32_t)c->fragments;
    e->ping_interval_ms = c->ping_interval;
    e->pong_timeout_ms = c->pong_timeout;
    e->close_timeout_ms = c->close_timeout;
    e->sse_retry_ms = c->sse_retry;
    e->connections_max = c->connections_max;
    e->connections_per_ip = c->connections_per_ip;
    e->connections_per_user = c->connections_per_user;
    e->connections_per_tenant = c->connections_per_tenant;
    e->accepts_per_second = c->accepts_per_second;
    e->messages_per_second = c->messages_per_second;
    e->bytes_per_second = c->bytes_per_second;
    e->control_per_second = c->control_per_second;
    e->queue_bytes = c->queue_bytes;
    e->on_slow = (enum bh_slow)find_choice(c->on_slow, slow);
}

static void set_deflate(const struct bh_config *c, struct bh_edge_config *e) {
    static const char *const modes[] = {
        [BH_WS_DEFLATE_OFF] = "off",
        [BH_WS_DEFLATE_NO_TAKEOVER] = "no_takeover",
        [BH_WS_DEFLATE_TAKEOVER] = "takeover",
        NULL,
    };
    e->deflate.mode = (enum bh_ws_deflate_mode)find_choice(c->compression, modes);
    e->deflate.level = (uint8_t)c->compression_level;
    e->deflate.window_bits = (uint8_t)c->compression_window_bits;
    e->deflate_threshold = c->compression_threshold;
    e->deflate_max = c->compression_max;
}

void bh_app_edge_config(const struct bh_config *c, struct bh_app_edge *out) {
    *out = (struct bh_app_edge){0};
    set_limits(c, &out->config);
    set_deflate(c, &out->config);
    out->config.backlog = (int)c->backlog;
    out->config.dev = c->dev;
    out->config.client_messages_refused = strcmp(c->client_messages, "refuse") == 0;
    read_addresses(c, out);
    read_trusted(c, out);
    read_lists(c, out);
}

void bh_app_edge_free(struct bh_app_edge *e) {
    bh_free(e->listen);
    bh_free(e->api_keys);
    bh_free(e->origins);
    bh_free(e->ws_paths);
    bh_free(e->sse_paths);
    bh_free(e->cors);
    bh_free(e->trusted);
}

/* An error of TLS begins with the name of a file. */
static const char *key_of_file(const struct bh_config *c, const char *error) {
    const struct bh_strings client_ca = {(char **)&c->tls_client_ca, *c->tls_client_ca ? 1 : 0};
    const struct {
        const char *key;
        const struct bh_strings *files;
    } keys[] = {{"tls.certificates", &c->tls_certificates},
                {"tls.keys", &c->tls_keys},
                {"tls.client_ca", &client_ca},
                {"tls.ticket_keys", &c->tls_ticket_keys}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        for (size_t j = 0; j < keys[i].files->count; j++) {
            size_t n = strlen(keys[i].files->items[j]);
            if (strncmp(error, keys[i].files->items[j], n) == 0 && error[n] == ':')
                return keys[i].key;
        }
    return strncmp(error, "ciphers", 7) == 0 ? "tls.ciphers" : "tls.certificates";
}

static int fail_tls(const struct bh_config *c, char *why, char **error) {
    bh_error_set(error, "%s: %s", key_of_file(c, why), why);
    bh_free(why);
    return BH_EINVAL;
}

int bh_app_tls(const struct bh_config *c, const struct bh_tls *previous, struct bh_tls **out,
               char **error) {
    static const char *const clients[] = {
        [BH_TLS_CLIENT_NONE] = "none",
        [BH_TLS_CLIENT_OPTIONAL] = "optional",
        [BH_TLS_CLIENT_REQUIRED] = "required",
        NULL,
    };
    if (c->tls_certificates.count == 0)
        return 0;
    struct bh_tls_config config = {
        .certificates = c->tls_certificates.items,
        .certificate_count = c->tls_certificates.count,
        .keys = c->tls_keys.items,
        .key_count = c->tls_keys.count,
        .only_tls13 = strcmp(c->tls_min_version, "1.3") == 0,
        .ciphers = c->tls_ciphers,
        .client = (enum bh_tls_client)find_choice(c->tls_client_certificates, clients),
        .client_ca = c->tls_client_ca,
        .ticket_lifetime_ms = c->tls_ticket_lifetime,
        .ticket_keys = c->tls_ticket_keys.items,
        .ticket_key_count = c->tls_ticket_keys.count,
    };
    char *why = NULL;
    return bh_tls_new(&config, previous, out, &why) ? fail_tls(c, why, error) : 0;
}
