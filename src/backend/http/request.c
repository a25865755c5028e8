/* request.c - from a request to libcurl's easy handle.
 *
 * Everything that a script may have taken from a client is checked here, the last place before the
 * wire: the URL by libcurl's own parser, whose result the transfer uses; names and values of
 * headers and the method byte by byte. Headers that frame the message (its length, its connection)
 * are libcurl's and cannot be set.
 *
 * A queued call holds a copy of the request; the easy handle, which is large, is created when the
 * call is sent. Thread: the loop's. */
#include "bellhop/base/error.h"

#include "internal.h"

#include <stdio.h>
#include <sys/socket.h>

#define URL_MAX     ((size_t)16 * 1024)
#define HEADERS_MAX 100

/* --- checks --- */

static int refuse(char *why, const char *text) {
    snprintf(why, BH_HTTP_WHY_MAX, "%s", text);
    return BH_EINVAL;
}

static bool is_token(struct bh_slice s) {
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.n; i++) {
        char b = s.p[i], low = (char)(b | 0x20);
        if (!(low >= 'a' && low <= 'z') && !(b >= '0' && b <= '9') && (!b || !strchr(marks, b)))
            return false;
    }
    return s.n > 0;
}

static bool has_control(struct bh_slice s) {
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < ' ' && s.p[i] != '\t') || s.p[i] == 127)
            return true;
    return false;
}

static int take_method(struct bh_http_call *c, const struct bh_fetch_request *r, char *why) {
    struct bh_slice m = r->method;
    if (!m.n)
        m = r->has_body ? BH_SLICE("POST") : BH_SLICE("GET");
    bool good = m.n < sizeof c->method;
    for (size_t i = 0; i < m.n && good; i++)
        good = (m.p[i] >= 'A' && m.p[i] <= 'Z') || m.p[i] == '-';
    if (!good)
        return refuse(why, "method: only capital letters and -");
    if (bh_slice_eq(m, BH_SLICE("CONNECT")) || bh_slice_eq(m, BH_SLICE("TRACE")))
        return refuse(why, "method: CONNECT and TRACE are not supported");
    memcpy(c->method, m.p, m.n);
    return 0;
}

static bool is_method(const struct bh_http_call *c, const char *method) {
    return strcmp(c->method, method) == 0;
}

/* With CURLOPT_CUSTOMREQUEST libcurl would keep the method after a redirect that must become GET.
 */
static int take_redirects(struct bh_http_call *c, const struct bh_fetch_request *r, char *why) {
    bool plain = (is_method(c, "GET") && !r->has_body) || is_method(c, "POST");
    if (r->redirects > BH_FETCH_REDIRECTS_MAX)
        return refuse(why, "follow: at most 10 redirects");
    if (r->redirects && !plain && !is_method(c, "HEAD"))
        return refuse(why, "follow: only with GET, HEAD and POST");
    c->redirects = r->redirects;
    return 0;
}

static int take_body(struct bh_http_call *c, const struct bh_fetch_request *r, char *why) {
    if (r->has_body && is_method(c, "HEAD"))
        return refuse(why, "body: not allowed with HEAD");
    /* POST, PUT and PATCH without a body send Content-Length: 0. */
    if (!r->has_body && !is_method(c, "POST") && !is_method(c, "PUT") && !is_method(c, "PATCH"))
        return 0;
    size_t n = r->has_body ? r->body.n : 0;
    c->body = bh_buf_try_new(n);
    if (!c->body)
        return refuse(why, "body: out of memory");
    if (n)
        memcpy(c->body->data, r->body.p, n);
    return 0;
}

static int take_url(struct bh_http_call *c, struct bh_slice url, char *why) {
    char *text = NULL, *scheme = NULL;
    if (url.n > URL_MAX || has_control(url))
        return refuse(why, url.n > URL_MAX ? "URL: too long" : "URL: control characters");
    c->url = curl_url();
    struct bh_buf *copy = bh_buf_new(url.n + 1);
    text = (char *)copy->data;
    memcpy(text, url.n ? url.p : "", url.n);
    text[url.n] = '\0';
    CURLUcode bad = curl_url_set(c->url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME);
    bh_buf_unref(copy);
    if (bad || curl_url_get(c->url, CURLUPART_SCHEME, &scheme, 0) ||
        curl_url_get(c->url, CURLUPART_HOST, &c->host_name, 0)) {
        curl_free(scheme);
        return refuse(why, "URL: not an absolute URL (https://host/path)");
    }
    bool known = strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0;
    curl_free(scheme);
    return known ? 0 : refuse(why, "URL: only http and https");
}

