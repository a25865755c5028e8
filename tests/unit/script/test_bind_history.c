/* test_bind_history.c - bh.history, the fields of streams in publishes and messages, and on_gap.
 * The history is fake: it keeps the last question, and answers at once or when the test says so. */
#include "script_cmocka.h"

#define BH "local bh = require 'bellhop'\n"

struct fake {
    struct bh_history base;
    bool later;
    int error;
    size_t count, bytes; /* of a page, and of each message */
    struct bh_page_query query;
    struct bh_topic topic;
    struct bh_position position;
    bh_page_cb page_done;
    void *ud;
    bh_handle handle;
};

static struct bh_message *message(uint64_t offset, size_t bytes) {
    static const char filter[] = "\x02\x00\x03osios";
    struct bh_bytes data = {0};
    for (size_t i = 0; i < bytes; i++)
        bh_bytes_addc(&data, 'x');
    struct bh_message parts = {.kind = offset == 2 ? BH_MESSAGE_TOMBSTONE : BH_MESSAGE_DATA,
                               .opcode = offset == 3 ? BH_BINARY : BH_TEXT,
                               .flags = BH_MESSAGE_POSITION,
                               .position = {17, offset},
                               .stored_ms = TEST_WALL_MS + 500,
                               .id = bh_slice("m1", offset == 3 ? 0 : 2),
                               .filter = bh_slice(filter, offset == 3 ? sizeof filter - 1 : 0),
                               .payload = bh_bytes_slice(&data)};
    struct bh_topic topic;
    const char *why;
    bh_topic_make(BH_TOPIC_USER, BH_SLICE("42"), &topic, &why);
    parts.topic = &topic;
    struct bh_message *m = bh_message_new(&parts);
    bh_bytes_free(&data);
    return m;
}

static void answer_page(struct fake *f) {
    struct bh_message *messages[1000];
    if (f->error) {
        f->page_done(f->ud, f->handle, f->error, NULL, false, false,
                     f->error == BH_EDENIED ? "NOPERM" : NULL);
        return;
    }
    for (size_t i = 0; i < f->count; i++)
        messages[i] = message(i + 1, f->bytes);
    struct bh_range *range = bh_range_new(f->count, messages);
    range->top = (struct bh_position){17, f->count};
    f->page_done(f->ud, f->handle, 0, range, false, true, NULL);
    bh_range_unref(range);
}

static void on_page(struct bh_history *h, unsigned worker, const struct bh_page_query *query,
                    bh_page_cb done, void *ud, bh_handle handle) {
    struct fake *f = BH_CONTAINER_OF(h, struct fake, base);
    f->query = *query;
    f->page_done = done;
    f->ud = ud;
    f->handle = handle;
    if (!f->later)
        answer_page(f);
}

static void on_remove(struct bh_history *h, unsigned worker, const struct bh_topic *topic,
                      struct bh_position position, bh_removed_cb done, void *ud, bh_handle handle) {
    struct fake *f = BH_CONTAINER_OF(h, struct fake, base);
    f->topic = *topic;
    f->position = position;
    done(ud, handle, f->error, f->error ? 0 : 7, NULL);
}

/* For the bus, which learns where the streams of a client are. */
static void on_read(struct bh_history *h, const struct bh_topic *topic,
                    const struct bh_history_rule *rule, struct bh_position since, uint32_t limit,
                    size_t bytes, bh_range_cb done, void *ud, bh_handle handle) {
    struct bh_range *range = bh_range_new(0, NULL);
    range->outcome = BH_HISTORY_NEW;
    range->top = (struct bh_position){17, 0};
    done(ud, handle, 0, range, NULL);
    bh_range_unref(range);
}

static void on_tops(struct bh_history *h, const struct bh_topic *topics, size_t count,
                    bh_tops_cb done, void *ud, bh_handle handle) {
    done(ud, handle, BH_EUNAVAIL, NULL, 0);
}

