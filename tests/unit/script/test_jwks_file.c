/* test_jwks_file.c - bh.jwt.verify with a key set in a file that changes under it. */
#include "script_cmocka.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/jwt.h"

#include <fcntl.h>
#include <sys/stat.h>

/* Secrets of different sizes: two writes within one tick of the kernel's clock differ by that. */
#define OLD_SECRET "the secret of the first file"
#define NEW_SECRET "another secret, that of the second file"

/* --- a script that verifies what it is told, with the file keys.json beside it --- */

static struct phone phone;

static void load(struct world *w) {
    char source[1024];
    snprintf(source, sizeof source,
             "local bh = require 'bellhop'\n"
             "return { on_message = function(conn, token)\n"
             "  local ran, claims, why = pcall(bh.jwt.verify, token,\n"
             "    { alg = { 'HS256', 'RS256', 'EdDSA' }, jwks = '%s/keys.json' })\n"
             "  if not ran then return 'threw ' .. claims end\n"
             "  return claims and 'good' or why\n"
             "end }",
             w->dir);
    LOAD_OK(w, source);
    phone_open(w, &phone, "u1");
}

static const char *verify(struct world *w, const char *token) {
    phone_forget(&phone);
    phone_says(&phone, token);
    world_ticks(w);
    return phone_last(&phone);
}

/* With a token signed by this secret. */
static const char *verify_by(struct world *w, const char *secret) {
    struct bh_jwt_key *key = bh_jwt_key_secret(bh_slice_cstr(secret));
    struct bh_bytes token = {0};
    bh_jwt_sign(BH_JWT_HS256, key, BH_SLICE("{}"), &token);
    bh_bytes_addc(&token, '\0');
    const char *answer = verify(w, token.p);
    bh_bytes_free(&token);
    bh_jwt_key_free(key);
    return answer;
}

static void write_keys(struct world *w, const char *name, const char *secret) {
    char k[128] = "", text[256];
    bh_base64url_encode(bh_slice_cstr(secret), k);
    snprintf(text, sizeof text, "{\"keys\":[{\"kty\":\"oct\",\"k\":\"%s\"}]}", k);
    world_write(w, name, text);
}

