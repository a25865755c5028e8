/* test_hooks_conn.c - the ordered hooks of a connection, and the life of its object. */
#include "script_cmocka.h"

#define BH "local bh = require 'bellhop'\n"

static void test_echo(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_message = function(conn, data) return data end }");
    client_open(env, &p, "u1");
    client_sends(&p, "hello");
    assert_string_equal(client_last(&p), "hello");
    assert_int_equal(p.opcodes[0], BH_TEXT);
    client_sends_bytes(&p, BH_BINARY, BH_SLICE("\xff\x00"));
    assert_int_equal(p.opcodes[1], BH_BINARY);
    client_free(&p);
}

static void test_reply_that_is_not_utf8_is_binary(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_message = function(conn, data) return '\\xff' end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    assert_int_equal(p.opcodes[0], BH_BINARY);
    client_free(&p);
}

static void test_opcode_argument(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_message = function(conn, data, opcode) return opcode end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "text");
    client_sends_bytes(&p, BH_BINARY, BH_SLICE("x"));
    assert_string_equal(client_last(&p), "binary");
    client_free(&p);
}

static void test_nil_continues_the_chain(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_message = function(c, d) if d == 'a' then return 'from a' end end }",
            "return { on_message = function(c, d) if d == 'b' then return 'from b' end end }",
            "return { on_message = function(c, d) if d ~= 'x' then return 'from c' end end }");
    client_open(env, &p, "u1");
    client_sends(&p, "a");
    assert_string_equal(client_last(&p), "from a");
    client_sends(&p, "b");
    assert_string_equal(client_last(&p), "from b");
    client_sends(&p, "c");
    assert_string_equal(client_last(&p), "from c");
    assert_int_equal(p.code, 0);
    client_sends(&p, "x");
    assert_int_equal(p.code, 1008);
    client_free(&p);
}

static void test_messages_may_be_ignored(void **state) {
    struct env *env = *state;
    struct client p;
    env->config.client_messages = true;
    LOAD_OK(env, "return { on_message = function() end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    assert_int_equal(p.code, 0);
    assert_int_equal(p.sent_count, 0);
    client_free(&p);
}

static void test_error_ends_the_chain(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_message = function() error 'bad' end }",
            "return { on_message = function() return 'leaked' end }");
    client_open(env, &p, "u1");
    for (int i = 0; i < 3; i++)
        client_sends(&p, "x");
    assert_int_equal(p.sent_count, 0);
    assert_int_equal(p.code, 0);
    client_free(&p);
}

static void test_false_closes(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_message = function(c, d)\n"
                 "  if d == 'plain' then return false end\n"
                 "  if d == 'bad' then return false, 1006, 'x' end\n"
                 "  return false, 4000, 'enough' end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    assert_int_equal(p.code, 4000);
    assert_string_equal(p.reason, "enough");
    p.code = 0;
    client_sends(&p, "plain");
    assert_int_equal(p.code, 1008);
    p.code = 0;
    client_sends(&p, "bad");
    assert_int_equal(p.code, 1008);
    client_free(&p);
}

static void test_deliver_misuse_skips(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_message = function() return 42 end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    assert_int_equal(p.sent_count, 0);
    client_free(&p);
}

static void test_table_is_published(void **state) {
    struct env *env = *state;
    struct client p, q;
    LOAD_OK(env, "return { on_message = function(conn, d)\n"
                 "  if d == 'bad' then return { user = 'u2', date = 'x' } end\n"
                 "  return { user = 'u2', data = d, except = conn } end }");
    client_open(env, &p, "u1");
    client_open(env, &q, "u2");
    client_sends(&p, "hi");
    env_run_due(env);
    assert_string_equal(client_last(&q), "hi");
    client_sends(&p, "bad");
    env_run_due(env);
    assert_int_equal(q.sent_count, 1);
    assert_int_equal(p.sent_count, 0);
    client_free(&p);
    client_free(&q);
}

