/* http1_response.c - responses, appended to the caller's bytes.
 *
 * Headers may come from scripts, so they are checked before the first byte is written: a value
 * cannot begin a new line, and a header cannot contradict the framing. The Date is formatted once
 * per second and thread. */
#include "http1_write.h"

#include "bellhop/base/error.h"
#include "http1_line.h"

#include <stdio.h>
#include <time.h>

bool bh_http1_headers_ok(const struct bh_header *headers, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!bh_http1_is_token(headers[i].name) || !bh_http1_is_value(headers[i].value))
            return false;
    return true;
}

void bh_http1_write_header(struct bh_bytes *out, struct bh_slice name, struct bh_slice value) {
    bh_bytes_add(out, name);
    bh_bytes_add(out, BH_SLICE(": "));
    bh_bytes_add(out, value);
    bh_bytes_add(out, BH_SLICE("\r\n"));
}

void bh_http1_write_headers(struct bh_bytes *out, const struct bh_header *headers, size_t count) {
    for (size_t i = 0; i < count; i++)
        bh_http1_write_header(out, headers[i].name, headers[i].value);
}

/* Not strftime, whose names depend on the locale. */
static struct bh_slice date(int64_t wall_ms) {
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static _Thread_local int64_t second = -1;
    static _Thread_local char text[80];
    int64_t now = wall_ms / 1000;
    if (now != second) {
        struct tm tm = {0};
        gmtime_r(&(time_t){now}, &tm);
        snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
                 tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                 tm.tm_sec);
        second = now;
    }
    return bh_slice_cstr(text);
}

static bool frames_body(const struct bh_header *headers, size_t count) {
    return bh_http_header(headers, count, BH_SLICE("Content-Length")).p ||
           bh_http_header(headers, count, BH_SLICE("Transfer-Encoding")).p;
}

/* A 426 must name a protocol to upgrade to (RFC 9110, 15.5.22), and the connection its header. */
static void write_connection(struct bh_bytes *out, int status, bool keep_alive) {
    if (status == 426)
        bh_bytes_adds(out, "Upgrade: websocket\r\nConnection: upgrade, ");
    else
        bh_bytes_adds(out, "Connection: ");
    bh_bytes_adds(out, keep_alive ? "keep-alive\r\n" : "close\r\n");
}

static bool head_ok(int status, struct bh_slice type, const struct bh_header *headers,
                    size_t count) {
    return status >= 100 && status <= 599 && bh_http1_is_value(type) &&
           bh_http1_headers_ok(headers, count) && !frames_body(headers, count);
}

static void write_status(struct bh_bytes *out, int status, int64_t wall_ms) {
    bh_bytes_addf(out, "HTTP/1.1 %d %s\r\n", status, bh_http_reason(status));
    if (status >= 200)
        bh_http1_write_header(out, BH_SLICE("Date"), date(wall_ms));
}

int bh_http_response(struct bh_bytes *out, int status, const char *content_type,
                     const struct bh_header *headers, size_t header_count, struct bh_slice body,
                     bool keep_alive, bool head_only, int64_t wall_ms) {
    struct bh_slice type = bh_slice_cstr(content_type);
    if (!head_ok(status, type, headers, header_count))
        return BH_EINVAL;
    bool interim = status < 200, has_length = !interim && status != 204 && status != 304;
    bh_bytes_reserve(out, 256 + (has_length && !head_only ? body.n : 0));
    write_status(out, status, wall_ms);
    if (type.p && has_length)
        bh_http1_write_header(out, BH_SLICE("Content-Type"), type);
    bh_http1_write_headers(out, headers, header_count);
    if (has_length)
        bh_bytes_addf(out, "Content-Length: %zu\r\n", body.n);
    if (!interim)
        write_connection(out, status, keep_alive);
    bh_bytes_add(out, BH_SLICE("\r\n"));
    if (has_length && !head_only)
        bh_bytes_add(out, body);
    return 0;
}

int bh_http_stream_head(struct bh_bytes *out, struct bh_slice content_type,
                        const struct bh_header *headers, size_t header_count, int64_t wall_ms) {
    if (!head_ok(200, content_type, headers, header_count))
        return BH_EINVAL;
    write_status(out, 200, wall_ms);
    bh_http1_write_header(out, BH_SLICE("Content-Type"), content_type);
    bh_http1_write_headers(out, headers, header_count);
    write_connection(out, 200, false);
    bh_bytes_add(out, BH_SLICE("\r\n"));
    return 0;
}
