/* redis_server.c - a real redis-server for a test. */
#include "redis_server.h"

#include <sys/prctl.h>
#include <sys/wait.h>

uint64_t test_now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void test_beat(struct bh_timer *t) {
    bh_timer_set(t, 5);
}

/* --- the server --- */

uint16_t test_free_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

const char *test_redis_program(void) {
    const char *other = getenv("BELLHOP_TEST_REDIS_SERVER");
    return other ? other : "redis-server";
}

int test_redis_major(void) {
    static int major;
    char command[512], said[256] = "";
    if (major)
        return major;
    snprintf(command, sizeof command, "'%s' --version", test_redis_program());
    FILE *f = popen(command, "r");
    assert_non_null(f);
    const char *version = fgets(said, sizeof said, f) ? strstr(said, " v=") : NULL;
    pclose(f);
    assert_non_null(version);
    major = atoi(version + 3);
    return major;
}

static void test_redis_exec(const struct test_redis *r, int major) {
    char port[8];
    const char *argv[32] = {test_redis_program(),
                            "--port",
                            port,
                            "--bind",
                            "127.0.0.1",
                            "--unixsocket",
                            r->socket,
                            "--dir",
                            r->dir,
                            "--save",
                            "",
                            "--appendonly",
                            "no",
                            "--logfile",
                            "redis.log"};
    size_t argc = 15;
    snprintf(port, sizeof port, "%u", r->port);
    if (major >= 7) { /* older ones always allow it, and do not know the option */
        argv[argc++] = "--enable-debug-command";
        argv[argc++] = "yes";
    }
    for (size_t i = 0; r->options[i]; i++)
        argv[argc++] = r->options[i];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execvp(argv[0], (char *const *)argv);
    _exit(127);
}

redisContext *test_redis_client(const struct test_redis *r) {
    redisContext *c = redisConnectUnix(r->socket);
    assert_non_null(c);
    assert_int_equal(c->err, 0);
    return c;
}

static bool test_redis_answers(const struct test_redis *r) {
    redisContext *c = redisConnectUnix(r->socket);
    redisReply *reply = c && !c->err ? redisCommand(c, "PING") : NULL;
    bool answers = reply != NULL;
    if (reply)
        freeReplyObject(reply);
    if (c)
        redisFree(c);
    return answers;
}

void test_redis_run(struct test_redis *r) {
    uint64_t deadline = test_now_ms() + TEST_DEADLINE_MS;
    int major = test_redis_major();
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0)
        test_redis_exec(r, major);
    while (!test_redis_answers(r)) {
        assert_int_equal(waitpid(r->pid, NULL, WNOHANG), 0);
        assert_true(test_now_ms() < deadline);
        nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
    }
}

void test_redis_kill(struct test_redis *r) {
    if (r->pid <= 0)
        return;
    kill(r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
    unlink(r->socket);
}

void test_redis_start(struct test_redis *r) {
    memset(r, 0, sizeof *r);
    snprintf(r->dir, sizeof r->dir, "/tmp/bellhop-test-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->socket, sizeof r->socket, "%s/redis.sock", r->dir);
    r->port = test_free_port();
    test_redis_run(r);
}

void test_redis_stop(struct test_redis *r) {
    static const char *const files[] = {"redis.log", "dump.rdb"};
    char path[96];
    test_redis_kill(r);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", r->dir, files[i]);
        unlink(path);
    }
    rmdir(r->dir);
}

long long test_redis_do(const struct test_redis *r, const char *format, ...) {
    va_list args;
    redisContext *c = test_redis_client(r);
    va_start(args, format);
    redisReply *reply = redisvCommand(c, format, args);
    va_end(args);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, reply->str);
    long long n = reply->integer;
    freeReplyObject(reply);
    redisFree(c);
    return n;
}