/* --- order --- */

static void test_messages_run_in_order(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  if d == 'slow' then bh.sleep(1) end return d end }");
    client_open(env, &p, "u1");
    client_sends(&p, "slow");
    client_sends(&p, "2");
    client_sends(&p, "3");
    assert_int_equal(p.sent_count, 0);
    env_advance(env, 1100);
    assert_int_equal(p.sent_count, 3);
    assert_string_equal(p.sent[0], "slow");
    assert_string_equal(p.sent[1], "2");
    assert_string_equal(p.sent[2], "3");
    client_free(&p);
}

static void test_messages_wait_for_open(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_open = function(c) bh.sleep(1) c:send('welcome') end,\n"
                    "  on_message = function(c, d) return d end }");
    client_open(env, &p, "u1");
    client_sends(&p, "hi");
    assert_int_equal(p.sent_count, 0);
    env_advance(env, 1100);
    assert_int_equal(p.sent_count, 2);
    assert_string_equal(p.sent[0], "welcome");
    client_free(&p);
}

static void test_connections_are_independent(void **state) {
    struct env *env = *state;
    struct client p, q;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  if d == 'slow' then bh.sleep(1) end return d end }");
    client_open(env, &p, "u1");
    client_open(env, &q, "u2");
    client_sends(&p, "slow");
    client_sends(&q, "quick");
    assert_string_equal(client_last(&q), "quick");
    env_advance(env, 1100);
    assert_string_equal(client_last(&p), "slow");
    client_free(&p);
    client_free(&q);
}

static void test_back_pressure_by_count(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  if d == 'slow' then bh.sleep(1) end return d end }");
    client_open(env, &p, "u1");
    client_sends(&p, "slow");
    for (int i = 0; i < 32; i++)
        client_sends(&p, "x");
    assert_false(p.paused);
    client_sends(&p, "x");
    assert_true(p.paused);
    env_advance(env, 1100);
    assert_false(p.paused);
    assert_int_equal(p.sent_count, 34);
    client_free(&p);
}

static void test_back_pressure_by_bytes(void **state) {
    struct env *env = *state;
    struct client p;
    size_t n = 200 * 1024;
    char *big = bh_calloc(1, n);
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  if d == 'slow' then bh.sleep(1) end return true end }");
    client_open(env, &p, "u1");
    client_sends(&p, "slow");
    client_sends_bytes(&p, BH_BINARY, bh_slice(big, n));
    assert_false(p.paused);
    client_sends_bytes(&p, BH_BINARY, bh_slice(big, n));
    assert_true(p.paused);
    env_advance(env, 1100);
    assert_false(p.paused);
    bh_free(big);
    client_free(&p);
}

/* --- open --- */

static void test_open_error_closes(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_open = function() error 'x' end }");
    client_open(env, &p, "u1");
    assert_int_equal(p.code, 1011);
    client_free(&p);
}

static void test_open_may_refuse(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, "return { on_open = function() return false, 4001, 'no' end }");
    client_open(env, &p, "u1");
    assert_int_equal(p.code, 4001);
    client_free(&p);
}

/* --- subscribe --- */

static void test_subscribe(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_subscribe = function(c, topic)\n"
                    "    if topic == 'slow' then bh.sleep(1) end\n"
                    "    if topic == 'broken' then error 'x' end\n"
                    "    if topic == 'secret' then return false, 403 end\n"
                    "    if topic == 'odd' then return 7 end\n"
                    "  end,\n"
                    "  on_message = function(c, d)\n"
                    "    local ok, why = c:subscribe(d)\n"
                    "    return tostring(ok) .. ' ' .. tostring(why) .. ' '\n"
                    "      .. table.concat(c:topics(), ',') end }");
    client_open(env, &p, "u1");
    client_sends(&p, "news");
    assert_string_equal(client_last(&p), "true nil news");
    client_sends(&p, "news");
    assert_string_equal(client_last(&p), "true nil news");
    client_sends(&p, "secret");
    assert_string_equal(client_last(&p), "nil denied news");
    client_sends(&p, "broken");
    assert_string_equal(client_last(&p), "nil denied news");
    client_sends(&p, "odd");
    assert_string_equal(client_last(&p), "nil denied news");
    client_sends(&p, "no topic");
    assert_string_equal(client_last(&p), "nil invalid argument news");
    client_sends(&p, "slow");
    env_advance(env, 1100);
    assert_string_equal(client_last(&p), "true nil news,slow");
    client_free(&p);
}

