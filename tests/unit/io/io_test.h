/* io_test.h - for the tests of io: addresses and connected sockets. */
#ifndef BELLHOP_TESTS_UNIT_IO_TEST_H
#define BELLHOP_TESTS_UNIT_IO_TEST_H

#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/io/addr.h"
#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

struct bh_addr test_addr(const char *text);
/* A plain listening socket on a free port of 127.0.0.1; its address to *at. */
int test_listen(struct bh_addr *at);
/* Connected, non-blocking sockets. */
void test_tcp_pair(int fds[2]);
void test_unix_pair(int fds[2]);
/* Closes with RST instead of FIN. */
void test_reset(int fd);

#endif
