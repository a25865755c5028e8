/* fail.c - answers that are errors: ours, and those of scripts.
 *
 * A script's body that is a JSON object is sent as it is; any other is the message of an error,
 * with a code that its status names. */
#include "bellhop/base/json.h"
#include "http/error_body.h"
#include "http/http_conn.h"

void bh_http_conn_fail(struct bh_http_conn *c, int status, const char *code, const char *format,
                       ...) {
    struct bh_bytes message = {0}, body = {0};
    va_list args;
    va_start(args, format);
    bh_bytes_vaddf(&message, format, args);
    va_end(args);
    bh_http_error_body(&body, code, bh_bytes_slice(&message));
    bh_http_conn_answer_json(c, status, bh_bytes_slice(&body));
    bh_bytes_free(&message);
    bh_bytes_free(&body);
}

void bh_http_conn_fail_with(struct bh_http_conn *c, int status, const struct bh_header *header,
                            const char *code, const char *why) {
    struct bh_bytes body = {0};
    bh_http_error_body(&body, code, bh_slice_cstr(why));
    bh_http_conn_answer(c, status, "application/json", header, header != NULL,
                        bh_bytes_slice(&body));
    bh_bytes_free(&body);
}

static const char *code_of(int status) {
    switch (status) {
    case 400:
        return "bad_request";
    case 401:
        return "unauthorized";
    case 403:
        return "forbidden";
    case 404:
        return "not_found";
    case 429:
        return "too_many_requests";
    case 500:
        return "internal_error";
    case 503:
        return "unavailable";
    case 504:
        return "timeout";
    default:
        return "refused";
    }
}

void bh_http_conn_refuse(struct bh_http_conn *c, int status, struct bh_slice body,
                         const struct bh_header *headers, size_t header_count) {
    if (status < 300 || status > 599)
        status = 403;
    struct bh_bytes wrapped = {0};
    if (bh_json_check(body, NULL) != 0 || bh_json_root(body).type != BH_JSON_OBJECT) {
        bh_http_error_body(&wrapped, code_of(status),
                           body.n ? body : bh_slice_cstr(bh_http_reason(status)));
        body = bh_bytes_slice(&wrapped);
    }
    bh_http_conn_answer(c, status, "application/json", headers, header_count, body);
    bh_bytes_free(&wrapped);
}