static void test_topics_of_the_identity_run_on_subscribe(void **state) {
    struct env *env = *state;
    struct client p;
    const struct bh_slice topics[] = {BH_SLICE("a"), BH_SLICE("b"), BH_SLICE("c")};
    struct bh_identity parts = {.topics = topics, .topic_count = 3}, *identity;
    LOAD_OK(env, "return { on_subscribe = function(c, topic) return topic ~= 'b' end,\n"
                 "  on_message = function(c) local t = c:topics() table.sort(t)\n"
                 "    return table.concat(t, ',') end }");
    bh_identity_new(&parts, &identity, NULL);
    client_open_as(env, &p, identity);
    assert_true(p.opened);
    client_sends(&p, "?");
    assert_string_equal(client_last(&p), "a,c");
    client_free(&p);
}

static void test_unsubscribe(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env,
            "return { on_unsubscribe = function(c, topic, why) c:send(topic .. ':' .. why) end,\n"
            "  on_message = function(c) c:subscribe('t') c:unsubscribe('t')\n"
            "    local ok, why = c:unsubscribe('t') c:send(tostring(why)) return 'done' end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    assert_int_equal(p.sent_count, 3);
    assert_string_equal(p.sent[0], "not found");
    assert_string_equal(p.sent[1], "done");
    assert_string_equal(p.sent[2], "t:unsubscribed");
    client_free(&p);
}

/* --- close --- */

/* Each hook appends to `log`, which the witness reads. */
#define LOG "log = {}\nlocal function note(...) log[#log + 1] = table.concat({...}, ' ') end\n"
#define WITNESS                                                                                    \
    "return { on_message = function(c, d) if d == 'log' then "                                     \
    "local l = table.concat(log, '|') log = {} collectgarbage() return l end end }"

static void test_close_runs_once_and_last(void **state) {
    struct env *env = *state;
    struct client p, witness;
    LOAD_OK(env, WITNESS,
            BH LOG "return { on_message = function(c, d) bh.sleep(1)\n"
                   "    local ok, why = c:send('x') note(d, tostring(ok), tostring(why))\n"
                   "    return 'reply' end,\n"
                   "  on_unsubscribe = function(c, t, why) note('left', t, why, c.user) end,\n"
                   "  on_close = function(c, info)\n"
                   "    note('close', info.code, info.reason, c.user, c.ip, c.id,\n"
                   "      tostring(c.closed), tostring(c.vars.x)) end,\n"
                   "  on_open = function(c) c.vars.x = 5 c:subscribe('t') end }");
    client_open(env, &witness, "w");
    client_open(env, &p, "u1");
    char id[BH_CONNECTION_ID_LEN + 1], expected[256];
    bh_connection_id(p.sub.number, id);
    client_sends(&p, "one");
    client_sends(&p, "two");
    client_closed(&p, 4000, "bye");
    assert_null(p.sub.script);
    env_advance(env, 2500);
    client_sends(&witness, "log");
    snprintf(expected, sizeof expected,
             "one nil closed|two nil closed|left t closed u1|close 4000 bye u1 192.0.2.1 %s true 5",
             id);
    assert_string_equal(client_last(&witness), expected);
    assert_int_equal(p.sent_count, 0);
    client_free(&p);
    client_free(&witness);
}

