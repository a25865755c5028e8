/* fetch.c - the fetch port: calls, their queues, and their ends.
 *
 * A call waits in the queue of its host until the host has fewer than per_host calls active and all
 * hosts together fewer than total. Hosts are served round-robin, so that a slow host does not delay
 * the others. libcurl gets only calls that may be sent: with its own limits it would search all
 * waiting transfers whenever one ends.
 *
 * A call ends in one of three ways: its transfer (reported by the driver at the end of a tick), its
 * timer, or cancel. It is first removed from all lists and from libcurl, then the next call is
 * sent, and only then `done` is called, which may start and cancel other calls. The transfer of a
 * cancelled call is no longer in libcurl, so it is not reported.
 *
 * Thread: the loop's. The call is owned here, from `call` to its end. */
#include "bellhop/base/error.h"
#include "bellhop/base/mem.h"

#include "internal.h"

#include <pthread.h>
#include <stdio.h>

/* --- hosts --- */

static struct bh_slice host_key(const void *value) {
    return ((const struct bh_http_host *)value)->key;
}

static struct bh_http_host *get_host(struct bh_http *h, const struct bh_http_call *c) {
    struct bh_bytes key = {0};
    bh_http_request_key(c, &key);
    struct bh_http_host *host = bh_map_get(&h->hosts, bh_bytes_slice(&key));
    if (!host) {
        host = bh_calloc(1, sizeof *host + key.len);
        char *at = (char *)(host + 1);
        host->key = bh_slice_pack(&at, bh_bytes_slice(&key));
        bh_list_init(&host->in_round_robin);
        bh_list_init(&host->waiting);
        bh_map_put(&h->hosts, host);
    }
    bh_bytes_free(&key);
    return host;
}

/* After its queue or its count has changed: in the round-robin list, or not, or freed. */
static void update_host(struct bh_http *h, struct bh_http_host *host) {
    bool waits = !bh_list_empty(&host->waiting);
    if (waits && host->active < h->config.per_host) {
        if (bh_list_empty(&host->in_round_robin))
            bh_list_append(&h->round_robin, &host->in_round_robin);
        return;
    }
    bh_list_unlink(&host->in_round_robin);
    if (waits || host->active)
        return;
    bh_map_remove(&h->hosts, host->key);
    bh_free(host);
}

/* --- sending --- */

static void send_call(struct bh_http_call *c) {
    struct bh_http *h = c->http;
    bh_list_append(&h->active, &c->node);
    h->active_count++;
    c->host->active++;
    bh_metric_inc(&bh_http_metrics[BH_HTTP_ACTIVE]);
    if (curl_multi_add_handle(h->driver.multi, bh_http_request_open(c, &h->config)))
        abort(); /* out of memory, or the handle is in a multi handle already */
}

static void send_next(struct bh_http *h) {
    while (h->active_count < h->config.total && !bh_list_empty(&h->round_robin)) {
        struct bh_http_host *host =
            BH_CONTAINER_OF(bh_list_shift(&h->round_robin), struct bh_http_host, in_round_robin);
        struct bh_list *first = bh_list_shift(&host->waiting);
        h->waiting_count--;
        bh_metric_add(&bh_http_metrics[BH_HTTP_WAITING], -1);
        send_call(BH_CONTAINER_OF(first, struct bh_http_call, node));
        update_host(h, host);
    }
}

/* --- ends --- */

/* Removes it from all lists and from libcurl; the caller frees it. */
static void detach(struct bh_http_call *c) {
    struct bh_http *h = c->http;
    bh_slots_remove(&h->calls, c->handle);
    bh_timer_cancel(&c->timer);
    bh_list_unlink(&c->node);
    if (c->easy) {
        long connects = 0;
        curl_easy_getinfo(c->easy, CURLINFO_NUM_CONNECTS, &connects);
        bh_metric_add(&bh_http_metrics[BH_HTTP_CONNECTIONS], connects);
        curl_multi_remove_handle(h->driver.multi, c->easy);
        h->active_count--;
        c->host->active--;
        bh_metric_add(&bh_http_metrics[BH_HTTP_ACTIVE], -1);
    } else {
        h->waiting_count--;
        bh_metric_add(&bh_http_metrics[BH_HTTP_WAITING], -1);
    }
    update_host(h, c->host);
    c->host = NULL;
}

static void free_call(struct bh_http_call *c) {
    bh_http_request_free(c);
    bh_http_response_free(c);
    bh_free(c);
}

static void fail_call(struct bh_http_call *c, int error, const char *why) {
    bool timeout = error == BH_ETIMEDOUT;
    bh_metric_inc(&bh_http_metrics[timeout ? BH_HTTP_TIMEOUT : BH_HTTP_FAILED]);
    detach(c);
    send_next(c->http);
    c->done(c->ud, c->waiter, error, why, NULL);
    free_call(c);
}

static void complete_call(struct bh_http_call *c) {
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    bh_metric_inc(&bh_http_metrics[BH_HTTP_OK]);
    detach(c);
    send_next(c->http);
    struct bh_header *headers = bh_http_response_headers(c);
    struct bh_fetch_response response = {(int)status, headers, c->field_count,
                                         bh_bytes_slice(&c->answer)};
    c->done(c->ud, c->waiter, 0, NULL, &response);
    bh_free(headers);
    free_call(c);
}

