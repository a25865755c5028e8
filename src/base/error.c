/* error.c - the texts of the error numbers, from the same list as the numbers, and texts for
 * operators. */
#include "bellhop/base/error.h"

#include "bellhop/base/buf.h"

const char *bh_strerror(int error) {
    switch (error) {
    case BH_OK:
        return "ok";
#define ERROR_TEXT(name, number, text)                                                             \
    case name:                                                                                     \
        return text;
        BH_ERROR_MAP(ERROR_TEXT)
#undef ERROR_TEXT
    }
    return "unknown error";
}

int bh_error_set(char **error, const char *format, ...) {
    struct bh_bytes text = {0};
    va_list args;
    va_start(args, format);
    bh_bytes_vaddf(&text, format, args);
    va_end(args);
    bh_bytes_addc(&text, '\0');
    *error = text.p;
    return BH_EINVAL;
}