static void test_close_without_earlier_hooks(void **state) {
    struct env *env = *state;
    struct client p, witness;
    LOAD_OK(env, WITNESS, LOG "return { on_close = function(c, i) note(c.user, i.code) end }");
    client_open(env, &witness, "w");
    client_open(env, &p, "u1");
    assert_null(p.sub.script);
    client_closed(&p, 1001, "");
    client_sends(&witness, "log");
    assert_string_equal(client_last(&witness), "u1 1001");
    client_free(&witness);
}

static void test_close_cancels_a_subscribe(void **state) {
    struct env *env = *state;
    struct client p, witness;
    LOAD_OK(env, WITNESS,
            BH LOG
            "return { on_subscribe = function(c, topic)\n"
            "    local guard <close> = setmetatable({}, { __close = function()\n"
            "      note('cancelled', topic, tostring(pcall(bh.sleep, 1))) end })\n"
            "    bh.sleep(9) note('not reached') return true end,\n"
            "  on_open = function(c) if c.user == 'w' then return end\n"
            "    local ok, why = c:subscribe('t') note('subscribe', tostring(ok), why) end,\n"
            "  on_close = function(c) note('close') end }");
    client_open(env, &witness, "w");
    client_open(env, &p, "u1");
    client_closed(&p, 1000, "");
    env_advance(env, 10000);
    client_sends(&witness, "log");
    assert_string_equal(client_last(&witness), "cancelled t false|subscribe nil closed|close");
    client_free(&witness);
}

static void close_refused(void *ud, bh_handle handle, int error) {
    struct client *p = ud;
    if (error == BH_EDENIED)
        client_closed(p, 1006, "");
}

/* What is decided about a topic that the client names may end the connection at once. */
static void test_close_when_a_topic_is_refused(void **state) {
    struct env *env = *state;
    struct client p, witness;
    const struct bh_slice topics[] = {BH_SLICE("yes"), BH_SLICE("no"), BH_SLICE("nil")};
    env->config.max_tasks = 100; /* a task that finishes twice would be counted down twice */
    LOAD_OK(env, WITNESS,
            BH LOG "return { on_subscribe = function(c, topic) note(topic)\n"
                   "    if topic == 'yes' then bh.sleep(1) return true end\n"
                   "    if topic == 'no' then return false, 404 end end,\n"
                   "  on_close = function(c, info) note('close', info.code) end }");
    client_open(env, &witness, "w");
    for (unsigned n = 2; n <= 3; n++) {
        struct bh_slice named[] = {topics[0], topics[n - 1]};
        struct bh_identity parts = {.topics = named, .topic_count = 2, .named = 2, .gained = 2},
                           *identity;
        bh_identity_new(&parts, &identity, NULL);
        p = (struct client){.sub.vt = &client_vt, .env = env};
        bh_node_open(env->worker, &p.sub, identity, close_refused, &p, 0);
        env_advance(env, 1100);
        assert_int_equal(p.sub.handle, 0);
        client_free(&p);
    }
    client_sends(&witness, "log");
    assert_string_equal(client_last(&witness), "yes|no|close 1006|yes|nil|close 1006");
    client_free(&witness);
}

