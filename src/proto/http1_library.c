/* http1_library.c - the head by http_parser, to compare http1_head.c with; goes with the library.
 *
 * http_parser splits the head and knows the methods and the characters of a URL. It gets the head
 * in one piece, in memory that does not move, so its callbacks hand out slices at once and each
 * exactly one per element. How long the body is, what the target names and whether the client
 * has_token an upgrade is decided here: of two readings of a head the stricter one counts. */
#include "http1_head.h"

#include "bellhop/base/error.h"

#include <http_parser.h>
#include <pthread.h>

/* --- http_parser --- */

struct split {
    struct bh_http_request *request;
    struct bh_header *headers;
    size_t room;
    size_t count;
};

static int on_url(http_parser *parser, const char *at, size_t n) {
    struct split *split = parser->data;
    split->request->target = bh_slice(at, n);
    return 0;
}

static int on_name(http_parser *parser, const char *at, size_t n) {
    struct split *split = parser->data;
    if (split->count == split->room)
        return -1;
    split->headers[split->count++] = (struct bh_header){
        .name = bh_slice(at, n),
        .value = bh_slice(at + n, 0),
    };
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t n) {
    struct split *split = parser->data;
    if (n)
        split->headers[split->count - 1].value = bh_slice_trim(bh_slice(at, n));
    return 0;
}

static const http_parser_settings callbacks = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
};

/* The library's own limit is one for the process, and ours are smaller. */
static void lift_library_limit(void) {
    http_parser_set_max_header_size(UINT32_MAX);
}

static int fail_parsed(const http_parser *parser, struct bh_http1_failure *failure) {
    enum http_errno error = HTTP_PARSER_ERRNO(parser);
    if (error == HPE_INVALID_METHOD)
        return bh_http1_fail(failure, 501, "unknown method");
    return bh_http1_fail(failure, 400, http_errno_description(error));
}

static int split_head(struct bh_slice head, struct split *split, struct bh_http1_failure *failure) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, lift_library_limit);
    http_parser parser = {.data = split};
    http_parser_init(&parser, HTTP_REQUEST);
    http_parser_execute(&parser, &callbacks, head.p, head.n);
    if (HTTP_PARSER_ERRNO(&parser) != HPE_OK)
        return fail_parsed(&parser, failure);
    if (parser.method == HTTP_CONNECT)
        return bh_http1_fail(failure, 501, "CONNECT is not served");
    split->request->method = bh_slice_cstr(http_method_str(parser.method));
    split->request->minor = (uint8_t)parser.http_minor;
    split->request->headers = split->headers;
    split->request->header_count = split->count;
    return 0;
}

/* --- host and target --- */

static bool is_authority(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i], l = (char)(c | 0x20);
        if (!((c >= '0' && c <= '9') || (l >= 'a' && l <= 'z') ||
              (c && strchr("-._~%!$&'()*+,;=:[]", c))))
            return false;
    }
    return true;
}

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
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
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
    size_t lengths = count_lines(request, BH_SLICE("Content-Length"));
    bool coded = count_lines(request, BH_SLICE("Transfer-Encoding")) > 0;
    *framing = (struct bh_http1_framing){.chunked = coded};
    if (lengths > 1 || (coded && (lengths || request->minor == 0)))
        return bh_http1_fail(failure, 400, "ambiguous length of the body");
    if (coded)
        return read_codings(request, failure);
    if (lengths &&
        bh_slice_u64(value_of(request, BH_SLICE("Content-Length")), UINT64_MAX, &framing->length))
        return bh_http1_fail(failure, 400, "malformed Content-Length");
    return 0;
}

/* --- options of the client --- */

static bool has_token(const struct bh_http_request *request, struct bh_slice name,
                      struct bh_slice token) {
    return bh_http_has_token(request->headers, request->header_count, name, token);
}

static void read_options(struct bh_http_request *request, const struct bh_http1_framing *framing) {
    bool modern = request->minor == 1, body = framing->chunked || framing->length;
    struct bh_slice connection = BH_SLICE("Connection");
    request->keep_alive = !has_token(request, connection, BH_SLICE("close")) &&
                          (modern || has_token(request, connection, BH_SLICE("keep-alive")));
    request->upgrade = modern && !body && has_token(request, connection, BH_SLICE("upgrade")) &&
                       has_token(request, BH_SLICE("Upgrade"), BH_SLICE("websocket"));
    request->expect_continue =
        modern && body && has_token(request, BH_SLICE("Expect"), BH_SLICE("100-continue"));
}

int bh_http1_parse_head_library(struct bh_slice head, struct bh_header *headers, size_t count,
                                struct bh_http_request *request, struct bh_http1_framing *framing,
                                struct bh_http1_failure *failure) {
    struct split split = {.request = request, .headers = headers, .room = count};
    int r = split_head(head, &split, failure);
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
