/* edge_config.c - from configuration keys to the edge's settings: addresses, lists, limits, TLS. */
#include "app.h"

#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#define LISTEN       "server.listen"
#define ADMIN_LISTEN "server.admin_listen"

static bool take_prefix(struct bh_slice *text, struct bh_slice prefix) {
    if (!bh_slice_starts(*text, prefix))
        return false;
    *text = bh_slice(text->p + prefix.n, text->n - prefix.n);
    return true;
}

/* "[proxy:][tls:]ADDRESS" */
static int read_address(const struct bh_config *c, const char *item, struct bh_edge_listen *out,
                        char **error) {
    struct bh_slice text = bh_slice_cstr(item);
    const char *key = out->admin ? ADMIN_LISTEN : LISTEN, *why = NULL;
    out->proxy = take_prefix(&text, BH_SLICE("proxy:"));
    out->tls = take_prefix(&text, BH_SLICE("tls:"));
    if (bh_addr_parse(text, &out->address, &why))
        return bh_error_set(error, "%s: %s: %s", key, item, why);
    if (c->dev && !bh_addr_is_loopback(&out->address))
        return bh_error_set(error,
                            "%s: %s: with --dev only loopback addresses are allowed, because it "
                            "needs no keys; use 127.0.0.1 or [::1]",
                            key, item);
    if (out->tls && c->tls_certificates.count == 0)
        return bh_error_set(error, "%s: %s: needs a certificate: set tls.certificates and tls.keys",
                            key, item);
    if (out->proxy && c->trusted_proxies.count == 0)
        return bh_error_set(error,
                            "%s: %s: accepts connections from proxies only: list them in "
                            "server.trusted_proxies",
                            key, item);
    return 0;
}

/* Two listeners of ours could share a port, and each would get some of the connections. Port 0 is
 * another port each time. */
static bool is_same(const struct bh_addr *a, const struct bh_addr *b) {
    char first[BH_ADDR_TEXT_MAX], second[BH_ADDR_TEXT_MAX];
    bh_addr_format(a, first);
    bh_addr_format(b, second);
    return strcmp(first, second) == 0 && (a->sa.sa_family == AF_UNIX || bh_addr_port(a) != 0);
}

static int check_unique(const struct bh_app_edge *e, const struct bh_edge_listen *last,
                        char **error) {
    char address[BH_ADDR_TEXT_MAX];
    for (size_t i = 0; i < e->listen_count; i++) {
        if (!is_same(&e->listen[i].address, &last->address))
            continue;
        bh_addr_format(&last->address, address);
        return bh_error_set(error, "%s: %s: the address is already in %s",
                            last->admin ? ADMIN_LISTEN : LISTEN, address,
                            e->listen[i].admin ? ADMIN_LISTEN : LISTEN);
    }
    return 0;
}

static int add_addresses(const struct bh_config *c, const struct bh_strings *list, bool admin,
                         struct bh_app_edge *out, char **error) {
    for (size_t i = 0; i < list->count; i++) {
        struct bh_edge_listen *l = &out->listen[out->listen_count];
        l->admin = admin;
        if (read_address(c, list->items[i], l, error) || check_unique(out, l, error))
            return BH_EINVAL;
        out->listen_count++;
    }
    return 0;
}

static int read_addresses(const struct bh_config *c, struct bh_app_edge *out, char **error) {
    if (c->listen.count == 0)
        return bh_error_set(error, "server.listen: no address");
    out->listen = bh_calloc(c->listen.count + c->admin_listen.count, sizeof *out->listen);
    int rc = add_addresses(c, &c->listen, false, out, error);
    return rc ? rc : add_addresses(c, &c->admin_listen, true, out, error);
}

static int read_trusted(const struct bh_config *c, struct bh_app_edge *out, char **error) {
    const struct bh_strings *list = &c->trusted_proxies;
    const char *why = NULL;
    out->trusted = bh_calloc(list->count + 1, sizeof *out->trusted);
    for (size_t i = 0; i < list->count; i++)
        if (bh_cidr_parse(bh_slice_cstr(list->items[i]), &out->trusted[i], &why))
            return bh_error_set(error, "server.trusted_proxies: %s: %s", list->items[i], why);
    out->config.trusted = out->trusted;
    out->config.trusted_count = list->count;
    return 0;
}

