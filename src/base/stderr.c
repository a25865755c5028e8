/* stderr.c - poll and write. */
#include "stderr.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

bool bh_stderr_ready(int ms) {
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    int n = poll(&p, 1, ms);
    return n > 0 || (n < 0 && errno != EINTR);
}

ssize_t bh_stderr_write_some(const char *p, size_t n) {
    return write(STDERR_FILENO, p, n < PIPE_BUF ? n : PIPE_BUF);
}

bool bh_stderr_write(const char *p, size_t n, int ms) {
    while (n > 0) {
        bool ready = bh_stderr_ready(ms);
        if (!ready && ms >= 0)
            return false;
        ssize_t written = ready ? bh_stderr_write_some(p, n) : 0;
        if (written < 0 && errno != EINTR && errno != EAGAIN)
            return false;
        p += written > 0 ? written : 0;
        n -= written > 0 ? (size_t)written : 0;
    }
    return true;
}
