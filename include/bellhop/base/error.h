/* error.h - the one list of error numbers of the project.
 *
 * Functions return 0 (or a non-negative count, where their header says so) or one of these
 * negative numbers. Results travel by out-parameter, so one value never has two meanings.
 * Thread: any. */
#ifndef BELLHOP_BASE_ERROR_H
#define BELLHOP_BASE_ERROR_H

#define BH_ERROR_MAP(X)                                                                            \
    X(BH_EINVAL, -1, "invalid argument")                                                           \
    X(BH_ENOMEM, -2, "out of memory")                                                              \
    X(BH_EAGAIN, -3, "try again later")                                                            \
    X(BH_ECLOSED, -4, "closed")                                                                    \
    X(BH_ETOOBIG, -5, "too big")                                                                   \
    X(BH_EPROTO, -6, "protocol violation")                                                         \
    X(BH_EUTF8, -7, "not valid UTF-8")                                                             \
    X(BH_ENOTFOUND, -8, "not found")                                                               \
    X(BH_EEXIST, -9, "already exists")                                                             \
    X(BH_ETIMEDOUT, -10, "timed out")                                                              \
    X(BH_EDENIED, -11, "denied")                                                                   \
    X(BH_EUNAVAIL, -12, "unavailable")                                                             \
    X(BH_EIO, -13, "input/output error")                                                           \
    X(BH_ESCRIPT, -14, "script error")                                                             \
    X(BH_EDUP, -15, "duplicate")                                                                   \
    X(BH_ESYNTAX, -16, "syntax error")

enum bh_error {
    BH_OK = 0,
#define BH_ERROR_ENUM(name, number, text) name = (number),
    BH_ERROR_MAP(BH_ERROR_ENUM)
#undef BH_ERROR_ENUM
};

/* The text of an error number; never NULL. */
const char *bh_strerror(int error);
/* For what an operator has to mend: stores the text in *error (bh_free). Returns BH_EINVAL. */
int bh_error_set(char **error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
