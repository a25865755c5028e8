/* Accepting: addresses, budget, running out of descriptors, and the file of a unix socket. */
#include "io_test.h"

#include "bellhop/io/listener.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct bh_loop *loop;
static int accepted[512];
static unsigned count;
static char peer_text[BH_ADDR_TEXT_MAX];
static char directory[] = "/tmp/bellhop-listener-XXXXXX";
static char path[64], path_text[80];

static unsigned accept_us; /* an accept takes */

static void on_accept(void *ud, int fd, const struct bh_addr *peer) {
    assert_ptr_equal(ud, &count);
    assert_true(count < 512);
    accepted[count++] = fd;
    bh_addr_format_ip(peer, peer_text);
    bh_clock_fake_advance_us(accept_us);
}

static int setup(void **state) {
    bh_clock_fake(1000, 0);
    loop = bh_loop_new();
    count = 0;
    return 0;
}

static int teardown(void **state) {
    for (unsigned i = 0; i < count; i++)
        close(accepted[i]);
    bh_loop_free(loop);
    bh_clock_real();
    return 0;
}

static struct bh_listener *open_at(const char *text) {
    struct bh_addr a = test_addr(text);
    struct bh_listener *l = NULL;
    assert_int_equal(bh_listener_open(&l, loop, &a, 128, on_accept, &count), 0);
    return l;
}

static int open_error_at(const char *text) {
    struct bh_addr a = test_addr(text);
    struct bh_listener *l = NULL;
    int error = bh_listener_open(&l, loop, &a, 128, on_accept, &count);
    assert_null(l);
    return error;
}

static int dial(const struct bh_addr *a) {
    int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &a->sa, a->len), 0);
    return fd;
}

static void tick(void) {
    bh_loop_tick(loop, false);
}

