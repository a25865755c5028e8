/* sentinel_server.c - real Sentinels over real servers. */
#include "sentinel_server.h"

#include <sys/prctl.h>
#include <sys/wait.h>

static redisContext *test_connect(uint16_t port) {
    redisContext *c = redisConnect("127.0.0.1", port);
    assert_non_null(c);
    return c;
}

/* The text of the answer to one command, or of its n-th element; empty: none. */
static void test_ask(uint16_t port, const char *command, size_t n, char *out, size_t size) {
    redisContext *c = test_connect(port);
    redisReply *r = c->err ? NULL : redisCommand(c, command);
    redisReply *e = r && r->type == REDIS_REPLY_ARRAY && n < r->elements ? r->element[n] : r;
    snprintf(out, size, "%s", e && e->str ? e->str : "");
    if (r)
        freeReplyObject(r);
    redisFree(c);
}

bool test_answers(uint16_t port, const char *command, size_t n, const char *wanted) {
    char text[256];
    test_ask(port, command, n, text, sizeof text);
    return strcmp(text, wanted) == 0;
}

void test_make_replica(const struct test_redis *replica, const struct test_redis *master) {
    test_redis_do(master, "CONFIG SET repl-diskless-sync-delay 0");
    test_redis_do(replica, "CONFIG SET repl-diskless-sync-delay 0");
    test_redis_do(replica, "REPLICAOF 127.0.0.1 %d", (int)master->port);
    TEST_WAIT_UNTIL(test_answers(replica->port, "ROLE", 3, "connected"));
}

static void test_sentinel_conf(const struct test_sentinel *s, uint16_t master) {
    char path[96];
    snprintf(path, sizeof path, "%s/sentinel.conf", s->dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "port %u\nbind 127.0.0.1\ndir %s\nlogfile sentinel.log\n"
            "sentinel monitor mymaster 127.0.0.1 %u 1\n"
            "sentinel down-after-milliseconds mymaster 300\n"
            "sentinel failover-timeout mymaster 3000\n",
            s->port, s->dir, master);
    fclose(f);
}

/* Whether it knows a replica that could be promoted. */
static bool test_sentinel_has_replica(const struct test_sentinel *s) {
    bool found = false;
    redisContext *c = test_connect(s->port);
    redisReply *r = c->err ? NULL : redisCommand(c, "SENTINEL REPLICAS mymaster");
    redisReply *one = r && r->type == REDIS_REPLY_ARRAY && r->elements ? r->element[0] : NULL;
    for (size_t i = 0; one && i + 1 < one->elements; i += 2)
        found |= strcmp(one->element[i]->str, "master-link-status") == 0 &&
                 strcmp(one->element[i + 1]->str, "ok") == 0;
    if (r)
        freeReplyObject(r);
    redisFree(c);
    return found;
}

void test_sentinel_start(struct test_sentinel *s, uint16_t master) {
    char path[96];
    *s = (struct test_sentinel){.port = test_free_port()};
    snprintf(s->dir, sizeof s->dir, "/tmp/bellhop-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    test_sentinel_conf(s, master);
    snprintf(path, sizeof path, "%s/sentinel.conf", s->dir);
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp(test_redis_program(), "redis-server", path, "--sentinel", (char *)NULL);
        _exit(127);
    }
    TEST_WAIT_UNTIL(test_sentinel_has_replica(s));
}

void test_sentinel_kill(struct test_sentinel *s) {
    if (s->pid <= 0)
        return;
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    s->pid = 0;
}

void test_sentinel_stop(struct test_sentinel *s) {
    char path[96];
    test_sentinel_kill(s);
    snprintf(path, sizeof path, "%s/sentinel.log", s->dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/sentinel.conf", s->dir);
    unlink(path);
    rmdir(s->dir);
}
