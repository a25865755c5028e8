/* error_body.c - {"error":{"code":...,"message":...}}, the body of every error. */
#include "http/error_body.h"

#include "bellhop/base/json.h"

void bh_http_error_object(struct bh_bytes *out, const char *code, struct bh_slice message) {
    bh_bytes_adds(out, "{\"code\":");
    bh_json_quote(out, bh_slice_cstr(code));
    bh_bytes_adds(out, ",\"message\":");
    bh_json_quote(out, message);
    bh_bytes_addc(out, '}');
}

void bh_http_error_body(struct bh_bytes *out, const char *code, struct bh_slice message) {
    bh_bytes_adds(out, "{\"error\":");
    bh_http_error_object(out, code, message);
    bh_bytes_adds(out, "}\n");
}