static const struct bh_history_vt fake_vt = {
    .read = on_read, .tops = on_tops, .page = on_page, .remove = on_remove};

static struct fake *fake_new(struct env *env) {
    struct fake *f = calloc(1, sizeof *f);
    f->base.vt = &fake_vt;
    f->bytes = 1;
    bh_node_set_history(env->node, &f->base);
    return f;
}

static void fake_free(struct env *env, struct fake *f) {
    bh_node_set_history(env->node, NULL);
    free(f);
}

static bool is_topic(const struct bh_topic *t, const char *name) {
    return bh_slice_eq(bh_topic_name(t), bh_slice_cstr(name));
}

/* --- read, remove --- */

static void test_read(void **state) {
    struct env *env = *state;
    struct fake *f = fake_new(env);
    f->count = 3;
    LUA_OK(env,
           "local page = assert(bh.history.read { user = 42 })\n"
           "eq(page.position, '17-3') eq(page.more, true) eq(page.gap, false)\n"
           "eq(#page.messages, 2)\n"
           "local a, b = page.messages[1], page.messages[2]\n"
           "eq(a.id, 'm1') eq(a.position, '17-1') eq(a.time, 1700000000.5) eq(a.data, 'x')\n"
           "eq(a.opcode, 'text') eq(a.filter, nil)\n"
           "eq(b.id, nil) eq(b.position, '17-3') eq(b.opcode, 'binary') eq(b.filter.os, 'ios')");
    assert_true(is_topic(&f->query.topic, "user:42"));
    assert_int_equal(f->query.limit, 100);
    assert_int_equal(f->query.bytes, 1 << 20);
    assert_false(f->query.ascending);
    assert_int_equal(f->query.from.epoch, 0);
    fake_free(env, f);
}

static void test_an_empty_page(void **state) {
    struct env *env = *state;
    struct fake *f = fake_new(env);
    LUA_OK(env, "local page = assert(bh.history.read { user = 42 })\n"
                "eq(bh.json.encode(page.messages), '[]')");
    fake_free(env, f);
}

static void test_options(void **state) {
    static const struct {
        const char *options;
        uint64_t epoch, offset;
        unsigned limit;
        bool ascending;
    } cases[] = {
        {"limit = 1000", 0, 0, 1000, false},
        {"order = 'asc', limit = 1", 0, 0, 1, true},
        {"since = '17-3'", 17, 3, 100, true},
        {"since = '17-3', order = 'desc'", 17, 3, 100, false},
    };
    struct env *env = *state;
    struct fake *f = fake_new(env);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char code[256];
        snprintf(code, sizeof code,
                 BH
                 "return { on_init = function() assert(bh.history.read { all = true, %s }) end }",
                 cases[i].options);
        env_close_script(env);
        LOAD_OK(env, code);
        assert_true(is_topic(&f->query.topic, "all"));
        assert_int_equal(f->query.from.epoch, cases[i].epoch);
        assert_int_equal(f->query.from.offset, cases[i].offset);
        assert_int_equal(f->query.limit, cases[i].limit);
        assert_int_equal(f->query.ascending, cases[i].ascending);
    }
    fake_free(env, f);
}

