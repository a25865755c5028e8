/* test_lookup.c - a silent name server blocks no worker: by default libcurl waits for its lookup
 * threads, which would stop the loop. The test replaces the resolver of the system. */
#include "http_test.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned asked, left;
static bool released;

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out) {
    static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (host && strcmp(host, "slow.invalid") == 0) {
        pthread_mutex_lock(&lock);
        asked++;
        while (!released)
            pthread_cond_wait(&changed, &lock);
        left++;
        pthread_mutex_unlock(&lock);
        return EAI_AGAIN;
    }
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(host, service, hints, out);
}

static unsigned read_locked(const unsigned *count) {
    pthread_mutex_lock(&lock);
    unsigned n = *count;
    pthread_mutex_unlock(&lock);
    return n;
}

static void release(void) {
    pthread_mutex_lock(&lock);
    released = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* The lookups do not end during the test: waiting for one would never return. */
static void test_silent_name_server(void **state) {
    struct test_env *w = malloc(sizeof *w);
    struct bh_fetch_request slow = {.url = BH_SLICE("http://slow.invalid/"), .timeout_ms = 1000};
    test_env_open(w, NULL);
    w->server.answer = OK_ANSWER;
    test_env_start(w);
    struct test_result *r = test_fetch(w, &slow);
    assert_int_equal(r->error, BH_ETIMEDOUT);

    slow.timeout_ms = 0;
    unsigned number = test_send_request(w, &slow);
    test_until(w, read_locked(&asked) == 2);
    w->fetch->vt->cancel(w->fetch, w->handles[number]);
    r = test_fetch(w, &(struct bh_fetch_request){.url = test_plain(w, "/")});
    assert_int_equal(r->status, 200);

    test_send_request(w, &slow);
    test_until(w, read_locked(&asked) == 3);
    bh_http_fetch_free(w->fetch);
    w->fetch = NULL;
    assert_int_equal(read_locked(&left), 0);
    release();
    test_until(w, read_locked(&left) == 3);
    test_env_close(w);
    free(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_silent_name_server)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
