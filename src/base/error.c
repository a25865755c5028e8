/* error.c - the texts of the error numbers, from the same list as the numbers. */
#include "bellhop/base/error.h"

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