static void test_misuse(void **state) {
    struct env *env = *state;
    struct fake *f = fake_new(env);
    LUA_OK(env, "local read, remove = bh.history.read, bh.history.remove\n"
                "throws('exactly one', read, {})\n"
                "throws('exactly one', remove, { user = 1, all = true })\n"
                "throws('did you mean \"since\"', read, { user = 1, sinse = '17-1' })\n"
                "throws('unknown option \"limit\"', remove, { user = 1, limit = 1 })\n"
                "throws('all must be true', read, { all = false })\n"
                "throws('user must be a string', read, { user = {} })\n"
                "throws('limit must be', read, { user = 1, limit = 0 })\n"
                "throws('limit must be', read, { user = 1, limit = 1001 })\n"
                "throws('limit must be', read, { user = 1, limit = '5' })\n"
                "throws('\"asc\" or \"desc\"', read, { user = 1, order = 'up' })\n"
                "throws('since must be a string', read, { user = 1, since = 17 })\n"
                "throws('table expected', read, 'user')\n"
                "local function nils(part, page, why) eq(page, nil)\n"
                "  if not why:find(part, 1, true) then error(why, 2) end end\n"
                "nils('since: not a position', read { user = 1, since = '_-1' })\n"
                "nils('since: not a position', read { user = 1, since = '' })\n"
                "nils('position: not a position', remove { user = 1, position = '17-' })\n"
                "nils('offset 0', remove { user = 1, position = '17-0' })\n"
                "nils('user: a user id', read { user = 'a b' })\n"
                "nils('tenant:7 has no history', read { tenant = 7 })\n"
                "nils('topic:news has no history', remove { topic = 'news' })");
    fake_free(env, f);
}

static void test_errors(void **state) {
    struct env *env = *state;
    struct fake *f = fake_new(env);
    f->error = BH_EUNAVAIL;
    LUA_OK(env,
           "local page, why = bh.history.read { user = 1 } eq(page, nil) eq(why, 'unavailable')\n"
           "local n, why = bh.history.remove { user = 1 } eq(n, nil) eq(why, 'unavailable')");
    f->error = BH_EDENIED;
    env_close_script(env);
    LUA_OK(env, "local page, why = bh.history.read { user = 1 } eq(page, nil) eq(why, 'NOPERM')");
    env_close_script(env);
    fake_free(env, f);
    LUA_OK(env, "local page, why = bh.history.read { user = 1 } eq(page, nil)\n"
                "if not why:find('has no history', 1, true) then error(why) end");
}

static void test_remove(void **state) {
    struct env *env = *state;
    struct fake *f = fake_new(env);
    LUA_OK(env, "eq(bh.history.remove { user = 42, position = '17-3' }, 7)");
    assert_true(is_topic(&f->topic, "user:42"));
    assert_int_equal(f->position.epoch, 17);
    assert_int_equal(f->position.offset, 3);
    env_close_script(env);
    LUA_OK(env, "eq(bh.history.remove { all = true }, 7)");
    assert_true(is_topic(&f->topic, "all"));
    assert_int_equal(f->position.epoch, 0);
    fake_free(env, f);
}