static void end_transfer(struct bh_http_call *c, CURLcode result) {
    char why[BH_HTTP_WHY_MAX];
    if (result == CURLE_OK)
        complete_call(c);
    else
        fail_call(c, bh_http_explain(c, result, why), why);
}

static void on_ended(struct bh_http_driver *d) {
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(d->multi, &left))) {
        struct bh_http_call *c = NULL;
        CURLcode result = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &c);
        end_transfer(c, result);
    }
}

static void on_timeout(struct bh_timer *t) {
    fail_call(BH_CONTAINER_OF(t, struct bh_http_call, timer), BH_ETIMEDOUT, "timeout");
}

static void cancel(struct bh_fetch *f, bh_handle call) {
    struct bh_http *h = (struct bh_http *)f;
    struct bh_http_call *c = bh_slots_get(&h->calls, call);
    if (!c)
        return;
    bh_metric_inc(&bh_http_metrics[BH_HTTP_CANCELLED]);
    detach(c);
    free_call(c);
    send_next(h);
}

/* --- calls --- */

static bool has_room(const struct bh_http *h, const struct bh_http_host *host) {
    return h->waiting_count < h->config.queue ||
           (h->active_count < h->config.total && host->active < h->config.per_host);
}

static bh_handle refuse(struct bh_http_call *c, int error, const char *why) {
    bh_metric_inc(&bh_http_metrics[BH_HTTP_REFUSED]);
    c->done(c->ud, c->waiter, error, why, NULL);
    free_call(c);
    return 0;
}

static void enqueue(struct bh_http_call *c, const struct bh_fetch_request *r) {
    struct bh_http *h = c->http;
    c->handle = bh_slots_add(&h->calls, c);
    if (!c->max_bytes)
        c->max_bytes = h->config.max_bytes;
    bh_timer_set(&c->timer, r->timeout_ms ? r->timeout_ms : h->config.timeout_ms);
    bh_list_append(&c->host->waiting, &c->node);
    h->waiting_count++;
    bh_metric_inc(&bh_http_metrics[BH_HTTP_WAITING]);
    update_host(h, c->host);
}

static bh_handle call(struct bh_fetch *f, const struct bh_fetch_request *r, bh_fetch_cb done,
                      void *ud, bh_handle waiter) {
    struct bh_http *h = (struct bh_http *)f;
    struct bh_http_call *c = bh_calloc(1, sizeof *c);
    char why[BH_HTTP_WHY_MAX];
    c->http = h;
    c->done = done;
    c->ud = ud;
    c->waiter = waiter;
    bh_list_init(&c->node);
    bh_timer_init(&c->timer, h->driver.loop, on_timeout);
    if (bh_http_request_take(c, r, why))
        return refuse(c, BH_EINVAL, why);
    c->host = get_host(h, c);
    if (!has_room(h, c->host)) {
        update_host(h, c->host);
        return refuse(c, BH_EAGAIN, "too many requests are queued");
    }
    enqueue(c, r);
    bh_handle handle = c->handle;
    send_next(h);
    return handle;
}

/* --- life --- */

static void init_curl(void) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        abort();
}

static const struct bh_fetch_vt vt = {call, cancel};

struct bh_fetch *bh_http_fetch_new(const struct bh_http_config *config, struct bh_loop *loop) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct bh_http *h = bh_calloc(1, sizeof *h);
    h->base.vt = &vt;
    h->config = *config;
    bh_slots_init(&h->calls);
    bh_map_init(&h->hosts, host_key);
    bh_list_init(&h->round_robin);
    bh_list_init(&h->active);
    bh_http_driver_init(&h->driver, loop, on_ended);
    /* Idle connections count too: libcurl closes one to connect to another host. */
    curl_multi_setopt(h->driver.multi, CURLMOPT_MAXCONNECTS, (long)config->total);
    curl_multi_setopt(h->driver.multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)config->total);
    return &h->base;
}

void bh_http_fetch_free(struct bh_fetch *f) {
    struct bh_http *h = (struct bh_http *)f;
    struct bh_http_call *c;
    uint32_t cursor = 0;
    if (!h)
        return;
    while ((c = bh_slots_next(&h->calls, &cursor))) {
        detach(c);
        free_call(c);
    }
    bh_http_driver_deinit(&h->driver);
    bh_slots_deinit(&h->calls);
    bh_map_deinit(&h->hosts);
    bh_free(h);
}

/* --- configuration --- */

static int config_error(char **error, const char *file, const char *what) {
    struct bh_bytes text = {0};
    bh_bytes_addf(&text, "fetch.ca_file: %s: %s", file, what);
    *error = bh_strndup(text.p, text.len);
    bh_bytes_free(&text);
    return BH_EINVAL;
}

int bh_http_config_check(const struct bh_http_config *config, char **error) {
    char line[256];
    bool found = false;
    if (!config->ca_file || !*config->ca_file)
        return 0;
    FILE *f = fopen(config->ca_file, "r");
    if (!f)
        return config_error(error, config->ca_file, "cannot be read");
    while (!found && fgets(line, sizeof line, f))
        found = strncmp(line, "-----BEGIN ", 11) == 0 && strstr(line, "CERTIFICATE-----");
    fclose(f);
    return found ? 0 : config_error(error, config->ca_file, "has no certificate (PEM)");
}