static void test_conn_is_readable_after_close(void **state) {
    struct env *env = *state;
    struct client p, witness;
    struct bh_tag tag = {BH_SLICE("platform"), BH_SLICE("ios")};
    struct bh_identity parts = {.user = BH_SLICE("u1"),
                                .tenant = BH_SLICE("t1"),
                                .device = BH_SLICE("d1"),
                                .expires = 1800000000,
                                .tags = &tag,
                                .tag_count = 1},
                       *identity;
    LOAD_OK(env,
            "local kept\n"
            "return { on_message = function(c, d)\n"
            "  if d == 'keep' then kept = c return true end\n"
            "  local ok, why = kept:send('x')\n"
            "  return table.concat({ kept.user, kept.tenant, kept.device, kept.expires, kept.ip,\n"
            "    kept.tags.platform, kept.queued, tostring(kept.closed), tostring(kept.protocol),\n"
            "    tostring(kept.nonsense), tostring(ok), why, select(2, kept:close()),\n"
            "    select(2, kept:topics()), select(2, kept:send_json({})) }, ' ') end }");
    bh_identity_new(&parts, &identity, NULL);
    client_open_as(env, &p, identity);
    client_open(env, &witness, "w");
    client_sends(&p, "keep");
    assert_non_null(p.sub.script);
    client_closed(&p, 1000, "");
    client_sends(&witness, "?");
    assert_string_equal(client_last(&witness),
                        "u1 t1 d1 1800000000 192.0.2.1 ios 0 true nil nil nil closed closed closed "
                        "closed");
    client_free(&witness);
}

/* --- the object --- */

static void test_idle_connection_owns_nothing(void **state) {
    struct env *env = *state;
    struct client p;
    env->config.trusted = true; /* for collectgarbage */
    LOAD_OK(env, "return { on_message = function(c, d)\n"
                 "  if d == 'collect' then collectgarbage() collectgarbage() return true end\n"
                 "  if d == 'vars' then c.vars.n = (c.vars.n or 0) + 1 return '' .. c.vars.n end\n"
                 "  return true end }");
    struct client other;
    client_open(env, &p, "u1");
    client_open(env, &other, "u2");
    assert_null(p.sub.script);
    client_sends(&p, "x");
    assert_non_null(p.sub.script);
    client_sends(&other, "collect");
    assert_null(p.sub.script);
    client_sends(&p, "vars");
    client_sends(&other, "collect");
    assert_non_null(p.sub.script);
    client_sends(&p, "vars");
    assert_string_equal(client_last(&p), "2");
    client_free(&p);
    client_free(&other);
}

static void test_conn_fields_and_misuse(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env,
            BH "local function throws(part, f, ...) local ok, e = pcall(f, ...)\n"
               "  assert(not ok and e:find(part, 1, true), e) end\n"
               "return { on_message = function(c, d)\n"
               "  assert(c.user == 'u1' and c.tenant == nil and c.expires == nil)\n"
               "  assert(c.opened_at == 1700000000.0 and c.queued == 7 and not c.closed)\n"
               "  assert(#c.id == 11 and tostring(c) == 'conn ' .. c.id)\n"
               "  assert(getmetatable(c) == false and next(c.tags) == nil)\n"
               "  throws('conn.usr cannot be set', function() c.usr = 1 end)\n"
               "  throws('send_json', c.send, c, {}) throws('string expected', c.send, c)\n"
               "  throws('conn expected', c.send, 'x') throws('close code', c.close, c, 1006)\n"
               "  throws('topic id', c.subscribe, c, {}) throws('Unix', c.set_expiry, c, -1)\n"
               "  throws('60 is a duration: add it to os.time()', c.set_expiry, c, 60)\n"
               "  assert(c:set_expiry(1800000000) and c.expires == 1800000000)\n"
               "  assert(c:set_expiry(1800000000.25) and c.expires == 1800000001)\n"
               "  assert(c:send_json({ a = 1 }) and c:send('\\xff', 'binary'))\n"
               "  local ok, why = c:send('\\xff') assert(not ok and why == 'not valid UTF-8')\n"
               "  ok, why = c:send_json({ f = print }) assert(not ok and why:find('^f:'), why)\n"
               "  assert(c:close(4000, 'bye')) return true end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    assert_int_equal(p.code, 4000); /* every assertion held */
    assert_string_equal(p.sent[0], "{\"a\":1}");
    assert_int_equal(p.opcodes[1], BH_BINARY);
    client_free(&p);
}

/* --- tasks --- */

