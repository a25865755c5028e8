/* tls_error.c - errors of OpenSSL as text. Thread: any. */
#include "tls_internal.h"

#include <openssl/err.h>

const char *bh_tls_reason(void) {
    unsigned long error = ERR_peek_error();
    ERR_clear_error();
    const char *text = error ? ERR_reason_error_string(error) : NULL;
    return text ? text : "unknown reason";
}