static void accepts_with_the_right_options(void **state) {
    struct bh_listener *l = open_at("127.0.0.1:0");
    assert_int_not_equal(bh_addr_port(bh_listener_addr(l)), 0);
    int client = dial(bh_listener_addr(l));
    tick();
    assert_int_equal(count, 1);
    assert_string_equal(peer_text, "127.0.0.1");
    assert_true(fcntl(accepted[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(accepted[0], F_GETFD) & FD_CLOEXEC);
    int nodelay = 0;
    socklen_t len = sizeof nodelay;
    getsockopt(accepted[0], IPPROTO_TCP, TCP_NODELAY, &nodelay, &len);
    assert_true(nodelay);
    close(client);
    bh_listener_close(l);
    bh_listener_close(NULL);
}

static bool have_ipv6(void) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool have = fd >= 0 && bind(fd, (struct sockaddr *)&v6, sizeof v6) == 0;
    close(fd);
    return have;
}

static void every_interface_means_both_families(void **state) {
    struct bh_listener *l = open_at(":0");
    char text[32];
    snprintf(text, sizeof text, "127.0.0.1:%u", bh_addr_port(bh_listener_addr(l)));
    struct bh_addr to = test_addr(text);
    int clients[2] = {dial(&to), -1};
    tick();
    assert_int_equal(count, 1);
    assert_string_equal(peer_text, "127.0.0.1"); /* not ::ffff:127.0.0.1 */
    if (have_ipv6()) {
        snprintf(text, sizeof text, "[::1]:%u", bh_addr_port(bh_listener_addr(l)));
        to = test_addr(text);
        clients[1] = dial(&to);
        tick();
        assert_int_equal(count, 2);
        assert_string_equal(peer_text, "::1");
        close(clients[1]);
    }
    close(clients[0]);
    bh_listener_close(l);
}

static void workers_share_a_port(void **state) {
    struct bh_listener *first = open_at("127.0.0.1:0");
    char text[BH_ADDR_TEXT_MAX];
    bh_addr_format(bh_listener_addr(first), text);
    struct bh_listener *second = open_at(text);
    int clients[32];
    for (int i = 0; i < 32; i++)
        clients[i] = dial(bh_listener_addr(first));
    while (count < 32)
        tick();
    for (int i = 0; i < 32; i++)
        close(clients[i]);
    bh_listener_close(first);
    bh_listener_close(second);
}

static void a_probe_sees_who_shares(void **state) {
    struct bh_listener *l = open_at("127.0.0.1:0");
    struct bh_addr at = *bh_listener_addr(l);
    assert_int_equal(bh_listener_probe(&at), BH_EEXIST);
    bh_listener_close(l);
    assert_int_equal(bh_listener_probe(&at), 0);
}

static void open_errors(void **state) {
    struct bh_addr at;
    int foreign = test_listen(&at); /* without SO_REUSEPORT */
    char text[BH_ADDR_TEXT_MAX];
    bh_addr_format(&at, text);
    assert_int_equal(open_error_at(text), BH_EEXIST);
    close(foreign);
    assert_int_equal(open_error_at("203.0.113.7:0"), BH_EUNAVAIL); /* not ours */
    assert_int_equal(open_error_at("/no/such/directory/socket"), BH_ENOTFOUND);
}

static int probe_at(const char *text) {
    struct bh_addr at;
    assert_int_equal(bh_addr_parse(bh_slice_cstr(text), &at, NULL), 0);
    return bh_listener_probe(&at);
}

static void a_probe_has_the_same_errors(void **state) {
    assert_int_equal(probe_at("203.0.113.7:0"), BH_EUNAVAIL);
    assert_int_equal(probe_at("/no/such/directory/socket"), BH_ENOTFOUND);
    assert_int_equal(probe_at("/socket"), access("/", W_OK) == 0 ? 0 : BH_EDENIED);
    assert_int_equal(probe_at("/tmp/bellhop-probe"), 0);
    assert_int_not_equal(access("/tmp/bellhop-probe", F_OK), 0);
    assert_int_equal(probe_at("127.0.0.1:0"), 0);
    assert_int_equal(probe_at(":0"), 0);
}

static void a_budget_for_each_tick(void **state) {
    enum { N = 100 };
    struct bh_listener *l = open_at("127.0.0.1:0");
    int clients[N];
    for (int i = 0; i < N; i++)
        clients[i] = dial(bh_listener_addr(l));
    tick();
    assert_int_equal(count, 64);
    tick();
    assert_int_equal(count, N);
    for (int i = 0; i < N; i++)
        close(clients[i]);
    bh_listener_close(l);
}

static void a_share_of_the_tick(void **state) {
    enum { N = 60 };
    struct bh_listener *l = open_at("127.0.0.1:0");
    int clients[N];
    for (int i = 0; i < N; i++)
        clients[i] = dial(bh_listener_addr(l));
    accept_us = 20; /* 13 are 0.25 ms; the clock is read at the 1st, 9th and 17th */
    for (unsigned before = 0; count < N; before = count) {
        tick();
        assert_in_range(count - before, 4, 17);
    }
    accept_us = 0;
    for (int i = 0; i < N; i++)
        close(clients[i]);
    bh_listener_close(l);
}

static void closing_stops_accepting(void **state) {
    struct bh_listener *l = open_at("127.0.0.1:0");
    int client = dial(bh_listener_addr(l));
    bh_listener_close(l);
    tick();
    assert_int_equal(count, 0);
    close(client);
}

/* --- out of descriptors --- */

static struct rlimit normal_limit;

static void forbid_descriptors(void) {
    getrlimit(RLIMIT_NOFILE, &normal_limit);
    int next = dup(0);
    close(next);
    struct rlimit none = {(rlim_t)next, normal_limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void allow_descriptors(void) {
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &normal_limit), 0);
}

static void pauses_without_descriptors(void **state) {
    struct bh_listener *l = open_at("127.0.0.1:0");
    int client = dial(bh_listener_addr(l));
    int log = open("/tmp", O_TMPFILE | O_RDWR, 0600), standard_error = dup(2);
    dup2(log, 2);
    forbid_descriptors();
    for (int i = 0; i < 15; i++) { /* 1.5 seconds */
        tick();
        tick();
        bh_clock_fake_advance(100);
    }
    allow_descriptors();
    dup2(standard_error, 2);
    assert_int_equal(count, 0);

    char text[4096];
    ssize_t n = pread(log, text, sizeof text, 0);
    unsigned lines = 0;
    for (ssize_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    assert_int_equal(lines, 2); /* one a second */

    tick(); /* takes it up again */
    tick();
    assert_int_equal(count, 1);
    close(log);
    close(standard_error);
    close(client);
    bh_listener_close(l);
}

static void does_not_spin_while_paused(void **state) {
    struct bh_listener *l = open_at("127.0.0.1:0");
    int client = dial(bh_listener_addr(l));
    forbid_descriptors();
    tick();
    allow_descriptors();
    for (int i = 0; i < 10; i++)
        tick();
    assert_int_equal(count, 0);
    bh_clock_fake_advance(99);
    tick();
    tick();
    assert_int_equal(count, 0);
    bh_clock_fake_advance(1);
    tick();
    tick();
    assert_int_equal(count, 1);
    close(client);
    bh_listener_close(l);
}

static void closing_while_paused(void **state) {
    struct bh_listener *l = open_at("127.0.0.1:0");
    int client = dial(bh_listener_addr(l));
    forbid_descriptors();
    tick();
    allow_descriptors();
    bh_listener_close(l);
    bh_clock_fake_advance(1000);
    tick();
    close(client);
}

/* --- unix sockets --- */

static int make_directory(void **state) {
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof path, "%s/socket", directory);
    snprintf(path_text, sizeof path_text, "unix:%s", path);
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
    return 0;
}

static int remove_directory(void **state) {
    return rmdir(directory);
}

static bool exists(void) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static void listens_on_a_path(void **state) {
    struct bh_listener *l = open_at(path_text);
    char text[BH_ADDR_TEXT_MAX];
    bh_addr_format(bh_listener_addr(l), text);
    assert_string_equal(text, path_text);
    struct bh_addr to = test_addr(path);
    int client = dial(&to);
    tick();
    assert_int_equal(count, 1);
    assert_string_equal(peer_text, "unix");
    close(client);
    bh_listener_close(l);
    assert_false(exists());
}

static void leave_a_dead_socket(void) {
    struct bh_addr a = test_addr(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, &a.sa, a.len), 0);
    assert_int_equal(listen(fd, 1), 0);
    close(fd);
    assert_true(exists());
}

