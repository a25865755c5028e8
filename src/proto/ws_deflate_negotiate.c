/* ws_deflate_negotiate.c - RFC 7692 section 7.1: a client's offers against our configuration.
 *
 * A client lists offers in its order of preference, over any number of header lines; each is a name
 * and parameters. The first offer that we support in every detail is accepted. Values may be quoted
 * strings (RFC 6455 section 9.1), so splitting at separators must respect quotes: an offer with a
 * quoted comma is still one offer. Pure functions. */
#include "bellhop/proto/ws_deflate.h"

#define NAME BH_SLICE("permessage-deflate")

#define BITS_MIN 8
#define BITS_MAX 15

/* 0: not offered. */
struct offer {
    uint8_t server_no_takeover;
    uint8_t client_no_takeover;
    uint8_t server_bits;
    uint8_t client_bits; /* BITS_MAX when offered without a value */
};

/* bh_slice_split, but separators inside quotes do not count; the part is trimmed. */
static bool split(struct bh_slice *rest, char separator, struct bh_slice *part) {
    if (!rest->p)
        return false;
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->n && (quoted || rest->p[i] != separator); i++) {
        if (rest->p[i] == '"')
            quoted = !quoted;
        else if (quoted && rest->p[i] == '\\' && i + 1 < rest->n)
            i++;
    }
    *part = bh_slice_trim(bh_slice(rest->p, i));
    *rest = i < rest->n ? bh_slice(rest->p + i + 1, rest->n - i - 1) : bh_slice(NULL, 0);
    return true;
}

/* Removes quotes and backslashes. Returns the length, at most `room`; 0 for a longer value. */
static size_t unquote(struct bh_slice value, char *out, size_t room) {
    bool quoted = value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"';
    if (quoted)
        value = bh_slice(value.p + 1, value.n - 2);
    size_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (quoted && value.p[i] == '\\' && i + 1 < value.n)
            i++;
        if (n == room)
            return 0;
        out[n++] = value.p[i];
    }
    return n;
}

/* 8..15 without leading zeros; 0 for anything else. */
static uint8_t bits_of(struct bh_slice value) {
    char digits[2];
    size_t n = unquote(bh_slice_trim(value), digits, sizeof digits);
    uint64_t bits;
    if (n == 0 || digits[0] == '0' || bh_slice_u64(bh_slice(digits, n), BITS_MAX, &bits) ||
        bits < BITS_MIN)
        return 0;
    return (uint8_t)bits;
}

/* False for an invalid value (0), and for a repeated parameter. */
static bool set(uint8_t *field, uint8_t value) {
    if (*field || !value)
        return false;
    *field = value;
    return true;
}

static bool parse_parameter(struct offer *offer, struct bh_slice parameter) {
    struct bh_slice name, value = parameter;
    split(&value, '=', &name);
    bool bare = !value.p;
    if (bh_slice_eq(name, BH_SLICE("server_no_context_takeover")))
        return set(&offer->server_no_takeover, bare);
    if (bh_slice_eq(name, BH_SLICE("client_no_context_takeover")))
        return set(&offer->client_no_takeover, bare);
    if (bh_slice_eq(name, BH_SLICE("server_max_window_bits")))
        return set(&offer->server_bits, bits_of(value));
    if (bh_slice_eq(name, BH_SLICE("client_max_window_bits")))
        return set(&offer->client_bits, bare ? BITS_MAX : bits_of(value));
    return false;
}

static bool parse_offer(struct bh_slice element, struct offer *offer) {
    struct bh_slice part;
    *offer = (struct offer){0};
    if (!split(&element, ';', &part) || !bh_slice_eq(part, NAME))
        return false;
    while (split(&element, ';', &part))
        if (!parse_parameter(offer, part))
            return false;
    return true;
}

static uint8_t smaller(uint8_t a, uint8_t b) {
    return a < b ? a : b;
}

static void accept(const struct offer *offer, const struct bh_ws_deflate_config *config,
                   struct bh_ws_deflate *out) {
    bool takeover = config->mode == BH_WS_DEFLATE_TAKEOVER;
    out->agreed = true;
    out->server_takeover = takeover && !offer->server_no_takeover;
    out->client_takeover = takeover && !offer->client_no_takeover;
    out->server_bits =
        smaller(offer->server_bits ? offer->server_bits : BITS_MAX, config->window_bits);
    /* A client that did not offer it may not support a smaller window. */
    out->client_bits =
        offer->client_bits ? smaller(offer->client_bits, config->window_bits) : BITS_MAX;
}

static void write_answer(const struct offer *offer, const struct bh_ws_deflate *agreed,
                         struct bh_bytes *answer) {
    bh_bytes_add(answer, NAME);
    if (!agreed->server_takeover)
        bh_bytes_adds(answer, "; server_no_context_takeover");
    if (!agreed->client_takeover)
        bh_bytes_adds(answer, "; client_no_context_takeover");
    /* An offered parameter must be in the answer, even when it changes nothing (7.1.2.1). */
    if (offer->server_bits || agreed->server_bits < BITS_MAX)
        bh_bytes_addf(answer, "; server_max_window_bits=%u", agreed->server_bits);
    if (agreed->client_bits < BITS_MAX)
        bh_bytes_addf(answer, "; client_max_window_bits=%u", agreed->client_bits);
}

static bool first_in_line(struct bh_slice line, struct offer *offer) {
    struct bh_slice element;
    while (split(&line, ',', &element))
        if (parse_offer(element, offer))
            return true;
    return false;
}

bool bh_ws_deflate_negotiate(const struct bh_header *headers, size_t count,
                             const struct bh_ws_deflate_config *config, struct bh_ws_deflate *out,
                             struct bh_bytes *answer) {
    *out = (struct bh_ws_deflate){0};
    if (config->mode == BH_WS_DEFLATE_OFF)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct offer offer;
        if (!bh_slice_caseeq(headers[i].name, BH_SLICE("Sec-WebSocket-Extensions")) ||
            !first_in_line(headers[i].value, &offer))
            continue;
        accept(&offer, config, out);
        write_answer(&offer, out, answer);
        return true;
    }
    return false;
}
