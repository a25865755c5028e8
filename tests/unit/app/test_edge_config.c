/* From configuration keys to the edge's settings. */
#include "app_test.h"

static struct bh_app_edge edge;

static int setup(void **state) {
    edge = (struct bh_app_edge){0};
    return app_setup(state);
}

static int teardown(void **state) {
    bh_app_edge_free(&edge);
    return app_teardown(state);
}

static const struct bh_edge_config *loaded(const char *text) {
    app_load(text);
    bh_app_edge_free(&edge);
    bh_app_edge_config(&config, &edge);
    return &edge.config;
}

static void refused(const char *text, const char *part) {
    app_refused(text, part, NULL);
}

static void assert_address(size_t i, const char *text, bool tls, bool proxy) {
    char address[BH_ADDR_TEXT_MAX];
    bh_addr_format(&edge.listen[i].address, address);
    assert_string_equal(address, text);
    assert_int_equal(edge.listen[i].tls, tls);
    assert_int_equal(edge.listen[i].proxy, proxy);
}

static void the_defaults(void **state) {
    const struct bh_edge_config *e = loaded(NULL);
    assert_int_equal(edge.listen_count, 1);
    assert_address(0, "127.0.0.1:8080", false, false);
    assert_false(e->dev);
    assert_int_equal(e->api_key_count + e->origin_count + e->cors_count + e->trusted_count, 0);
    assert_false(e->origin_required);
    assert_int_equal(e->ws_path_count, 1);
    assert_slice(e->ws_paths[0], "/ws");
    assert_int_equal(e->on_slow, BH_SLOW_CLOSE);
    assert_int_equal(e->deflate.mode, BH_WS_DEFLATE_NO_TAKEOVER);
    assert_int_equal(e->deflate_max, 256 << 10);
    assert_true(e->client_messages_refused);
}

static void each_limit_is_the_one_of_its_key(void **state) {
    const struct bh_edge_config *e = loaded(
        "return {\n"
        "  server = { connections_max = 1, connections_per_ip = 2, accepts_per_second = 3,\n"
        "    backlog = 4 },\n"
        "  tls = { handshake_timeout = 5 },\n"
        "  http = { head_bytes = 1006, body_bytes = 7, idle_timeout = 8, request_timeout = 9 },\n"
        "  websocket = { message_bytes = 10, message_timeout = 10.5, fragments = 11, ping_interval "
        "= 12,\n"
        "    pong_timeout = 13, close_timeout = 14, handshake_timeout = 15, queue_bytes = 2016,\n"
        "    connections_per_user = 17, connections_per_tenant = 18, messages_per_second = 19,\n"
        "    bytes_per_second = 20, control_per_second = 21, compression_threshold = 22,\n"
        "    compression_max = 23, compression_level = 3, compression_window_bits = 12, on_slow = "
        "'drop_newest',\n"
        "    compression = 'takeover', client_messages = 'ignore' },\n"
        "}\n");
    assert_int_equal(e->connections_max, 1);
    assert_int_equal(e->connections_per_ip, 2);
    assert_int_equal(e->accepts_per_second, 3);
    assert_int_equal(e->backlog, 4);
    assert_int_equal(e->tls_handshake_ms, 5000);
    assert_int_equal(e->http_head_bytes, 1006);
    assert_int_equal(e->http_body_bytes, 7);
    assert_int_equal(e->http_idle_ms, 8000);
    assert_int_equal(e->http_request_ms, 9000);
    assert_int_equal(e->message_bytes, 10);
    assert_int_equal(e->message_timeout_ms, 10500);
    assert_int_equal(e->fragments, 11);
    assert_int_equal(e->ping_interval_ms, 12000);
    assert_int_equal(e->pong_timeout_ms, 13000);
    assert_int_equal(e->close_timeout_ms, 14000);
    assert_int_equal(e->handshake_ms, 15000);
    assert_int_equal(e->queue_bytes, 2016);
    assert_int_equal(e->connections_per_user, 17);
    assert_int_equal(e->connections_per_tenant, 18);
    assert_int_equal(e->messages_per_second, 19);
    assert_int_equal(e->bytes_per_second, 20);
    assert_int_equal(e->control_per_second, 21);
    assert_int_equal(e->deflate_threshold, 22);
    assert_int_equal(e->deflate_max, 23);
    assert_int_equal(e->deflate.level, 3);
    assert_int_equal(e->deflate.window_bits, 12);
    assert_int_equal(e->deflate.mode, BH_WS_DEFLATE_TAKEOVER);
    assert_int_equal(e->on_slow, BH_SLOW_DROP_NEWEST);
    assert_false(e->client_messages_refused);
}

