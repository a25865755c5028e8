/* tls_error.c - errors of OpenSSL and of the TLS configuration as text. Thread: any. */
#include "tls_internal.h"

#include "bellhop/base/error.h"

#include <openssl/err.h>

const char *bh_tls_reason(void) {
    unsigned long error = ERR_peek_error();
    ERR_clear_error();
    const char *text = error ? ERR_reason_error_string(error) : NULL;
    return text ? text : "unknown reason";
}

int bh_tls_fail(char **error, const char *format, ...) {
    struct bh_bytes text = {0};
    va_list args;
    va_start(args, format);
    bh_bytes_vaddf(&text, format, args);
    va_end(args);
    bh_bytes_addc(&text, '\0');
    *error = text.p;
    return BH_EINVAL;
}
