/* test_lifetimes.c - random connections, hooks that wait, fail and are cancelled, and a collector
 * that runs all the time: nothing is used after it was freed, and on_close runs once for each
 * connection. */
#include "script_cmocka.h"

#define CLIENTS 24
#define STEPS   6000

static const char source[] =
    "local bh = require 'bellhop'\n"
    "collectgarbage('incremental', 1, 10000)\n" /* a cycle is always under way */
    "math.randomseed(42)\n"
    "local opened, closed, kept, guards = 0, {}, {}, 0\n"
    "local function maybe() if math.random(4) == 1 then bh.sleep(math.random(50) / 1000) end end\n"
    "local function guard() guards = guards + 1\n"
    "  return setmetatable({}, { __close = function() guards = guards - 1 end }) end\n"
    "return {\n"
    "  on_open = function(c) local g <close> = guard() opened = opened + 1 maybe()\n"
    "    if math.random(10) == 1 then c.vars.x = c.id end\n"
    "    if math.random(20) == 1 then error 'open' end end,\n"
    "  on_message = function(c, d) local g <close> = guard() maybe()\n"
    "    if c.vars.x then assert(c.vars.x == c.id) end\n"
    "    local what = math.random(9)\n"
    "    if what == 1 then c:subscribe('t' .. math.random(5)) return d end\n"
    "    if what == 2 then c:unsubscribe('t' .. math.random(5)) return true end\n"
    "    if what == 3 then return { topic = 't1', data = d } end\n"
    "    if what == 4 then error 'message' end\n"
    "    if what == 5 then bh.spawn(function() maybe() c:send(d) maybe()\n"
    "      c:subscribe('t' .. math.random(5)) end) end\n"
    "    if what == 6 then kept[math.random(8)] = c end\n"
    "    if what == 7 then bh.publish { all = true, data = d } end\n"
    "    if what == 8 then return d end\n"
    "    local other = kept[math.random(8)]\n"
    "    if other then assert(other.user) other:send('x') other:subscribe('t1') end\n"
    "    return true end,\n"
    "  on_subscribe = function(c, t) local g <close> = guard() maybe()\n"
    "    if math.random(9) == 1 then error 'subscribe' end return math.random(5) ~= 1 end,\n"
    "  on_unsubscribe = function(c, t) maybe() assert(c.user) end,\n"
    "  on_publish = function(m) local g <close> = guard() maybe()\n"
    "    if math.random(9) == 1 then error 'publish' end end,\n"
    "  on_deliver = function(c, m) assert(c.user and m.data)\n"
    "    if math.random(9) == 1 then return m.data .. '!' end end,\n"
    "  on_close = function(c, info) local g <close> = guard() maybe() assert(c.user and c.closed)\n"
    "    assert(not closed[c.id], 'twice') closed[c.id] = true end,\n"
    "  on_handshake = function(req) local g <close> = guard() maybe() return { user = 'h' } end,\n"
    "  on_api = function()\n" /* the account */
    "    local n = 0 for _ in pairs(closed) do n = n + 1 end\n"
    "    return false, 500, n .. ' ' .. guards end,\n"
    "}\n";

static uint32_t roll(uint64_t *seed, uint32_t bound) {
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*seed >> 33) % bound;
}

struct crowd {
    struct client *clients[CLIENTS];
    unsigned closed;
    uint64_t seed;
};

static void hang_up(struct crowd *c, unsigned i) {
    if (!c->clients[i])
        return;
    client_free(c->clients[i]);
    bh_free(c->clients[i]);
    c->clients[i] = NULL;
    c->closed++;
}

static void on_stray_result(void *ud, bh_handle handle, const struct bh_handshake_result *r) {
    bh_identity_free(r->identity);
}

static void shake_and_maybe_cancel(struct env *env, struct crowd *c) {
    struct bh_hooks *h = bh_script_hooks(env->script);
    struct bh_request r = {.path = BH_SLICE("/ws")};
    bh_handle ticket = h->vt->handshake(h, &r, on_stray_result, NULL, 0);
    if (roll(&c->seed, 2))
        h->vt->cancel(h, ticket);
}

static void step(struct env *env, struct crowd *c) {
    unsigned i = roll(&c->seed, CLIENTS);
    struct client *p = c->clients[i];
    if (!p) {
        c->clients[i] = p = bh_calloc(1, sizeof *p);
        client_open(env, p, "u");
    } else if (roll(&c->seed, 12) == 0) {
        hang_up(c, i);
    } else if (roll(&c->seed, 10) == 0) {
        env_advance(env, roll(&c->seed, 40));
    } else if (roll(&c->seed, 20) == 0) {
        shake_and_maybe_cancel(env, c);
    } else {
        client_sends(p, "message");
        client_forget(p);
    }
    if (p && c->clients[i] && p->sent_count > 256)
        client_forget(p);
}

static void test_random_lives(void **state) {
    struct env *env = *state;
    struct crowd c = {.seed = 42};
    struct answer a = {0};
    struct bh_request r = {.path = BH_SLICE("/")};
    char expected[32];
    env->config.trusted = true; /* for collectgarbage */
    LOAD_OK(env, source);
    for (int i = 0; i < STEPS; i++) {
        step(env, &c);
        for (unsigned k = 0; k < CLIENTS; k++)
            if (c.clients[k])
                client_forget(c.clients[k]);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        hang_up(&c, i);
    env_advance(env, 5000);
    bh_script_hooks(env->script)->vt->api(bh_script_hooks(env->script), &r, answer_allowed, &a, 0);
    snprintf(expected, sizeof expected, "%u 0", c.closed);
    assert_string_equal(a.body, expected);
    answer_free(&a);
}

/* The state is freed while hooks and tasks are running. */
static void test_freed_while_running(void **state) {
    struct env *env = *state;
    struct crowd c = {.seed = 7};
    env->config.trusted = true;
    LOAD_OK(env, source);
    for (int i = 0; i < 500; i++)
        step(env, &c);
    env_close_script(env);
    for (unsigned i = 0; i < CLIENTS; i++)
        if (c.clients[i]) {
            assert_null(c.clients[i]->sub.script);
            hang_up(&c, i);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRIPT_TEST(test_random_lives),
        SCRIPT_TEST(test_freed_while_running),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