static void the_choices(void **state) {
    assert_int_equal(loaded("return { websocket = { on_slow = 'drop_oldest' } }")->on_slow,
                     BH_SLOW_DROP_OLDEST);
    assert_int_equal(loaded("return { websocket = { compression = 'off' } }")->deflate.mode,
                     BH_WS_DEFLATE_OFF);
}

static void sizes_to_compress(void **state) {
    loaded("return { websocket = { compression_threshold = 2000, compression_max = 2000 } }");
    loaded("return { websocket = { compression_threshold = 2000, compression_max = 0 } }");
    refused("return { websocket = { compression_threshold = 2000, compression_max = 1999 } }",
            "websocket.compression_max: is below compression_threshold");
}

static void addresses(void **state) {
    loaded("return {\n"
           "  server = { listen = { '127.0.0.1:1', 'tls:[::1]:2', 'proxy:127.0.0.1:3',\n"
           "    'proxy:tls:0.0.0.0:4', 'unix:/tmp/s' }, trusted_proxies = { '10.0.0.0/8' } },\n"
           "  tls = { certificates = { 'c.pem' } },\n"
           "}\n");
    assert_int_equal(edge.listen_count, 5);
    assert_address(0, "127.0.0.1:1", false, false);
    assert_address(1, "[::1]:2", true, false);
    assert_address(2, "127.0.0.1:3", false, true);
    assert_address(3, "0.0.0.0:4", true, true);
    assert_address(4, "unix:/tmp/s", false, false);
    assert_int_equal(edge.config.trusted_count, 1);
}

static void localhost_is_loopback(void **state) {
    loaded("return { server = { dev = true, listen = { 'localhost:1', 'LOCALHOST:2' } } }");
    assert_address(0, "127.0.0.1:1", false, false);
    assert_address(1, "127.0.0.1:2", false, false);
    refused("return { server = { listen = { 'localhost:1', '127.0.0.1:1' } } }",
            "server.listen: 127.0.0.1:1: the address is already in server.listen");
    refused("return { server = { listen = { 'localhost' } } }", "server.listen: localhost: ");
    refused("return { server = { listen = { 'localhost.:1' } } }", "not a numeric address");
}

static void addresses_for_administration(void **state) {
    loaded("return {\n"
           "  server = { listen = { '127.0.0.1:1', '127.0.0.1:0', '127.0.0.1:0' },\n"
           "    admin_listen = { '[::1]:9', 'tls:127.0.0.1:2', '127.0.0.1:0', 'unix:/tmp/s' } },\n"
           "  tls = { certificates = { 'c.pem' } },\n"
           "}\n");
    assert_int_equal(edge.listen_count, 7);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(edge.listen[i].admin, i > 2);
    assert_address(3, "[::1]:9", false, false);
    assert_address(4, "127.0.0.1:2", true, false);
    refused("return { server = { admin_listen = { 'nowhere' } } }",
            "server.admin_listen: nowhere: ");
    refused("return { server = { admin_listen = { 'tls:127.0.0.1:1' } } }",
            "server.admin_listen: tls:127.0.0.1:1: needs a certificate");
    refused("return { server = { admin_listen = { 'proxy:127.0.0.1:1' } } }",
            "server.admin_listen: proxy:127.0.0.1:1: accepts connections from proxies only");
    refused("return { server = { dev = true, admin_listen = { '0.0.0.0:9' } } }",
            "server.admin_listen: 0.0.0.0:9: with --dev only loopback");
}

static void one_address_twice(void **state) {
    refused("return { server = { listen = { '127.0.0.1:1', 'tls:127.0.0.1:1' } },\n"
            "  tls = { certificates = { 'c.pem' } } }",
            "server.listen: 127.0.0.1:1: the address is already in server.listen");
    refused("return { server = { listen = { '127.0.0.1:1' }, admin_listen = { '127.0.0.1:1' } } }",
            "server.admin_listen: 127.0.0.1:1: the address is already in server.listen");
    refused("return { server = { admin_listen = { 'unix:/s', '/s' } } }",
            "server.admin_listen: unix:/s: the address is already in server.admin_listen");
    refused("return { server = { listen = { '[::1]:1', '[0:0::1]:1' } } }", "already in");
    loaded("return { server = { listen = { '127.0.0.1:1', '127.0.0.2:1', '127.0.0.1:2' } } }");
}

