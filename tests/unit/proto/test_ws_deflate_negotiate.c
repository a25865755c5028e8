/* Offers of permessage-deflate against what must be agreed on, and the answer byte for byte. */
#include "bellhop/proto/ws_deflate.h"

#include "proto_test.h"

#define PMD  "permessage-deflate"
#define S_NO "; server_no_context_takeover"
#define C_NO "; client_no_context_takeover"
#define S_W  "; server_max_window_bits"
#define C_W  "; client_max_window_bits"

static const struct bh_ws_deflate_config takeover = {BH_WS_DEFLATE_TAKEOVER, 15, 6};
static const struct bh_ws_deflate_config no_takeover = {BH_WS_DEFLATE_NO_TAKEOVER, 15, 6};
static const struct bh_ws_deflate_config takeover_12 = {BH_WS_DEFLATE_TAKEOVER, 12, 6};
static const struct bh_ws_deflate_config no_takeover_12 = {BH_WS_DEFLATE_NO_TAKEOVER, 12, 6};
static const struct bh_ws_deflate_config takeover_9 = {BH_WS_DEFLATE_TAKEOVER, 9, 6};

/* Each line of `offers` is a header line. The answer, or "" when there is none. */
static void negotiate(const char *offers, const struct bh_ws_deflate_config *config,
                      struct bh_ws_deflate *out, struct bh_bytes *answer) {
    struct bh_header headers[10] = {{BH_SLICE("Upgrade"), BH_SLICE("websocket")}};
    size_t size = strlen(offers);
    struct bh_slice exact = test_exact(bh_slice(offers, size)), rest = exact, line;
    size_t n = 1;
    while (bh_slice_split(&rest, '\n', &line)) {
        headers[n++] = (struct bh_header){BH_SLICE("sec-websocket-EXTENSIONS"), line};
        headers[n++] = (struct bh_header){BH_SLICE("X-Other"), BH_SLICE(PMD)};
    }
    memset(out, 0xff, sizeof *out);
    bool accepted = bh_ws_deflate_negotiate(headers, n, config, out, answer);
    assert_int_equal(accepted, answer->len > 0);
    assert_int_equal(accepted, out->agreed);
    test_exact_free(exact);
}

static void expect(const char *offers, const struct bh_ws_deflate_config *config,
                   const char *expected) {
    struct bh_ws_deflate out;
    struct bh_bytes answer = {0};
    negotiate(offers, config, &out, &answer);
    assert_bytes(&answer, expected);
    bh_bytes_free(&answer);
}

static void what_is_agreed_on(void **state) {
    static const struct {
        const char *offer;
        const struct bh_ws_deflate_config *config;
        const char *answer;
        struct bh_ws_deflate agreed;
    } vectors[] = {
        {PMD, &takeover, PMD, {true, true, true, 15, 15}},
        {PMD S_NO, &takeover, PMD S_NO, {true, false, true, 15, 15}},
        {PMD C_NO, &takeover, PMD C_NO, {true, true, false, 15, 15}},
        {PMD C_NO S_NO, &takeover, PMD S_NO C_NO, {true, false, false, 15, 15}},
        {PMD, &no_takeover, PMD S_NO C_NO, {true, false, false, 15, 15}},
        {PMD S_NO, &no_takeover, PMD S_NO C_NO, {true, false, false, 15, 15}},
        {PMD C_NO, &no_takeover, PMD S_NO C_NO, {true, false, false, 15, 15}},

        {PMD S_W "=8", &takeover, PMD S_W "=8", {true, true, true, 8, 15}},
        {PMD S_W "=9", &takeover, PMD S_W "=9", {true, true, true, 9, 15}},
        {PMD S_W "=15", &takeover, PMD S_W "=15", {true, true, true, 15, 15}},
        {PMD S_W "=15", &takeover_12, PMD S_W "=12", {true, true, true, 12, 15}},
        {PMD S_W "=10", &takeover_12, PMD S_W "=10", {true, true, true, 10, 15}},
        {PMD S_W "=8", &takeover_9, PMD S_W "=8", {true, true, true, 8, 15}},
        {PMD, &takeover_12, PMD S_W "=12", {true, true, true, 12, 15}},

        {PMD C_W, &takeover, PMD, {true, true, true, 15, 15}},
        {PMD C_W "=15", &takeover, PMD, {true, true, true, 15, 15}},
        {PMD C_W "=14", &takeover, PMD C_W "=14", {true, true, true, 15, 14}},
        {PMD C_W "=8", &takeover, PMD C_W "=8", {true, true, true, 15, 8}},
        {PMD C_W, &takeover_12, PMD S_W "=12" C_W "=12", {true, true, true, 12, 12}},
        {PMD C_W "=15", &takeover_12, PMD S_W "=12" C_W "=12", {true, true, true, 12, 12}},
        {PMD C_W "=10", &takeover_12, PMD S_W "=12" C_W "=10", {true, true, true, 12, 10}},
        {PMD C_W, &takeover_9, PMD S_W "=9" C_W "=9", {true, true, true, 9, 9}},

        {PMD C_W S_W "=11" C_NO S_NO,
         &no_takeover_12,
         PMD S_NO C_NO S_W "=11" C_W "=12",
         {true, false, false, 11, 12}},
        {PMD C_W "=9" S_W "=13" S_NO,
         &takeover,
         PMD S_NO S_W "=13" C_W "=9",
         {true, false, true, 13, 9}},
    };
    for (size_t i = 0; i < COUNT(vectors); i++) {
        struct bh_ws_deflate out;
        struct bh_bytes answer = {0};
        negotiate(vectors[i].offer, vectors[i].config, &out, &answer);
        assert_bytes(&answer, vectors[i].answer);
        assert_int_equal(out.server_takeover, vectors[i].agreed.server_takeover);
        assert_int_equal(out.client_takeover, vectors[i].agreed.client_takeover);
        assert_int_equal(out.server_bits, vectors[i].agreed.server_bits);
        assert_int_equal(out.client_bits, vectors[i].agreed.client_bits);
        bh_bytes_free(&answer);
    }
}