static void replaces_a_stale_socket(void **state) {
    leave_a_dead_socket();
    struct bh_listener *l = open_at(path_text);
    struct bh_addr to = test_addr(path);
    close(dial(&to));
    bh_listener_close(l);
    assert_false(exists());
}

static void respects_a_live_socket_and_other_files(void **state) {
    struct bh_listener *l = open_at(path_text);
    assert_int_equal(open_error_at(path_text), BH_EEXIST);
    assert_true(exists());
    bh_listener_close(l);

    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(open_error_at(path_text), BH_EEXIST);
    assert_true(exists());
    unlink(path);
}

static void a_full_backlog_is_not_stale(void **state) {
    struct bh_addr a = test_addr(path);
    struct bh_listener *l = NULL;
    assert_int_equal(bh_listener_open(&l, loop, &a, 0, on_accept, &count), 0);
    int clients[8];
    for (int i = 0; i < 8; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(clients[i], &a.sa, a.len);
    }
    assert_int_equal(open_error_at(path_text), BH_EEXIST);
    for (int i = 0; i < 8; i++)
        close(clients[i]);
    bh_listener_close(l);
}

static void leaves_the_successors_socket_alone(void **state) {
    struct bh_listener *old = open_at(path_text);
    unlink(path);
    struct bh_listener *new = open_at(path_text);
    bh_listener_close(old);
    assert_true(exists());
    bh_listener_close(new);
    assert_false(exists());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(accepts_with_the_right_options, setup, teardown),
        cmocka_unit_test_setup_teardown(every_interface_means_both_families, setup, teardown),
        cmocka_unit_test_setup_teardown(workers_share_a_port, setup, teardown),
        cmocka_unit_test_setup_teardown(a_probe_sees_who_shares, setup, teardown),
        cmocka_unit_test_setup_teardown(open_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(a_probe_has_the_same_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(a_budget_for_each_tick, setup, teardown),
        cmocka_unit_test_setup_teardown(a_share_of_the_tick, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_stops_accepting, setup, teardown),
        cmocka_unit_test_setup_teardown(pauses_without_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(does_not_spin_while_paused, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_while_paused, setup, teardown),
        cmocka_unit_test_setup_teardown(listens_on_a_path, setup, teardown),
        cmocka_unit_test_setup_teardown(replaces_a_stale_socket, setup, teardown),
        cmocka_unit_test_setup_teardown(respects_a_live_socket_and_other_files, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_backlog_is_not_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(leaves_the_successors_socket_alone, setup, teardown),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
