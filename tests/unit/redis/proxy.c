/* proxy.c - a TCP proxy in front of Redis that can withhold what Redis sends to subscribers. */
#include "proxy.h"

static int proxy_socket(uint16_t port, bool listening) {
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error = listening ? bind(fd, (struct sockaddr *)&at, sizeof at)
                          : connect(fd, (struct sockaddr *)&at, sizeof at);
    assert_int_equal(error, 0);
    if (listening)
        assert_int_equal(listen(fd, 16), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

void proxy_start(struct proxy *p, uint16_t target) {
    *p = (struct proxy){.target = target, .port = test_free_port()};
    p->listener = proxy_socket(p->port, true);
}

static void proxy_close(struct proxy *p, size_t i) {
    if (p->links[i].client < 0)
        return;
    close(p->links[i].client);
    close(p->links[i].server);
    p->links[i].client = p->links[i].server = -1;
}

void proxy_stop(struct proxy *p) {
    for (size_t i = 0; i < p->count; i++)
        proxy_close(p, i);
    close(p->listener);
}

static void proxy_link(struct proxy *p, size_t i) {
    char bytes[65536];
    ssize_t n = recv(p->links[i].client, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n > 0) {
        p->links[i].subscriber |= memmem(bytes, (size_t)n, "$9\r\nSUBSCRIBE", 13) != NULL;
        assert_int_equal(send(p->links[i].server, bytes, (size_t)n, MSG_NOSIGNAL), n);
    } else if (n == 0) {
        proxy_close(p, i);
        return;
    }
    if (p->deafen && (p->all || p->links[i].subscriber))
        *(p->hold ? &p->links[i].late : &p->links[i].deaf) = true;
    bool held = p->hold && p->links[i].late, deaf = p->links[i].deaf;
    n = recv(p->links[i].server, bytes, sizeof bytes, MSG_DONTWAIT | (held ? MSG_PEEK : 0));
    if (held)
        p->withheld = n > 0 ? (size_t)n : p->withheld;
    else if (n > 0 && deaf)
        p->withheld += (size_t)n;
    else if (n > 0)
        assert_int_equal(send(p->links[i].client, bytes, (size_t)n, MSG_NOSIGNAL), n);
    else if (n == 0)
        proxy_close(p, i);
}

bool proxy_pump(struct proxy *p) {
    int fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        assert_true(p->count < PROXY_MAX);
        p->links[p->count].client = fd;
        p->links[p->count++].server = proxy_socket(p->target, false);
    }
    for (size_t i = 0; i < p->count; i++)
        if (p->links[i].client >= 0)
            proxy_link(p, i);
    return true;
}