static void bad_addresses(void **state) {
    refused("return { server = { listen = {} } }", "server.listen: no address");
    refused("return { server = { listen = { '127.0.0.1:1', 'nowhere' } } }",
            "server.listen: nowhere: ");
    refused("return { server = { listen = { '127.0.0.1:70000' } } }",
            "server.listen: 127.0.0.1:70000: ");
    refused("return { server = { listen = { 'tls:127.0.0.1:1' } } }",
            "server.listen: tls:127.0.0.1:1: needs a certificate: set tls.certificates");
    refused("return { server = { listen = { 'proxy:127.0.0.1:1' } } }", "server.trusted_proxies");
    refused("return { server = { listen = { 'tls:proxy:127.0.0.1:1' } },\n"
            "  tls = { certificates = { 'c.pem' } } }",
            "server.listen: tls:proxy:127.0.0.1:1: ");
}

static void dev_is_for_loopback(void **state) {
    refused("return { server = { dev = true, listen = { '0.0.0.0:1' } } }",
            "server.listen: 0.0.0.0:1: with --dev only loopback");
    refused("return { server = { dev = true, listen = { ':1' } } }", "loopback");
    loaded("return { server = { dev = true, listen = { '127.0.0.2:1', '[::1]:1', 'unix:/s' } } }");
    assert_true(edge.config.dev);
}

static void origins(void **state) {
    const struct bh_edge_config *e =
        loaded("return { websocket = { origins = { 'https://a.example', '*.b.example' } },\n"
               "  api = { cors_origins = { 'https://c.example' }, keys = { 'k1', 'k2' } } }");
    assert_true(e->origin_required);
    assert_int_equal(e->origin_count, 2);
    assert_slice(e->origins[1], "*.b.example");
    assert_int_equal(e->cors_count, 1);
    assert_slice(e->cors[0], "https://c.example");
    assert_int_equal(e->api_key_count, 2);
    assert_slice(e->api_keys[1], "k2");
    e = loaded("return { server = { dev = true } }"); /* pages from this machine only */
    assert_false(e->origin_required);
    assert_true(e->origin_count > 0);
    size_t own = e->origin_count;
    e = loaded(
        "return { server = { dev = true }, websocket = { origins = { 'https://a.example' } } }");
    assert_true(e->origin_required);
    assert_int_equal(e->origin_count, own + 1);
    refused("return { websocket = { origins = { 'https://a.example/path' } } }",
            "websocket.origins: https://a.example/path: ");
    refused("return { api = { cors_origins = { '' } } }", "api.cors_origins: : ");
}

static void paths_and_proxies(void **state) {
    loaded("return { websocket = { paths = { '/app/:key', '/all/*' } } }");
    assert_int_equal(edge.config.ws_path_count, 2);
    refused("return { websocket = { paths = {} } }", "websocket.paths: no path");
    refused("return { websocket = { paths = { '/ws', 'ws' } } }", "websocket.paths: ws: ");
    refused("return { server = { trusted_proxies = { '10.0.0.0/8', '10.0.0.0/40' } } }",
            "server.trusted_proxies: 10.0.0.0/40: ");
}

static void certificates(void **state) {
    struct bh_tls *tls = NULL;
    char *error = NULL;
    app_load(NULL);
    assert_int_equal(bh_app_tls(&config, NULL, &tls, &error), 0);
    assert_null(tls);
    app_load("return { tls = { certificates = { '/none.pem' } } }");
    assert_int_equal(bh_app_tls(&config, NULL, &tls, &error), BH_EINVAL);
    app_error_has(error, "/none.pem");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_defaults),
        TEST(each_limit_is_the_one_of_its_key),
        TEST(the_choices),
        TEST(addresses),
        TEST(bad_addresses),
        TEST(dev_is_for_loopback),
        TEST(origins),
        TEST(paths_and_proxies),
        TEST(certificates),
        TEST(addresses_for_administration),
        TEST(one_address_twice),
        TEST(sizes_to_compress),
        TEST(localhost_is_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
