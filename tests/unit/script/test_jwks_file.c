/* test_jwks_file.c - bh.jwt.verify with a key set in a file that changes. */
#include "script_cmocka.h"

#include "bellhop/base/log.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/jwt.h"

#include <fcntl.h>
#include <sys/stat.h>

/* Secrets of different sizes: two writes within one tick of the kernel's clock differ by that. */
#define OLD_SECRET "the secret of the first file: 32 bytes"
#define NEW_SECRET "another secret, that of the second file, longer"

/* --- a script that verifies what it is told, with the file keys.json beside it --- */

static struct client client;

static void load(struct env *env) {
    char source[1024];
    snprintf(source, sizeof source,
             "local bh = require 'bellhop'\n"
             "return { on_message = function(conn, token)\n"
             "  local ran, claims, why = pcall(bh.jwt.verify, token,\n"
             "    { alg = { 'HS256', 'RS256', 'EdDSA' }, jwks = '%s/keys.json' })\n"
             "  if not ran then return 'threw ' .. claims end\n"
             "  return claims and 'good' or why\n"
             "end }",
             env->dir);
    LOAD_OK(env, source);
    client_open(env, &client, "u1");
}

static const char *verify(struct env *env, const char *token) {
    client_forget(&client);
    client_sends(&client, token);
    env_run_due(env);
    return client_last(&client);
}

/* With a token signed by this secret. */
static const char *verify_by(struct env *env, const char *secret) {
    struct bh_jwt_key *key = bh_jwt_key_secret(bh_slice_cstr(secret));
    struct bh_bytes token = {0};
    bh_jwt_sign(BH_JWT_HS256, key, BH_SLICE("{}"), &token);
    bh_bytes_addc(&token, '\0');
    const char *answer = verify(env, token.p);
    bh_bytes_free(&token);
    bh_jwt_key_free(key);
    return answer;
}

static void write_keys(struct env *env, const char *name, const char *secret) {
    char k[128] = "", text[256];
    bh_base64url_encode(bh_slice_cstr(secret), k);
    snprintf(text, sizeof text, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"%s\"}]}", k);
    env_write(env, name, text);
}

static const char *path_of(struct env *env, const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", env->dir, name);
    return path;
}

#define assert_answer(answer, part)                                                                \
    do {                                                                                           \
        const char *answer_ = (answer);                                                            \
        if (!strstr(answer_, part))                                                                \
            fail_msg("the answer is: %s", answer_);                                                \
    } while (0)

/* --- what is logged goes to a file meanwhile --- */

static int real_stderr;

static void catch_log(struct env *env) {
    int fd = open(path_of(env, "log"), O_CREAT | O_RDWR | O_APPEND, 0600);
    real_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
}

/* The number of lines that contain this. */
static unsigned logged(struct env *env, const char *part) {
    char line[1024];
    unsigned n = 0;
    FILE *f = fopen(path_of(env, "log"), "r");
    while (fgets(line, sizeof line, f))
        n += strstr(line, part) != NULL;
    fclose(f);
    return n;
}

static void release_log(void) {
    bh_log_init(BH_LOG_OFF, BH_LOG_LOGFMT, false, NULL);
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
}

/* --- the tests --- */

static void test_changed_file_is_read_within_a_second(void **state) {
    struct env *env = *state;
    write_keys(env, "keys.json", OLD_SECRET);
    load(env);
    assert_answer(verify_by(env, OLD_SECRET), "good");
    assert_answer(verify_by(env, NEW_SECRET), "signature");
    write_keys(env, "keys.json", NEW_SECRET);
    env_advance(env, 900);
    assert_answer(verify_by(env, OLD_SECRET), "good"); /* not looked yet */
    env_advance(env, 100);
    assert_answer(verify_by(env, NEW_SECRET), "good");
    assert_answer(verify_by(env, OLD_SECRET), "signature");
    client_free(&client);
}

/* A replacement of the same size and time: only the inode differs. */
static void test_replaced_file_is_read(void **state) {
    struct env *env = *state;
    const struct timespec times[2] = {{.tv_sec = 1600000000}, {.tv_sec = 1600000000}};
    char from[128];
    write_keys(env, "keys.json", "secret number 1 of the second test");
    utimensat(AT_FDCWD, path_of(env, "keys.json"), times, 0);
    load(env);
    assert_answer(verify_by(env, "secret number 1 of the second test"), "good");
    write_keys(env, "next.json", "secret number 2 of the second test");
    utimensat(AT_FDCWD, path_of(env, "next.json"), times, 0);
    snprintf(from, sizeof from, "%s", path_of(env, "next.json"));
    assert_int_equal(rename(from, path_of(env, "keys.json")), 0);
    env_advance(env, 1000);
    assert_answer(verify_by(env, "secret number 2 of the second test"), "good");
    client_free(&client);
}

static void test_broken_file_keeps_the_old_keys(void **state) {
    struct env *env = *state;
    static const char *const broken[] = {"", "{\"keys\":[", "{\"keys\":{}}", "<html>"};
    write_keys(env, "keys.json", OLD_SECRET);
    load(env);
    assert_answer(verify_by(env, OLD_SECRET), "good");
    catch_log(env);
    for (unsigned i = 0; i < 4; i++) {
        env_write(env, "keys.json", broken[i]);
        for (int looks = 0; looks < 3; looks++) {
            env_advance(env, 1000);
            assert_answer(verify_by(env, OLD_SECRET), "good");
        }
        assert_int_equal(logged(env, "key set not usable, keeping the previous keys"), i + 1);
    }
    assert_int_equal(logged(env, "keys.json"), 4);
    write_keys(env, "keys.json", NEW_SECRET);
    env_advance(env, 1000);
    assert_answer(verify_by(env, NEW_SECRET), "good");
    release_log();
    client_free(&client);
}

