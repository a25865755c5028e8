/* test_certificates.c - which certificates are trusted. The openssl command creates them. */
#include "http_test.h"

static char folder[] = "/tmp/bellhop-http-XXXXXX";

static char *in_folder(const char *name) {
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *format, ...) {
    char words[1024], command[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    snprintf(command, sizeof command, "cd %s && %s >log 2>&1", folder, words);
    assert_int_equal(system(command), 0);
}

#define NEW_KEY "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"

static void make(const char *name, const char *san, const char *days) {
    run(NEW_KEY " -days %s -subj /CN=%s -keyout %s.key -out %s.crt -CA ca.crt -CAkey ca.key"
                " -addext subjectAltName=%s -addext basicConstraints=critical,CA:FALSE",
        days, name, name, name, san);
}

static int make_certificates(void **state) {
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "other" : "ca";
        run(NEW_KEY " -days 2 -subj /CN=%s -keyout %s.key -out %s.crt"
                    " -addext basicConstraints=critical,CA:TRUE",
            name, name, name);
    }
    make("good", "IP:127.0.0.1,DNS:localhost", "2");
    make("elsewhere", "DNS:elsewhere.example", "2");
    return 0;
}

static int remove_certificates(void **state) {
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static struct bh_tls *server_tls(const char *name) {
    char file[64], *error = NULL;
    snprintf(file, sizeof file, "%s.crt", name);
    char *crt = in_folder(file);
    snprintf(file, sizeof file, "%s.key", name);
    char *key = in_folder(file);
    struct bh_tls_config config = {
        .certificates = &crt, .certificate_count = 1, .keys = &key, .key_count = 1, .ciphers = ""};
    struct bh_tls *tls;
    if (bh_tls_new(&config, NULL, &tls, &error))
        fail_msg("%s", error);
    return tls;
}

static void with_server(const char *certificate, const char *ca, void (*test)(struct test_env *w)) {
    struct test_env *w = malloc(sizeof *w);
    struct bh_tls *tls = server_tls(certificate);
    test_env_open(w, tls);
    w->server.answer = OK_ANSWER;
    w->config.ca_file = ca ? in_folder(ca) : NULL;
    test_env_start(w);
    test(w);
    test_env_close(w);
    bh_tls_unref(tls);
    free(w);
}

static void is_good(struct test_env *w) {
    for (int i = 0; i < 3; i++) {
        struct test_result *r = test_fetch(
            w, &(struct bh_fetch_request){.url = test_url(w, "https", "127.0.0.1", "/")});
        assert_string_equal(r->why, "");
        assert_int_equal(r->status, 200);
        assert_slice(bh_bytes_slice(&r->body), "ok");
    }
    assert_int_equal(w->server.accepted, 1);
    struct test_result *r =
        test_fetch(w, &(struct bh_fetch_request){.url = test_url(w, "https", "localhost", "/")});
    assert_int_equal(r->status, 200);
    assert_int_equal(w->server.accepted, 2);
}

static void test_good(void **state) {
    with_server("good", "ca.crt", is_good);
}

static void is_refused(struct test_env *w, const char *host, const char *why) {
    struct test_result *r =
        test_fetch(w, &(struct bh_fetch_request){.url = test_url(w, "https", host, "/")});
    assert_int_equal(r->error, BH_EDENIED);
    assert_contains(r->why, "TLS certificate of ");
    assert_contains(r->why, why);
    assert_int_equal(w->server.requests, 0); /* nothing of the request was sent */
}

static void is_unknown(struct test_env *w) {
    is_refused(w, "127.0.0.1", ": unable to get local issuer certificate");
}

static void test_another_ca(void **state) {
    with_server("good", "other.crt", is_unknown);
    with_server("good", NULL, is_unknown);
}

static void is_another_name(struct test_env *w) {
    is_refused(w, "127.0.0.1", "name");
    is_refused(w, "localhost", "name");
}

static void test_another_name(void **state) {
    with_server("elsewhere", "ca.crt", is_another_name);
}

static void is_signed_by_itself(struct test_env *w) {
    is_refused(w, "127.0.0.1", "self-signed certificate");
}

static void test_signed_by_itself(void **state) {
    with_server("other", "ca.crt", is_signed_by_itself);
}

/* A server that speaks no TLS. */
static void test_no_tls(void **state) {
    struct test_env *w = malloc(sizeof *w);
    test_env_open(w, NULL);
    w->server.answer = OK_ANSWER;
    w->config.timeout_ms = 200; /* it waits for a request, and so do we */
    test_env_start(w);
    struct test_result *r =
        test_fetch(w, &(struct bh_fetch_request){.url = test_url(w, "https", "127.0.0.1", "/")});
    assert_true(r->error != 0);
    test_env_close(w);
    free(w);
}

static void test_ca_file(void **state) {
    char *error = NULL;
    struct bh_http_config config = {.ca_file = in_folder("ca.crt")};
    assert_int_equal(bh_http_config_check(&config, &error), 0);
    config.ca_file = "";
    assert_int_equal(bh_http_config_check(&config, &error), 0);
    config.ca_file = in_folder("none.crt");
    assert_int_equal(bh_http_config_check(&config, &error), BH_EINVAL);
    assert_contains(error, "none.crt: cannot be read");
    bh_free(error);
    config.ca_file = in_folder("ca.key");
    assert_int_equal(bh_http_config_check(&config, &error), BH_EINVAL);
    assert_contains(error, "ca.key: has no certificate");
    bh_free(error);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),         cmocka_unit_test(test_another_ca),
        cmocka_unit_test(test_another_name), cmocka_unit_test(test_signed_by_itself),
        cmocka_unit_test(test_no_tls),       cmocka_unit_test(test_ca_file),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
