/* refuse.c - see the header. */
#include "refuse.h"

#include "bellhop/base/buf.h"
#include "bellhop/base/error.h"

int bh_app_refuse(char **error, const char *format, ...) {
    struct bh_bytes text = {0};
    va_list args;
    va_start(args, format);
    bh_bytes_vaddf(&text, format, args);
    va_end(args);
    bh_bytes_addc(&text, '\0');
    *error = text.p;
    return BH_EINVAL;
}