static void test_sync_hooks_must_not_wait(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  local ok, why = coroutine.wrap(function() return pcall(bh.sleep, 1) end)()\n"
                    "  assert(not ok and why:find('coroutine of your own', 1, true))\n"
                    "  ok, why = pcall(table.sort, { 1, 2 }, function() bh.sleep(1) end)\n"
                    "  assert(not ok and why:find('table.sort', 1, true))\n"
                    "  c:send('so far') coroutine.yield() c:send('not reached') end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    client_sends(&p, "x");
    assert_int_equal(p.sent_count, 2);
    client_free(&p);
}

static void test_spawn_and_after(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "return { on_message = function(c, d)\n"
                    "  bh.spawn(function() c:send('1') bh.sleep(1) c:send('4') end)\n"
                    "  bh.spawn(function() error 'alone' end)\n"
                    "  bh.after(0.5, function() c:send('3') bh.sleep(1) c:send('5') end)\n"
                    "  return '2' end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    env_advance(env, 3000);
    assert_int_equal(p.sent_count, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(p.sent[i][0], '1' + i);
    client_free(&p);
}

static void test_many_waiting_at_once(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env,
            BH "local n = 0\n"
               "return { on_message = function(c, d)\n"
               "  for i = 1, 200 do bh.spawn(function() bh.sleep(i / 1000) n = n + 1 end) end\n"
               "  bh.sleep(1) return '' .. n end }");
    client_open(env, &p, "u1");
    for (int round = 1; round <= 2; round++) {
        client_sends(&p, "x");
        env_advance(env, 1200);
    }
    assert_string_equal(p.sent[0], "200");
    assert_string_equal(p.sent[1], "400");
    client_free(&p);
}

static void test_spawn_cannot_recurse_for_ever(void **state) {
    struct env *env = *state;
    struct client p;
    LOAD_OK(env, BH "local function f() bh.spawn(f) end\n"
                    "return { on_message = function(c, d) f() return 'alive' end }");
    client_open(env, &p, "u1");
    client_sends(&p, "x");
    assert_string_equal(client_last(&p), "alive");
    client_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_echo),
        SCRIPT_TEST(test_reply_that_is_not_utf8_is_binary),
        SCRIPT_TEST(test_opcode_argument),
        SCRIPT_TEST(test_nil_continues_the_chain),
        SCRIPT_TEST(test_messages_may_be_ignored),
        SCRIPT_TEST(test_error_ends_the_chain),
        SCRIPT_TEST(test_false_closes),
        SCRIPT_TEST(test_deliver_misuse_skips),
        SCRIPT_TEST(test_table_is_published),
        SCRIPT_TEST(test_messages_run_in_order),
        SCRIPT_TEST(test_messages_wait_for_open),
        SCRIPT_TEST(test_connections_are_independent),
        SCRIPT_TEST(test_back_pressure_by_count),
        SCRIPT_TEST(test_back_pressure_by_bytes),
        SCRIPT_TEST(test_open_error_closes),
        SCRIPT_TEST(test_open_may_refuse),
        SCRIPT_TEST(test_subscribe),
        SCRIPT_TEST(test_topics_of_the_identity_run_on_subscribe),
        SCRIPT_TEST(test_unsubscribe),
        SCRIPT_TEST(test_close_runs_once_and_last),
        SCRIPT_TEST(test_close_without_earlier_hooks),
        SCRIPT_TEST(test_close_cancels_a_subscribe),
        SCRIPT_TEST(test_close_when_a_topic_is_refused),
        SCRIPT_TEST(test_conn_is_readable_after_close),
        SCRIPT_TEST(test_idle_connection_owns_nothing),
        SCRIPT_TEST(test_conn_fields_and_misuse),
        SCRIPT_TEST(test_sync_hooks_must_not_wait),
        SCRIPT_TEST(test_spawn_and_after),
        SCRIPT_TEST(test_many_waiting_at_once),
        SCRIPT_TEST(test_spawn_cannot_recurse_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