static void every_number_of_bits(void **state) {
    for (int bits = 0; bits <= 300; bits++) {
        char offer[100], answer[100];
        snprintf(offer, sizeof offer, PMD S_W "=%d", bits);
        expect(offer, &takeover, bits >= 8 && bits <= 15 ? offer : "");
        snprintf(offer, sizeof offer, PMD C_W "=%d", bits);
        snprintf(answer, sizeof answer, bits == 15 ? PMD : PMD C_W "=%d", bits);
        expect(offer, &takeover, bits >= 8 && bits <= 15 ? answer : "");
    }
}

static void values_may_be_quoted(void **state) {
    expect(PMD S_W "=\"10\"", &takeover, PMD S_W "=10");
    expect(PMD S_W "=\"\\1\\0\"", &takeover, PMD S_W "=10");
    expect(PMD S_W "=\"8\"" C_W "=\"9\"" S_NO, &takeover, PMD S_NO S_W "=8" C_W "=9");
}

static void blanks(void **state) {
    expect(" \t" PMD "\t ;  server_max_window_bits\t=\t\"10\"\t ;\tclient_no_context_takeover ",
           &takeover, PMD C_NO S_W "=10");
    expect(" , ,," PMD ",,", &takeover, PMD);
    expect(PMD ";server_no_context_takeover;client_max_window_bits=10", &takeover,
           PMD S_NO C_W "=10");
}

static void bad_offers(void **state) {
    static const char *const offers[] = {
        "",
        ",",
        ";",
        "permessage-deflat",
        "permessage-deflatee",
        "permessage-bzip2",
        "x-webkit-deflate-frame",
        "permessage",
        "\"" PMD "\"",
        "=" PMD,
        PMD "=1",
        "x; " PMD,
        PMD ";",
        PMD "; ;" S_NO,
        PMD S_NO ";",
        PMD "; unknown",
        PMD "; unknown=1",
        PMD S_NO "; unknown",
        PMD "; \"server_no_context_takeover\"",
        PMD " server_no_context_takeover",
        PMD S_NO " x",
        PMD S_NO S_NO,
        PMD C_NO C_NO,
        PMD S_W "=10" S_W "=10",
        PMD S_W "=10" S_W "=11",
        PMD C_W C_W,
        PMD C_W C_W "=10",
        PMD C_W "=10" C_W,
        PMD S_NO "=",
        PMD S_NO "=1",
        PMD S_NO "=true",
        PMD S_NO "=\"\"",
        PMD C_NO "=",
        PMD C_NO "=10",
        PMD S_W,
        PMD S_W "=",
        PMD S_W "=\"\"",
        PMD S_W "=08",
        PMD S_W "=\"08\"",
        PMD S_W "=+9",
        PMD S_W "=-9",
        PMD S_W "=9.0",
        PMD S_W "=1 0",
        PMD S_W "=\"10",
        PMD S_W "=10\"",
        PMD S_W "=\"10\\\"",
        PMD S_W "=\" 10\"",
        PMD S_W "=\"1\"0\"",
        PMD S_W "=\"",
        PMD S_W "='10'",
        PMD S_W "=10=10",
        PMD S_W "=010",
        PMD S_W "=0xa",
        PMD S_W "=4294967306",
        PMD S_W "=18446744073709551626",
        PMD C_W "=",
        PMD C_W "=\"\"",
        PMD C_W "=7",
        PMD C_W "=16",
        PMD C_W "=08",
        PMD C_W "=x",
    };
    for (size_t i = 0; i < COUNT(offers); i++) {
        char two[300];
        expect(offers[i], &takeover, "");
        expect(offers[i], &no_takeover, "");
        /* The next line is still read. */
        snprintf(two, sizeof two, "%s\n" PMD C_W "=10", offers[i]);
        expect(two, &takeover, PMD C_W "=10");
    }
}