static void test_removed_file_keeps_its_keys(void **state) {
    struct env *env = *state;
    write_keys(env, "keys.json", OLD_SECRET);
    load(env);
    assert_answer(verify_by(env, OLD_SECRET), "good");
    catch_log(env);
    for (unsigned times = 1; times <= 2; times++) {
        unlink(path_of(env, "keys.json"));
        for (int looks = 0; looks < 3; looks++) {
            env_advance(env, 1000);
            assert_answer(verify_by(env, OLD_SECRET), "good");
        }
        assert_int_equal(logged(env, "No such file"), times);
        write_keys(env, "keys.json", OLD_SECRET);
        env_advance(env, 1000);
        assert_answer(verify_by(env, OLD_SECRET), "good");
    }
    release_log();
    client_free(&client);
}

static void test_empty_set_removes_all_keys(void **state) {
    struct env *env = *state;
    write_keys(env, "keys.json", OLD_SECRET);
    load(env);
    assert_answer(verify_by(env, OLD_SECRET), "good");
    catch_log(env);
    env_write(env, "keys.json", "{\"keys\":[]}");
    env_advance(env, 1000);
    assert_answer(verify_by(env, OLD_SECRET), "no key of the set");
    assert_int_equal(logged(env, "usable=0"), 1);
    release_log();
    client_free(&client);
}

static void test_missing_file_is_a_clear_error(void **state) {
    struct env *env = *state;
    load(env);
    assert_answer(verify_by(env, OLD_SECRET), "threw");
    assert_answer(verify_by(env, OLD_SECRET), "option jwks: ");
    assert_answer(verify_by(env, OLD_SECRET), path_of(env, "keys.json"));
    assert_answer(verify_by(env, OLD_SECRET), "No such file");
    write_keys(env, "keys.json", OLD_SECRET);
    assert_answer(verify_by(env, OLD_SECRET), "No such file"); /* not looked yet */
    env_advance(env, 1000);
    assert_answer(verify_by(env, OLD_SECRET), "good");
    client_free(&client);
}

/* Each must return at once; opening a FIFO without a writer would block. */
static void test_not_a_key_file(void **state) {
    struct env *env = *state;
    load(env);
    mkdir(path_of(env, "keys.json"), 0700);
    assert_answer(verify_by(env, OLD_SECRET), "not a regular file");
    rmdir(path_of(env, "keys.json"));
    mkfifo(path_of(env, "keys.json"), 0600);
    env_advance(env, 1000);
    assert_answer(verify_by(env, OLD_SECRET), "not a regular file");
    unlink(path_of(env, "keys.json"));
    env_write(env, "keys.json", "{\"keys\":[]}");
    assert_int_equal(truncate(path_of(env, "keys.json"), (off_t)1 << 40), 0);
    env_advance(env, 1000);
    assert_answer(verify_by(env, OLD_SECRET), "larger than 256 KiB");
    env_write(env, "keys.json", "no keys");
    env_advance(env, 1000);
    assert_answer(verify_by(env, OLD_SECRET), "not a JSON object");
    client_free(&client);
}

/* RFC 8037, appendix A: the signature is valid, but the payload is not claims. */
static void test_public_key(void **state) {
    struct env *env = *state;
    env_write(env, "keys.json",
              "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
              "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}");
    load(env);
    assert_answer(verify(env, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
                              ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5B"
                              "hVsPt9g7sVvpAr_MuM0KAg"),
                  "claims are malformed");
    assert_answer(verify(env, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
                              ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5B"
                              "hVsPt9g7sVvpAr_MuM0KAA"),
                  "signature");
    assert_answer(verify_by(env, OLD_SECRET), "no key of the set");
    client_free(&client);
}

static void test_misuse(void **state) {
    LUA_OK(*state,
           "local v, s = bh.jwt.verify, bh.jwt.sign\n"
           "throws('exclude each other', v, 't', { alg = 'HS256', key = 'k', jwks = '/x' })\n"
           "throws('not a boolean', v, 't', { alg = 'HS256', jwks = true })\n"
           "throws('not a number', v, 't', { alg = 'HS256', jwks = 7 })\n"
           "throws('not a path', v, 't', { alg = 'HS256', jwks = '' })\n"
           "throws('not a path', v, 't', { alg = 'HS256', jwks = '/x\\0y' })\n"
           "throws('option alg is missing', v, 't', { jwks = '/x' })\n"
           "throws('did you mean \"jwks\"', v, 't', { alg = 'HS256', jwk = '/x' })\n"
           "throws('unknown option', s, {}, { alg = 'HS256', key = 'k', jwks = '/x' })");
}

static void test_many_files(void **state) {
    LUA_OK(*state, "for i = 1, 200 do throws('No such file', bh.jwt.verify, 't',\n"
                   "  { alg = 'HS256', jwks = '/nowhere/' .. i }) end");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_changed_file_is_read_within_a_second),
        SCRIPT_TEST(test_replaced_file_is_read),
        SCRIPT_TEST(test_broken_file_keeps_the_old_keys),
        SCRIPT_TEST(test_removed_file_keeps_its_keys),
        SCRIPT_TEST(test_empty_set_removes_all_keys),
        SCRIPT_TEST(test_missing_file_is_a_clear_error),
        SCRIPT_TEST(test_not_a_key_file),
        SCRIPT_TEST(test_public_key),
        SCRIPT_TEST(test_misuse),
        SCRIPT_TEST(test_many_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