static const char *path_of(struct world *w, const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
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

static void catch_log(struct world *w) {
    int fd = open(path_of(w, "log"), O_CREAT | O_RDWR | O_APPEND, 0600);
    real_stderr = dup(STDERR_FILENO);
    dup2(fd, STDERR_FILENO);
    close(fd);
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
}

/* How many lines hold this. */
static unsigned logged(struct world *w, const char *part) {
    char line[1024];
    unsigned n = 0;
    FILE *f = fopen(path_of(w, "log"), "r");
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

static void test_a_changed_file_is_read_within_a_second(void **state) {
    struct world *w = *state;
    write_keys(w, "keys.json", OLD_SECRET);
    load(w);
    assert_answer(verify_by(w, OLD_SECRET), "good");
    assert_answer(verify_by(w, NEW_SECRET), "signature");
    write_keys(w, "keys.json", NEW_SECRET);
    world_pass(w, 900);
    assert_answer(verify_by(w, OLD_SECRET), "good"); /* not looked yet */
    world_pass(w, 100);
    assert_answer(verify_by(w, NEW_SECRET), "good");
    assert_answer(verify_by(w, OLD_SECRET), "signature");
    phone_free(&phone);
}

/* A file of the same size and time in its place: only its inode tells. */
static void test_a_replaced_file_is_noticed(void **state) {
    struct world *w = *state;
    const struct timespec times[2] = {{.tv_sec = 1600000000}, {.tv_sec = 1600000000}};
    char from[128];
    write_keys(w, "keys.json", "secret number 1");
    utimensat(AT_FDCWD, path_of(w, "keys.json"), times, 0);
    load(w);
    assert_answer(verify_by(w, "secret number 1"), "good");
    write_keys(w, "next.json", "secret number 2");
    utimensat(AT_FDCWD, path_of(w, "next.json"), times, 0);
    snprintf(from, sizeof from, "%s", path_of(w, "next.json"));
    assert_int_equal(rename(from, path_of(w, "keys.json")), 0);
    world_pass(w, 1000);
    assert_answer(verify_by(w, "secret number 2"), "good");
    phone_free(&phone);
}

static void test_a_broken_file_keeps_the_old_keys(void **state) {
    struct world *w = *state;
    static const char *const broken[] = {"", "{\"keys\":[", "{\"keys\":{}}", "<html>"};
    write_keys(w, "keys.json", OLD_SECRET);
    load(w);
    assert_answer(verify_by(w, OLD_SECRET), "good");
    catch_log(w);
    for (unsigned i = 0; i < 4; i++) {
        world_write(w, "keys.json", broken[i]);
        for (int looks = 0; looks < 3; looks++) {
            world_pass(w, 1000);
            assert_answer(verify_by(w, OLD_SECRET), "good");
        }
        assert_int_equal(logged(w, "key set not usable, keeping the previous keys"), i + 1);
    }
    assert_int_equal(logged(w, "keys.json"), 4);
    write_keys(w, "keys.json", NEW_SECRET);
    world_pass(w, 1000);
    assert_answer(verify_by(w, NEW_SECRET), "good");
    release_log();
    phone_free(&phone);
}

static void test_a_file_that_goes_keeps_its_keys(void **state) {
    struct world *w = *state;
    write_keys(w, "keys.json", OLD_SECRET);
    load(w);
    assert_answer(verify_by(w, OLD_SECRET), "good");
    catch_log(w);
    for (unsigned times = 1; times <= 2; times++) {
        unlink(path_of(w, "keys.json"));
        for (int looks = 0; looks < 3; looks++) {
            world_pass(w, 1000);
            assert_answer(verify_by(w, OLD_SECRET), "good");
        }
        assert_int_equal(logged(w, "No such file"), times);
        write_keys(w, "keys.json", OLD_SECRET);
        world_pass(w, 1000);
        assert_answer(verify_by(w, OLD_SECRET), "good");
    }
    release_log();
    phone_free(&phone);
}

static void test_an_empty_set_takes_all_keys_away(void **state) {
    struct world *w = *state;
    write_keys(w, "keys.json", OLD_SECRET);
    load(w);
    assert_answer(verify_by(w, OLD_SECRET), "good");
    catch_log(w);
    world_write(w, "keys.json", "{\"keys\":[]}");
    world_pass(w, 1000);
    assert_answer(verify_by(w, OLD_SECRET), "no key of the set");
    assert_int_equal(logged(w, "usable=0"), 1);
    release_log();
    phone_free(&phone);
}

static void test_a_missing_file_is_a_clear_error(void **state) {
    struct world *w = *state;
    load(w);
    assert_answer(verify_by(w, OLD_SECRET), "threw");
    assert_answer(verify_by(w, OLD_SECRET), "option jwks: ");
    assert_answer(verify_by(w, OLD_SECRET), path_of(w, "keys.json"));
    assert_answer(verify_by(w, OLD_SECRET), "No such file");
    write_keys(w, "keys.json", OLD_SECRET);
    assert_answer(verify_by(w, OLD_SECRET), "No such file"); /* not looked yet */
    world_pass(w, 1000);
    assert_answer(verify_by(w, OLD_SECRET), "good");
    phone_free(&phone);
}

/* Each must answer at once; a FIFO without a writer would wait for ever. */
static void test_what_is_no_key_file(void **state) {
    struct world *w = *state;
    load(w);
    mkdir(path_of(w, "keys.json"), 0700);
    assert_answer(verify_by(w, OLD_SECRET), "not a regular file");
    rmdir(path_of(w, "keys.json"));
    mkfifo(path_of(w, "keys.json"), 0600);
    world_pass(w, 1000);
    assert_answer(verify_by(w, OLD_SECRET), "not a regular file");
    unlink(path_of(w, "keys.json"));
    world_write(w, "keys.json", "{\"keys\":[]}");
    assert_int_equal(truncate(path_of(w, "keys.json"), (off_t)1 << 40), 0);
    world_pass(w, 1000);
    assert_answer(verify_by(w, OLD_SECRET), "larger than 256 KiB");
    world_write(w, "keys.json", "no keys");
    world_pass(w, 1000);
    assert_answer(verify_by(w, OLD_SECRET), "not a JSON object");
    phone_free(&phone);
}

/* RFC 8037, appendix A: the signature holds, but what is signed are no claims. */
static void test_a_public_key(void **state) {
    struct world *w = *state;
    world_write(w, "keys.json",
                "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\","
                "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}");
    load(w);
    assert_answer(verify(w, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
                            ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5B"
                            "hVsPt9g7sVvpAr_MuM0KAg"),
                  "claims are malformed");
    assert_answer(verify(w, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
                            ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5B"
                            "hVsPt9g7sVvpAr_MuM0KAA"),
                  "signature");
    assert_answer(verify_by(w, OLD_SECRET), "no key of the set");
    phone_free(&phone);
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
        SCRIPT_TEST(test_a_changed_file_is_read_within_a_second),
        SCRIPT_TEST(test_a_replaced_file_is_noticed),
        SCRIPT_TEST(test_a_broken_file_keeps_the_old_keys),
        SCRIPT_TEST(test_a_file_that_goes_keeps_its_keys),
        SCRIPT_TEST(test_an_empty_set_takes_all_keys_away),
        SCRIPT_TEST(test_a_missing_file_is_a_clear_error),
        SCRIPT_TEST(test_what_is_no_key_file),
        SCRIPT_TEST(test_a_public_key),
        SCRIPT_TEST(test_misuse),
        SCRIPT_TEST(test_many_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