static void the_first_good_offer_counts(void **state) {
    expect(PMD S_W "=10, " PMD, &takeover, PMD S_W "=10");
    expect(PMD ", " PMD S_W "=10", &takeover, PMD);
    expect(PMD S_W "=7, " PMD S_W "=9", &takeover, PMD S_W "=9");
    expect("x-other; " PMD ", " PMD S_NO, &takeover, PMD S_NO);
    expect(PMD "; new_thing, permessage-bzip2, " PMD C_NO, &takeover, PMD C_NO);
    expect("x\n" PMD "; y\n" PMD S_W "=99, " PMD S_W "=12\n" PMD, &takeover, PMD S_W "=12");
}

/* What is in quotes is neither an offer nor the end of one. */
static void separators_in_quotes(void **state) {
    expect("x; a=\"1, " PMD "; b\"", &takeover, "");
    expect("x; a=\"1, " PMD "; b\", " PMD S_NO, &takeover, PMD S_NO);
    expect("x; a=\"\\\", " PMD ", \", " PMD S_NO, &takeover, PMD S_NO);
    expect("x; a=\"\\\\\", " PMD, &takeover, PMD);
    expect("x; a=\"never ends, " PMD, &takeover, "");
    expect("x; a=\"never ends \\", &takeover, "");
    expect("x; a=\"never ends\n" PMD, &takeover, PMD);
    expect(PMD S_W "=\"1;0\", " PMD, &takeover, PMD);
}

static void nothing_is_agreed_on_when_switched_off(void **state) {
    static const struct bh_ws_deflate_config off = {BH_WS_DEFLATE_OFF, 15, 6};
    expect(PMD, &off, "");
    expect(PMD S_NO C_NO, &off, "");
}

static void the_answer_is_appended(void **state) {
    const struct bh_header header = {BH_SLICE("Sec-WebSocket-Extensions"), BH_SLICE(PMD)};
    struct bh_ws_deflate out;
    struct bh_bytes answer = {0};
    bh_bytes_adds(&answer, "before ");
    assert_false(bh_ws_deflate_negotiate(&header, 0, &takeover, &out, &answer));
    assert_bytes(&answer, "before ");
    assert_false(out.agreed);
    assert_true(bh_ws_deflate_negotiate(&header, 1, &takeover, &out, &answer));
    assert_bytes(&answer, "before " PMD);
    bh_bytes_free(&answer);
}

static void noise(void **state) {
    static const char letters[] = "a;,=\"\\ \t8159";
    for (int round = 0; round < 20000; round++) {
        char offer[120] = PMD S_W "=10" C_W C_NO;
        for (unsigned flips = test_random() % 6; flips; flips--)
            offer[test_random() % strlen(offer)] = letters[test_random() % (sizeof letters - 1)];
        struct bh_ws_deflate out;
        struct bh_bytes answer = {0};
        negotiate(offer, &takeover, &out, &answer);
        assert_true(!out.agreed || (out.server_bits >= 8 && out.server_bits <= 15 &&
                                    out.client_bits >= 8 && out.client_bits <= 15));
        bh_bytes_free(&answer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_agreed_on),
        cmocka_unit_test(every_number_of_bits),
        cmocka_unit_test(values_may_be_quoted),
        cmocka_unit_test(blanks),
        cmocka_unit_test(bad_offers),
        cmocka_unit_test(the_first_good_offer_counts),
        cmocka_unit_test(separators_in_quotes),
        cmocka_unit_test(nothing_is_agreed_on_when_switched_off),
        cmocka_unit_test(the_answer_is_appended),
        cmocka_unit_test(noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
