/* http1_head.c - from the bytes of a request head to a request.
 *
 * http1_line.c has checked every line: it ends with CR LF and has no other control character than
 * tab, the first one has three parts, the others a name and a colon. So splitting only looks for
 * separators, and the slices point into the head. Then the fields are interpreted: host, target,
 * length of the body, upgrade. Where a head can be read in two ways, it fails. */
#include "http1_head.h"

#include "bellhop/base/error.h"
#include "http1_names.h"

/* Up to it a parser that reads digit by digit cannot overflow. */
#define LENGTH_MAX (UINT64_MAX / 10 * 10 - 1)

/* --- the request line --- */

static int check_version(struct bh_slice version, struct bh_http1_failure *failure) {
    if (version.n != 8 || !bh_slice_starts(version, BH_SLICE("HTTP/")) || version.p[6] != '.' ||
        version.p[5] < '0' || version.p[5] > '9' || version.p[7] < '0' || version.p[7] > '9')
        return bh_http1_fail(failure, 400, "not an HTTP request");
    if (version.p[5] != '1' || version.p[7] > '1')
        return bh_http1_fail(failure, 505, "HTTP version is neither 1.0 nor 1.1");
    return 0;
}

static bool is_visible(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return false;
    return s.n > 0;
}

int bh_http1_check_request_line(struct bh_slice line, struct bh_http1_failure *failure) {
    struct bh_slice rest = bh_slice(line.p, line.n - 2), method, target;
    bh_slice_split(&rest, ' ', &method);
    if (!bh_slice_split(&rest, ' ', &target) || !rest.p || !bh_http1_is_token(method))
        return bh_http1_fail(failure, 400, "malformed request line");
    int r = check_version(rest, failure);
    if (r)
        return r;
    if (!is_visible(target))
        return bh_http1_fail(failure, 400, "malformed request target");
    return 0;
}

/* --- splitting --- */

