/* edge_metrics.c - the table of the metrics: names and help texts. */
#include "limits/edge_metrics.h"

#include "bellhop/base/budget.h"
#include "bellhop/base/prometheus.h"
#include "bellhop/edge/edge.h"

#define COUNTER(metric, what, text)                                                                \
    [metric] = {"bellhop_edge_" what "_total", NULL, text, BH_COUNTER, 0}
#define GAUGE(metric, what, text) [metric] = {"bellhop_edge_" what, NULL, text, BH_GAUGE, 0}
#define REQUESTS(metric, class)                                                                    \
    [metric] = {"bellhop_edge_http_requests_total", "class=\"" class "\"",                         \
                "HTTP requests answered, by status class", BH_COUNTER, 0}

#define RECOVERED(metric, complete)                                                                \
    [metric] = {"bellhop_edge_sse_recovered_total", "complete=\"" complete "\"",                   \
                "SSE clients that came back with a position", BH_COUNTER, 0}
#define REFUSED(metric, reason)                                                                    \
    [metric] = {"bellhop_edge_sse_refused_total", "reason=\"" reason "\"", "SSE requests refused", \
                BH_COUNTER, 0}

#define LIMIT(metric, name)                                                                        \
    [metric] = {"bellhop_edge_limited_total", "limit=\"" name "\"",                                \
                "times a limit was reached, by its name in the configuration", BH_COUNTER, 0}

