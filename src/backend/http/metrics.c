/* metrics.c - the metrics of the HTTP client. Thread: any. */
#include "internal.h"

#define REQUESTS "bellhop_fetch_requests_total"
#define HELP     "HTTP requests of scripts, by result"

struct bh_metric bh_http_metrics[BH_HTTP_METRIC_COUNT] = {
    [BH_HTTP_OK] = {REQUESTS, "result=\"ok\"", HELP},
    [BH_HTTP_FAILED] = {REQUESTS, "result=\"failed\"", HELP},
    [BH_HTTP_TIMEOUT] = {REQUESTS, "result=\"timeout\"", HELP},
    [BH_HTTP_REFUSED] = {REQUESTS, "result=\"refused\"", HELP},
    [BH_HTTP_CANCELLED] = {REQUESTS, "result=\"cancelled\"", HELP},
    [BH_HTTP_CONNECTIONS] = {"bellhop_fetch_connections_total", NULL,
                             "Connections made for HTTP requests of scripts"},
    [BH_HTTP_ACTIVE] = {"bellhop_fetch_active", NULL, "HTTP requests of scripts in progress",
                        BH_GAUGE},
    [BH_HTTP_WAITING] = {"bellhop_fetch_waiting", NULL, "HTTP requests of scripts in the queue",
                         BH_GAUGE},
};

void bh_http_metrics_register(void) {
    bh_metrics_register(bh_http_metrics, BH_HTTP_METRIC_COUNT);
}
