/* io_test.h - what the tests of io share. */
#ifndef BELLHOP_TESTS_UNIT_IO_TEST_H
#define BELLHOP_TESTS_UNIT_IO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/addr.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Reproducible noise. */
static inline uint32_t test_random(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

static inline struct bh_addr test_addr(const char *text) {
    struct bh_addr a;
    const char *why;
    assert_int_equal(bh_addr_parse(bh_slice_cstr(text), &a, &why), 0);
    return a;
}

/* A plain listening socket on a free port of 127.0.0.1; its address to *at. */
static inline int test_listen(struct bh_addr *at) {
    *at = test_addr("127.0.0.1:0");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, &at->sa, at->len), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, &at->sa, &at->len), 0);
    return fd;
}

/* Connected, non-blocking TCP sockets. */
static inline void test_tcp_pair(int fds[2]) {
    struct bh_addr at;
    int listening = test_listen(&at);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fds[0], &at.sa, at.len), 0);
    fds[1] = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fds[1] >= 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    close(listening);
}

static inline void test_unix_pair(int fds[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

/* Closes with RST instead of FIN. */
static inline void test_reset(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
}

#endif