/* Every byte of an authority: unreserved, sub-delims, '%', ':', '[' and ']' (RFC 3986, 3.2). */
static const bool authority_chars[256] = {
    ['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true, ['-'] = true, ['.'] = true,
    ['_'] = true,         ['~'] = true,         ['%'] = true,         ['!'] = true, ['$'] = true,
    ['&'] = true,         ['\''] = true,        ['('] = true,         [')'] = true, ['*'] = true,
    ['+'] = true,         [','] = true,         [';'] = true,         ['='] = true, [':'] = true,
    ['['] = true,         [']'] = true,
};

static bool is_authority(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (!authority_chars[(unsigned char)s.p[i]])
            return false;
    return true;
}

/* Up to the path or the query. */
static struct bh_slice authority_of(struct bh_slice s) {
    size_t n = 0;
    while (n < s.n && s.p[n] != '/' && s.p[n] != '?')
        n++;
    return bh_slice(s.p, n);
}

/* An authority, here also with userinfo, and anything after it. CONNECT is not served, but a
 * malformed request is a 400 with every method. */
static bool is_connect_target(struct bh_slice target) {
    struct bh_slice rest = authority_of(target), part;
    bool first = true;
    while (bh_slice_split(&rest, '@', &part)) {
        if (!is_authority(part) || (part.n == 0 && !first && rest.p))
            return false;
        first = false;
    }
    return true;
}

static bool is_connect(const struct bh_http_request *request) {
    return bh_slice_eq(request->method, BH_SLICE("CONNECT"));
}

static int split_request_line(struct bh_slice line, struct bh_http_request *request,
                              struct bh_http1_failure *failure) {
    bh_slice_split(&line, ' ', &request->method);
    bh_slice_split(&line, ' ', &request->target);
    request->minor = (uint8_t)(line.p[sizeof "HTTP/1." - 1] - '0');
    if (!bh_http1_is_method(request->method))
        return bh_http1_fail(failure, 501, "unknown method");
    if (is_connect(request) && !is_connect_target(request->target))
        return bh_http1_fail(failure, 400, "malformed request target");
    return 0;
}

/* `line` is what follows the colon. A tab after the number is an error: parsers differ on it. */
static int read_length(struct bh_slice line, uint64_t *length, struct bh_http1_failure *failure) {
    struct bh_slice value = bh_slice_trim(line);
    const char *end = value.p + value.n;
    if (bh_slice_u64(value, LENGTH_MAX, length) ||
        memchr(end, '\t', (size_t)(line.p + line.n - end)))
        return bh_http1_fail(failure, 400, "malformed Content-Length");
    return 0;
}

static int split_fields(struct bh_slice lines, struct bh_header *headers,
                        struct bh_http1_framing *framing, struct bh_http1_failure *failure) {
    struct bh_slice line;
    bool has_length = false, has_origin = false;
    for (struct bh_header *h = headers; lines.n; h++) {
        bh_slice_split(&lines, '\n', &line);
        line.n--; /* CR */
        bh_slice_split(&line, ':', &h->name);
        h->value = bh_slice_trim(line);
        if (bh_slice_caseeq(h->name, BH_SLICE("Origin"))) {
            if (has_origin)
                return bh_http1_fail(failure, 400, "more than one Origin");
            has_origin = true;
        }
        if (!bh_slice_caseeq(h->name, BH_SLICE("Content-Length")))
            continue;
        if (has_length)
            return bh_http1_fail(failure, 400, "more than one Content-Length");
        if (read_length(line, &framing->length, failure))
            return BH_EPROTO;
        has_length = true;
    }
    return 0;
}

static int split_head(struct bh_slice head, struct bh_header *headers, size_t count,
                      struct bh_http_request *request, struct bh_http1_framing *framing,
                      struct bh_http1_failure *failure) {
    struct bh_slice line;
    bh_slice_split(&head, '\n', &line);
    int r = split_request_line(line, request, failure);
    if (!r)
        r = split_fields(head, headers, framing, failure);
    if (!r && is_connect(request))
        r = bh_http1_fail(failure, 501, "CONNECT is not served");
    request->headers = headers;
    request->header_count = count;
    return r;
}

/* --- host and target --- */

static size_t count_lines(const struct bh_http_request *request, struct bh_slice name) {
    size_t n = 0;
    for (size_t i = 0; i < request->header_count; i++)
        n += bh_slice_caseeq(request->headers[i].name, name);
    return n;
}

static struct bh_slice value_of(const struct bh_http_request *request, struct bh_slice name) {
    return bh_http_header(request->headers, request->header_count, name);
}

static int read_host(struct bh_http_request *request, struct bh_http1_failure *failure) {
    size_t lines = count_lines(request, BH_SLICE("Host"));
    if (lines > 1 || (lines == 0 && request->minor == 1))
        return bh_http1_fail(failure, 400, "there must be one Host header");
    request->host = value_of(request, BH_SLICE("Host"));
    if (!is_authority(request->host))
        return bh_http1_fail(failure, 400, "malformed Host header");
    return 0;
}

static bool is_web_scheme(struct bh_slice s) {
    return bh_slice_caseeq(s, BH_SLICE("http")) || bh_slice_caseeq(s, BH_SLICE("https")) ||
           bh_slice_caseeq(s, BH_SLICE("ws")) || bh_slice_caseeq(s, BH_SLICE("wss"));
}

/* "http://host/path" becomes host and "/path". */
static int reduce_absolute(struct bh_http_request *request, struct bh_http1_failure *failure) {
    struct bh_slice rest = request->target, scheme;
    bh_slice_split(&rest, ':', &scheme);
    if (!is_web_scheme(scheme) || !bh_slice_starts(rest, BH_SLICE("//")))
        return bh_http1_fail(failure, 400, "malformed request target");
    rest = bh_slice(rest.p + 2, rest.n - 2);
    size_t n = authority_of(rest).n;
    request->host = bh_slice(rest.p, n);
    request->target = n == rest.n ? BH_SLICE("/") : bh_slice(rest.p + n, rest.n - n);
    if (n == 0 || !is_authority(request->host) || request->target.p[0] != '/')
        return bh_http1_fail(failure, 400, "malformed request target");
    return 0;
}

static int read_target(struct bh_http_request *request, struct bh_http1_failure *failure) {
    struct bh_slice target = request->target;
    bool everything = bh_slice_eq(target, BH_SLICE("*"));
    if (memchr(target.p, '#', target.n))
        return bh_http1_fail(failure, 400, "fragment in the request target");
    if (everything != (target.p[0] == '*') ||
        (everything && !bh_slice_eq(request->method, BH_SLICE("OPTIONS"))))
        return bh_http1_fail(failure, 400, "malformed request target");
    if (!everything && target.p[0] != '/') {
        int r = reduce_absolute(request, failure);
        if (r)
            return r;
    }
    request->query = request->target;
    bh_slice_split(&request->query, '?', &request->path);
    return 0;
}

/* --- the body's length --- */

/* Only a single "chunked" is supported. An ambiguous end of the body is 400. */
static int read_codings(const struct bh_http_request *request, struct bh_http1_failure *failure) {
    struct bh_http_list at = {0};
    struct bh_slice coding;
    size_t codings = 0, chunked = 0;
    bool last_chunked = false;
    while (bh_http_next_element(request->headers, request->header_count,
                                BH_SLICE("Transfer-Encoding"), &at, &coding)) {
        last_chunked = bh_slice_caseeq(coding, BH_SLICE("chunked"));
        chunked += last_chunked;
        codings++;
    }
    if (codings == 0 || chunked > 1 || (chunked == 1 && !last_chunked))
        return bh_http1_fail(failure, 400, "ambiguous Transfer-Encoding");
    if (codings > chunked)
        return bh_http1_fail(failure, 501, "unknown Transfer-Encoding");
    return 0;
}

static int read_framing(const struct bh_http_request *request, struct bh_http1_framing *framing,
                        struct bh_http1_failure *failure) {
    framing->chunked = count_lines(request, BH_SLICE("Transfer-Encoding")) > 0;
    if (!framing->chunked)
        return 0;
    if (count_lines(request, BH_SLICE("Content-Length")) || request->minor == 0)
        return bh_http1_fail(failure, 400, "ambiguous length of the body");
    return read_codings(request, failure);
}

/* --- options of the client --- */

static bool has_token(const struct bh_http_request *request, struct bh_slice name,
                      struct bh_slice token) {
    return bh_http_has_token(request->headers, request->header_count, name, token);
}

static void read_options(struct bh_http_request *request, const struct bh_http1_framing *framing) {
    bool modern = request->minor == 1, body = framing->chunked || framing->length;
    request->has_body = body;
    request->length = framing->length;
    struct bh_slice connection = BH_SLICE("Connection");
    request->keep_alive = !has_token(request, connection, BH_SLICE("close")) &&
                          (modern || has_token(request, connection, BH_SLICE("keep-alive")));
    request->upgrade = modern && !body && has_token(request, connection, BH_SLICE("upgrade")) &&
                       has_token(request, BH_SLICE("Upgrade"), BH_SLICE("websocket"));
    request->expect_continue =
        modern && body && has_token(request, BH_SLICE("Expect"), BH_SLICE("100-continue"));
}

int bh_http1_parse_head(struct bh_slice head, struct bh_header *headers, size_t count,
                        struct bh_http_request *request, struct bh_http1_framing *framing,
                        struct bh_http1_failure *failure) {
    *framing = (struct bh_http1_framing){0};
    int r = split_head(head, headers, count, request, framing, failure);
    if (!r)
        r = read_host(request, failure);
    if (!r)
        r = read_target(request, failure);
    if (!r)
        r = read_framing(request, framing, failure);
    if (!r)
        read_options(request, framing);
    return r;
}
