/* internal.h - what the parts of the HTTP client share. Private to src/backend/http. */
#ifndef BELLHOP_BACKEND_HTTP_INTERNAL_H
#define BELLHOP_BACKEND_HTTP_INTERNAL_H

#include "bellhop/backend/http.h"
#include "bellhop/base/buf.h"
#include "bellhop/base/list.h"
#include "bellhop/base/map.h"
#include "bellhop/base/metrics.h"
#include "bellhop/io/timer.h"

#include <curl/curl.h>
#include <stdlib.h>

#define BH_HTTP_WHY_MAX (CURL_ERROR_SIZE + 384)

struct bh_http;

/* --- driver.c: the multi handle on a loop --- */

struct bh_http_driver {
    CURLM *multi;
    struct bh_loop *loop;
    struct bh_timer timer; /* libcurl's */
    struct bh_defer kick;  /* libcurl wants to continue at once */
    struct bh_defer ended; /* transfers may have ended: on_ended, outside of libcurl */
    void (*on_ended)(struct bh_http_driver *d);
};

void bh_http_driver_init(struct bh_http_driver *d, struct bh_loop *loop,
                         void (*on_ended)(struct bh_http_driver *d));
/* Every easy handle has been removed. */
void bh_http_driver_deinit(struct bh_http_driver *d);

/* --- fetch.c: calls, queued for each host --- */

/* Requests to one scheme, host and port; lives while there are any. */
struct bh_http_host {
    struct bh_list in_round_robin; /* of bh_http: has requests that may be sent */
    struct bh_list waiting;
    unsigned active;
    struct bh_slice key; /* "https://host:443"; lives behind the struct */
};

struct bh_http_field {
    size_t name, name_len, value, value_len; /* in head */
};

/* Owned by bh_http; done is called when it is in no list any more. */
struct bh_http_call {
    struct bh_list node; /* in host->waiting, or in active */
    struct bh_http *http;
    struct bh_http_host *host;
    bh_handle handle;
    bh_fetch_cb done;
    void *ud;
    bh_handle waiter;
    struct bh_timer timer;

    /* request.c */
    CURLU *url;
    char *host_name; /* freed by curl_free */
    char method[24];
    struct curl_slist *headers;
    struct bh_buf *body; /* NULL: none */
    unsigned redirects;
    size_t max_bytes;
    CURL *easy; /* NULL: it waits in the queue */

    /* response.c */
    struct bh_bytes head;
    struct bh_http_field *fields;
    size_t field_count;
    struct bh_bytes answer;
    int error;       /* set by a callback of ours that ended the transfer */
    const char *why; /* a constant */
    bool denied;     /* an address was not allowed */
    char curl_why[CURL_ERROR_SIZE];
};

struct bh_http {
    struct bh_fetch base; /* first: the port casts back */
    struct bh_http_config config;
    struct bh_http_driver driver;
    struct bh_slots calls;
    struct bh_map hosts;
    struct bh_list round_robin; /* hosts that may send, the next one first */
    struct bh_list active;
    unsigned active_count;
    size_t waiting_count;
};

/* --- request.c --- */

/* Checks and copies; the rest of the call is zero. 0, or BH_EINVAL with why. */
int bh_http_request_take(struct bh_http_call *c, const struct bh_fetch_request *r, char *why);
/* "https://host:443" of the call's URL. */
void bh_http_request_key(const struct bh_http_call *c, struct bh_bytes *out);
/* The easy handle. */
CURL *bh_http_request_open(struct bh_http_call *c, const struct bh_http_config *config);
void bh_http_request_free(struct bh_http_call *c);

/* --- response.c --- */

/* libcurl's callbacks; ud is the call. */
size_t bh_http_on_head(char *data, size_t size, size_t count, void *ud);
size_t bh_http_on_body(char *data, size_t size, size_t count, void *ud);
/* The headers point into the call; the caller frees them with bh_free. */
struct bh_header *bh_http_response_headers(const struct bh_http_call *c);
void bh_http_response_free(struct bh_http_call *c);

/* --- explain.c --- */

/* The error of a transfer that has ended with `result`, and a sentence about it. */
int bh_http_explain(const struct bh_http_call *c, CURLcode result, char why[BH_HTTP_WHY_MAX]);

/* --- metrics.c --- */

enum bh_http_metric {
    BH_HTTP_OK,
    BH_HTTP_FAILED,
    BH_HTTP_TIMEOUT,
    BH_HTTP_REFUSED,
    BH_HTTP_CANCELLED,
    BH_HTTP_CONNECTIONS,
    BH_HTTP_ACTIVE,
    BH_HTTP_WAITING,
    BH_HTTP_METRIC_COUNT,
};
extern struct bh_metric bh_http_metrics[BH_HTTP_METRIC_COUNT];

#endif