struct bh_metric bh_edge_metrics[BH_EDGE_METRIC_COUNT] = {
    GAUGE(BH_EDGE_SOCKETS, "sockets", "open sockets, HTTP, WebSocket and SSE"),
    GAUGE(BH_EDGE_RESERVE, "reserve_connections",
          "open connections over connections_max or the limit of descriptors"),
    COUNTER(BH_EDGE_RESERVE_OPENED, "reserve_opened",
            "connections over connections_max or the limit of descriptors that got a place"),
    COUNTER(BH_EDGE_RESERVE_EVICTED, "reserve_evicted",
            "connections that lost such a place to a newer one"),
    GAUGE(BH_EDGE_CONNECTIONS, "connections", "open WebSocket connections"),
    COUNTER(BH_EDGE_OPENED, "connections_opened", "WebSocket connections opened"),
    COUNTER(BH_EDGE_CLOSED, "connections_closed", "WebSocket connections closed"),
    COUNTER(BH_EDGE_HANDSHAKES_REFUSED, "handshakes_refused", "WebSocket handshakes refused"),
    COUNTER(BH_EDGE_MESSAGES_IN, "messages_in", "messages received from clients"),
    COUNTER(BH_EDGE_MESSAGES_OUT, "messages_out", "messages queued for clients"),
    COUNTER(BH_EDGE_MESSAGES_EXPIRED, "messages_expired",
            "deliveries dropped because their ttl had expired"),
    COUNTER(BH_EDGE_MESSAGES_DROPPED, "messages_dropped",
            "deliveries dropped because the queue was full"),
    COUNTER(BH_EDGE_COMPRESSED, "messages_compressed",
            "messages compressed, for one connection or for many"),
    COUNTER(BH_EDGE_INFLATE_WAITS, "inflate_waits",
            "long compressed messages that waited until others were inflated"),
    COUNTER(BH_EDGE_BYTES_IN, "bytes_in", "bytes received on WebSocket connections"),
    COUNTER(BH_EDGE_BYTES_OUT, "bytes_out", "bytes sent on WebSocket connections"),
    COUNTER(BH_EDGE_PROTOCOL_ERRORS, "protocol_errors", "connections closed for a protocol error"),
    COUNTER(BH_EDGE_CONTEXTS_KEPT, "contexts_kept",
            "connections closed because the client kept its compression context, though it agreed "
            "not to"),
    COUNTER(BH_EDGE_SLOW_CONSUMERS, "slow_consumers",
            "connections closed because the queue was full"),
    COUNTER(BH_EDGE_HALF_OPEN, "half_open", "connections dropped for an unanswered ping"),
    GAUGE(BH_EDGE_SSE_CONNECTIONS, "sse_connections", "open SSE connections"),
    COUNTER(BH_EDGE_SSE_OPENED, "sse_connections_opened", "SSE connections opened"),
    COUNTER(BH_EDGE_SSE_CLOSED, "sse_connections_closed", "SSE connections closed"),
    COUNTER(BH_EDGE_SSE_EVENTS, "sse_events", "events queued for SSE clients"),
    COUNTER(BH_EDGE_SSE_BYTES_OUT, "sse_bytes_out", "bytes sent on SSE connections"),
    RECOVERED(BH_EDGE_SSE_RECOVERED, "true"),
    RECOVERED(BH_EDGE_SSE_NOT_RECOVERED, "false"),
    REFUSED(BH_EDGE_SSE_REFUSED_MALFORMED, "malformed"),
    REFUSED(BH_EDGE_SSE_REFUSED_ORIGIN, "origin"),
    REFUSED(BH_EDGE_SSE_REFUSED_RIGHTS, "rights"),
    REFUSED(BH_EDGE_SSE_REFUSED_LIMIT, "limit"),
    REFUSED(BH_EDGE_SSE_REFUSED_DRAINING, "draining"),
    REFUSED(BH_EDGE_SSE_REFUSED_FAILED, "failed"),
    REQUESTS(BH_EDGE_HTTP_1XX, "1xx"),
    REQUESTS(BH_EDGE_HTTP_2XX, "2xx"),
    REQUESTS(BH_EDGE_HTTP_3XX, "3xx"),
    REQUESTS(BH_EDGE_HTTP_4XX, "4xx"),
    REQUESTS(BH_EDGE_HTTP_5XX, "5xx"),
    LIMIT(BH_EDGE_LIMIT_CONNECTIONS, "connections"),
    LIMIT(BH_EDGE_LIMIT_DESCRIPTORS, "descriptors"),
    LIMIT(BH_EDGE_LIMIT_PER_IP, "connections_per_ip"),
    LIMIT(BH_EDGE_LIMIT_PER_USER, "connections_per_user"),
    LIMIT(BH_EDGE_LIMIT_PER_TENANT, "connections_per_tenant"),
    LIMIT(BH_EDGE_LIMIT_HEAD, "head_bytes"),
    LIMIT(BH_EDGE_LIMIT_BODY, "body_bytes"),
    LIMIT(BH_EDGE_LIMIT_REQUEST_TIME, "request_timeout"),
    LIMIT(BH_EDGE_LIMIT_HANDSHAKE_TIME, "handshake_timeout"),
    LIMIT(BH_EDGE_LIMIT_TRANSPORT_TIME, "tls_handshake_timeout"),
    LIMIT(BH_EDGE_LIMIT_MESSAGE_BYTES, "message_bytes"),
    LIMIT(BH_EDGE_LIMIT_MESSAGE_TIME, "message_timeout"),
    LIMIT(BH_EDGE_LIMIT_FRAGMENTS, "fragments"),
    LIMIT(BH_EDGE_LIMIT_MESSAGE_RATE, "messages_per_second"),
    LIMIT(BH_EDGE_LIMIT_BYTE_RATE, "bytes_per_second"),
    LIMIT(BH_EDGE_LIMIT_CONTROL_RATE, "control_per_second"),
    LIMIT(BH_EDGE_LIMIT_QUEUE, "queue_bytes"),
    LIMIT(BH_EDGE_LIMIT_ORIGIN, "origins"),
    LIMIT(BH_EDGE_LIMIT_PROXY, "proxy"),
    LIMIT(BH_EDGE_LIMIT_MEMORY, "memory_budget"),
    LIMIT(BH_EDGE_LIMIT_LONG, "long_steps"),
};

static void render_memory(struct bh_bytes *out) {
    static const char *const labels[BH_BUDGET_KINDS] = {
        [BH_BUDGET_BODIES] = "kind=\"bodies\"",
        [BH_BUDGET_MESSAGES] = "kind=\"messages\"",
        [BH_BUDGET_QUEUES] = "kind=\"queues\"",
        [BH_BUDGET_HELD] = "kind=\"held\"",
    };
    static const char memory[] = "bellhop_memory_bytes";
    static const char budget[] = "bellhop_memory_budget_bytes";
    bh_prometheus_describe(out, memory, "gauge", "bytes charged to server.memory_budget, by kind");
    for (int kind = 0; kind < BH_BUDGET_KINDS; kind++)
        bh_prometheus_int(out, memory, bh_slice_cstr(labels[kind]),
                          bh_budget_used_by((enum bh_budget_kind)kind));
    bh_prometheus_describe(out, budget, "gauge", "server.memory_budget in bytes; 0: no limit");
    bh_prometheus_int(out, budget, bh_slice(NULL, 0), (int64_t)bh_budget_limit());
}

void bh_edge_metrics_register(void) {
    static bool has_source;
    if (!has_source)
        bh_metrics_add_source(render_memory);
    has_source = true;
    bh_metrics_register(bh_edge_metrics, BH_EDGE_METRIC_COUNT);
}
