/* raw_echo.c - the lower bound for a server: accept, receive, send the same bytes. One thread, one
 * buffer, level-triggered epoll and no state for a connection but its descriptor. A client that
 * does not read is disconnected.
 *
 *     bench_raw_echo --listen HOST:PORT     until SIGTERM; port 0 picks a free one; prints the
 * address
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 512

static char buffer[65536];

__attribute__((noreturn)) static void die(const char *what) {
    fprintf(stderr, "bench_raw_echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        die("epoll");
}

static int listen_at(const char *text) {
    char host[256];
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    const char *colon = strrchr(text, ':');
    snprintf(host, sizeof host, "%.*s", colon ? (int)(colon - text) : 0, text);
    if (!colon || getaddrinfo(host, colon + 1, &hints, &found)) {
        fprintf(stderr, "bench_raw_echo: HOST:PORT expected, not %s\n", text);
        exit(2);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, 4096))
        die(text);
    freeaddrinfo(found);
    return fd;
}

static void announce(int fd) {
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    char host[INET_ADDRSTRLEN];
    getsockname(fd, (struct sockaddr *)&at, &len);
    inet_ntop(AF_INET, &at.sin_addr, host, sizeof host);
    printf("listening address=%s:%u\n", host, ntohs(at.sin_port));
    fflush(stdout);
}

static void accept_all(int epoll, int listener) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        watch(epoll, fd);
    }
}

static void echo(int fd) {
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || send(fd, buffer, (size_t)n, MSG_NOSIGNAL) != n)
        close(fd);
}

static int end_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

static void raise_descriptors(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS_AT_ONCE];
    if (argc != 3 || strcmp(argv[1], "--listen") != 0) {
        fprintf(stderr, "usage: bench_raw_echo --listen HOST:PORT\n");
        return 2;
    }
    raise_descriptors();
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener = listen_at(argv[2]), end = end_signals();
    watch(epoll, listener);
    watch(epoll, end);
    announce(listener);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS_AT_ONCE, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == end)
                return 0;
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                echo(events[i].data.fd);
        }
    }
}