static bool is_reserved(struct bh_slice name) {
    static const char *const names[] = {"content-length",
                                        "transfer-encoding",
                                        "connection",
                                        "keep-alive",
                                        "upgrade",
                                        "expect",
                                        "te",
                                        "trailer",
                                        "proxy-connection"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (bh_slice_caseeq(name, bh_slice_cstr(names[i])))
            return true;
    return false;
}

static int check_header(const struct bh_header *h, char *why) {
    if (!is_token(h->name))
        return refuse(why, "headers: invalid name");
    if (has_control(h->value)) {
        snprintf(why, BH_HTTP_WHY_MAX, "headers: %.*s: a line break or control character",
                 (int)(h->name.n < 64 ? h->name.n : 64), h->name.p);
        return BH_EINVAL;
    }
    if (!is_reserved(h->name))
        return 0;
    snprintf(why, BH_HTTP_WHY_MAX, "headers: %.*s cannot be set", BH_SLICE_ARG(h->name));
    return BH_EINVAL;
}

/* --- headers --- */

static void add_line(struct bh_http_call *c, const char *line) {
    struct curl_slist *all = curl_slist_append(c->headers, line);
    if (!all)
        abort();
    c->headers = all;
}

static bool is_given(const struct bh_fetch_request *r, struct bh_slice name) {
    for (size_t i = 0; i < r->header_count; i++)
        if (bh_slice_caseeq(r->headers[i].name, name))
            return true;
    return false;
}

/* libcurl reads "Name:" as "send no such header" and "Name;" as an empty one. */
static int take_headers(struct bh_http_call *c, const struct bh_fetch_request *r, char *why) {
    struct bh_bytes line = {0};
    if (r->header_count > HEADERS_MAX)
        return refuse(why, "headers: more than 100");
    for (size_t i = 0; i < r->header_count; i++) {
        struct bh_slice value = bh_slice_trim(r->headers[i].value);
        if (check_header(&r->headers[i], why)) {
            bh_bytes_free(&line);
            return BH_EINVAL;
        }
        bh_bytes_clear(&line);
        bh_bytes_add(&line, r->headers[i].name);
        bh_bytes_adds(&line, value.n ? ": " : ";");
        bh_bytes_add(&line, value);
        bh_bytes_addc(&line, '\0');
        add_line(c, line.p);
    }
    bh_bytes_free(&line);
    /* Suppressed: the wait for 100 Continue and the type of a form, which libcurl would add. */
    add_line(c, "Expect:");
    if (!is_given(r, BH_SLICE("content-type")))
        add_line(c, "Content-Type:");
    return 0;
}

int bh_http_request_take(struct bh_http_call *c, const struct bh_fetch_request *r, char *why) {
    if (take_url(c, r->url, why) || take_method(c, r, why) || take_redirects(c, r, why) ||
        take_headers(c, r, why) || take_body(c, r, why))
        return BH_EINVAL;
    if (r->max_bytes > BH_FETCH_BYTES_MAX)
        return refuse(why, "max_bytes: at most 64 MiB");
    c->max_bytes = r->max_bytes;
    return 0;
}

void bh_http_request_key(const struct bh_http_call *c, struct bh_bytes *out) {
    char *scheme = NULL, *port = NULL;
    curl_url_get(c->url, CURLUPART_SCHEME, &scheme, 0);
    curl_url_get(c->url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
    bh_bytes_addf(out, "%s://%s:%s", scheme ? scheme : "", c->host_name, port ? port : "");
    for (size_t i = 0; i < out->len; i++)
        if (out->p[i] >= 'A' && out->p[i] <= 'Z')
            out->p[i] |= 0x20;
    curl_free(scheme);
    curl_free(port);
}

/* --- the easy handle --- */

static bool is_allowed(const struct bh_http_config *config, const struct curl_sockaddr *at) {
    struct bh_addr a = {.len = at->addrlen};
    struct bh_ip ip;
    if (!config->allow_count && !config->deny_count)
        return true;
    if (at->addrlen > sizeof a.storage)
        return false;
    memcpy(&a.storage, &at->addr, at->addrlen);
    bh_ip_of(&a, &ip);
    return (!config->allow_count || bh_cidr_any(config->allow, config->allow_count, &ip)) &&
           !bh_cidr_any(config->deny, config->deny_count, &ip);
}

/* Here the address is known to which the connection will really be made. */
static curl_socket_t on_open_socket(void *ud, curlsocktype purpose, struct curl_sockaddr *at) {
    struct bh_http_call *c = ud;
    if (!is_allowed(&c->http->config, at)) {
        c->denied = true;
        return CURL_SOCKET_BAD;
    }
    return socket(at->family, at->socktype | SOCK_CLOEXEC, at->protocol);
}

static void set_method(struct bh_http_call *c) {
    CURL *e = c->easy;
    if (is_method(c, "HEAD"))
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    else if (is_method(c, "POST"))
        curl_easy_setopt(e, CURLOPT_POST, 1L);
    else if (!is_method(c, "GET") || c->body)
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->method);
    if (!c->body)
        return;
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body->len);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, (char *)c->body->data);
}

static void set_safety(struct bh_http_call *c, const struct bh_http_config *config) {
    CURL *e = c->easy;
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    /* Waiting for a name lookup that is no longer needed would block the loop. */
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (config->ca_file && *config->ca_file) {
        curl_easy_setopt(e, CURLOPT_CAINFO, config->ca_file);
        curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(e, CURLOPT_PROXY_CAINFO, config->ca_file);
        curl_easy_setopt(e, CURLOPT_PROXY_CAPATH, NULL);
    }
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, c);
}

static void set_route(struct bh_http_call *c, const struct bh_http_config *config) {
    CURL *e = c->easy;
    /* Set when empty, too: otherwise libcurl reads the environment. */
    curl_easy_setopt(e, CURLOPT_PROXY, config->proxy ? config->proxy : "");
    curl_easy_setopt(e, CURLOPT_NOPROXY, config->no_proxy ? config->no_proxy : "");
    curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)config->connect_timeout_ms);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "bellhop/" BELLHOP_VERSION);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, c->redirects ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)c->redirects);
}

CURL *bh_http_request_open(struct bh_http_call *c, const struct bh_http_config *config) {
    c->easy = curl_easy_init();
    if (!c->easy)
        abort();
    curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
    curl_easy_setopt(c->easy, CURLOPT_CURLU, c->url);
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, bh_http_on_head);
    curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, bh_http_on_body);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->curl_why);
    set_method(c);
    set_safety(c, config);
    set_route(c, config);
    return c->easy;
}

void bh_http_request_free(struct bh_http_call *c) {
    curl_easy_cleanup(c->easy);
    curl_url_cleanup(c->url);
    curl_free(c->host_name);
    curl_slist_free_all(c->headers);
    bh_buf_unref(c->body);
}