static int read_patterns(const char *key, const struct bh_strings *list,
                         const struct bh_slice *more, size_t more_count, struct bh_slice **out,
                         size_t *count, char **error) {
    const char *why = NULL;
    *out = bh_calloc(list->count + more_count + 1, sizeof **out);
    for (; *count < list->count; (*count)++) {
        (*out)[*count] = bh_slice_cstr(list->items[*count]);
        if (bh_edge_check_origin((*out)[*count], &why))
            return bh_error_set(error, "%s: %s: %s", key, list->items[*count], why);
    }
    for (size_t i = 0; i < more_count; i++)
        (*out)[(*count)++] = more[i];
    return 0;
}

static int read_origins(const struct bh_config *c, struct bh_app_edge *out, char **error) {
    /* With --dev: pages from this machine. Not "null", which any page can have in a sandboxed
     * frame. */
    static const struct bh_slice dev[] = {BH_SLICE("localhost:*"), BH_SLICE("*.localhost:*"),
                                          BH_SLICE("127.0.0.1:*"), BH_SLICE("[::1]:*"),
                                          BH_SLICE("file://")};
    struct bh_edge_config *e = &out->config;
    e->origin_required = c->origins.count > 0;
    int rc =
        read_patterns("websocket.origins", &c->origins, dev, c->dev ? sizeof dev / sizeof *dev : 0,
                      &out->origins, &e->origin_count, error);
    if (!rc)
        rc = read_patterns("api.cors_origins", &c->cors_origins, NULL, 0, &out->cors,
                           &e->cors_count, error);
    e->origins = out->origins;
    e->cors = out->cors;
    return rc;
}

static int read_paths(const struct bh_config *c, struct bh_app_edge *out, char **error) {
    const struct bh_strings *list = &c->ws_paths;
    const char *why = NULL;
    if (list->count == 0)
        return bh_error_set(error, "websocket.paths: no path; the default is {\"/ws\"}");
    out->ws_paths = bh_calloc(list->count, sizeof *out->ws_paths);
    for (size_t i = 0; i < list->count; i++) {
        out->ws_paths[i] = bh_slice_cstr(list->items[i]);
        if (bh_path_check(out->ws_paths[i], &why))
            return bh_error_set(error, "websocket.paths: %s: %s", list->items[i], why);
    }
    out->config.ws_paths = out->ws_paths;
    out->config.ws_path_count = list->count;
    return 0;
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

static int check_deflate(const struct bh_config *c, char **error) {
    if (c->compression_max == 0 || c->compression_max >= c->compression_threshold)
        return 0;
    return bh_error_set(error, "websocket.compression_max: is below compression_threshold, so "
                               "nothing would be compressed; that is compression = \"off\"");
}

static void set_rest(const struct bh_config *c, struct bh_app_edge *out) {
    struct bh_edge_config *e = &out->config;
    out->api_keys = bh_calloc(c->api_keys.count + 1, sizeof *out->api_keys);
    for (size_t i = 0; i < c->api_keys.count; i++)
        out->api_keys[i] = bh_slice_cstr(c->api_keys.items[i]);
    e->api_keys = out->api_keys;
    e->api_key_count = c->api_keys.count;
    e->backlog = (int)c->backlog;
    e->dev = c->dev;
    e->client_messages_refused = strcmp(c->client_messages, "refuse") == 0;
}

int bh_app_edge_config(const struct bh_config *c, struct bh_app_edge *out, char **error) {
    *out = (struct bh_app_edge){0};
    set_limits(c, &out->config);
    set_deflate(c, &out->config);
    set_rest(c, out);
    int rc = check_deflate(c, error);
    if (!rc)
        rc = read_addresses(c, out, error);
    if (!rc)
        rc = read_trusted(c, out, error);
    if (!rc)
        rc = read_paths(c, out, error);
    return rc ? rc : read_origins(c, out, error);
}

void bh_app_edge_free(struct bh_app_edge *e) {
    bh_free(e->listen);
    bh_free(e->api_keys);
    bh_free(e->origins);
    bh_free(e->ws_paths);
    bh_free(e->cors);
    bh_free(e->trusted);
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
    return bh_tls_new(&config, previous, out, error);
}