static void test_an_answer_that_comes_late(void **state) {
    struct env *env = *state;
    struct fake *f = fake_new(env);
    struct client p;
    f->later = true;
    f->count = 1;
    LOAD_OK(env, BH "return { on_message = function(conn)\n"
                    "  return bh.history.read { user = conn.user }.messages[1].position end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    env_run_due(env);
    assert_int_equal(p.sent_count, 0);
    answer_page(f);
    env_run_due(env);
    assert_string_equal(client_last(&p), "17-1");
    client_sends(&p, "x");
    env_run_due(env);
    env_close_script(env); /* the hook is gone when the answer comes */
    answer_page(f);
    client_free(&p);
    fake_free(env, f);
}

/* A page that does not fit is an error of that call, and the state goes on. */
static void test_a_page_beyond_the_memory(void **state) {
    struct env *env = *state;
    struct fake *f = fake_new(env);
    f->count = 1;
    f->bytes = 3 << 20;
    env->config.memory_limit = 2 << 20;
    LUA_OK(env, "local page, why = bh.history.read { user = 1 } eq(page, nil)\n"
                "if not why:find('not enough memory', 1, true) then error(why) end\n"
                "eq(bh.history.remove { user = 1 }, 7)");
    fake_free(env, f);
}

/* --- publishes and messages --- */

static void test_fields_of_a_publish(void **state) {
    LUA_OK(
        *state,
        "local function nils(part, id, why) eq(id, nil)\n"
        "  if not why:find(part, 1, true) then error(why, 2) end end\n"
        "throws('history must be true or false', bh.publish, { all = true, data = '', history = 1 "
        "})\n"
        "throws('collapse must be a string', bh.publish, { all = true, data = '', collapse = {} "
        "})\n"
        "nils('1 to 128 bytes', bh.publish { all = true, data = '', collapse = '' })\n"
        "nils('1 to 128 bytes', bh.publish { all = true, data = '', collapse = ('x'):rep(129) })\n"
        "nils('control', bh.publish { all = true, data = '', collapse = 'a\\nb' })\n"
        "nils('UTF-8', bh.publish { all = true, data = '', collapse = '\\xff' })\n"
        "assert(bh.publish { all = true, data = '', history = false })");
}

static void test_fields_of_msg(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_publish = function(msg)\n"
                    "  assert(msg.history == nil and msg.collapse == nil and msg.position == nil)\n"
                    "  msg.history = true msg.collapse = 17\n"
                    "  assert(msg.history == true and msg.collapse == '17')\n"
                    "  msg.collapse = 'a b' assert(msg.collapse == 'a b')\n"
                    "  msg.history = false msg.collapse = nil\n"
                    "  assert(msg.history == false and msg.collapse == nil)\n"
                    "  assert(not pcall(function() msg.position = '17-1' end))\n"
                    "  assert(not pcall(function() msg.collapse = '' end)) end,\n"
                    "on_deliver = function(conn, msg)\n"
                    "  assert(msg.history == nil and msg.collapse == nil)\n"
                    "  return msg.data .. tostring(msg.position) end,\n"
                    "on_message = function() return { user = 42, data = 'x' } end }");
    client_open(env, &p, "42");
    client_sends(&p, "x");
    env_run_due(env);
    assert_string_equal(client_last(&p), "xnil");
    struct bh_message *m = message(9, 1);
    struct bh_slice replacement;
    struct bh_hooks *h = env->worker->hooks;
    assert_int_equal(h->vt->deliver(h, &p.sub, m, &replacement), BH_DELIVER_REPLACED);
    assert_true(bh_slice_eq(replacement, BH_SLICE("x17-9")));
    bh_message_unref(m);
    client_free(&p);
}

/* --- on_gap --- */

static void gap(struct client *p, const char *topic, const char *why) {
    struct bh_hooks *h = p->env->worker->hooks;
    assert_true(bh_hooks_has(h, BH_HOOK_GAP));
    h->vt->gap(h, &p->sub, bh_slice_cstr(topic), why);
}

static void test_on_gap(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_gap = function(conn, topic, reason)\n"
                    "  if reason == 'bad' then error 'x' end\n"
                    "  bh.sleep(1) conn:send(topic .. ' ' .. reason) end,\n"
                    "  on_message = function() return 'pong' end }");
    client_open(env, &p, "42");
    gap(&p, "user:42", "expired");
    gap(&p, "topic:news", "expired");
    gap(&p, "topic:news", "lost"); /* the one that waits is enough */
    client_sends(&p, "ping");      /* waits for the hooks before it */
    env_advance(env, 1100);
    assert_int_equal(p.sent_count, 1);
    assert_string_equal(client_last(&p), "user:42 expired");
    env_advance(env, 1100);
    assert_int_equal(p.sent_count, 3);
    assert_string_equal(p.sent[1], "topic:news expired");
    assert_string_equal(p.sent[2], "pong");
    gap(&p, "all", "bad");
    env_run_due(env);
    assert_int_equal(p.code, 0);
    client_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_read),
        SCRIPT_TEST(test_options),
        SCRIPT_TEST(test_misuse),
        SCRIPT_TEST(test_errors),
        SCRIPT_TEST(test_an_empty_page),
        SCRIPT_TEST(test_remove),
        SCRIPT_TEST(test_an_answer_that_comes_late),
        SCRIPT_TEST(test_a_page_beyond_the_memory),
        SCRIPT_TEST(test_fields_of_a_publish),
        SCRIPT_TEST(test_fields_of_msg),
        SCRIPT_TEST(test_on_gap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
