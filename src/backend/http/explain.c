/* explain.c - why a transfer failed: a sentence that begins with the kind of failure. */
#include "bellhop/base/error.h"

#include "internal.h"

#include <stdio.h>

#define HOST_MAX 256

/* libcurl's own text, without an opening that repeats ours. */
static const char *detail(const struct bh_http_call *c, CURLcode result) {
    static const char *const openings[] = {"SSL certificate problem: ", "SSL: "};
    const char *text = c->curl_why;
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++)
        if (strncmp(text, openings[i], strlen(openings[i])) == 0)
            text += strlen(openings[i]);
    return *text ? text : curl_easy_strerror(result);
}

/* Of the current URL, which after a redirect is not the call's. It may hold a password, so an error
 * never shows more of it than the host. */
static void find_host(const struct bh_http_call *c, char out[HOST_MAX]) {
    char *text = NULL, *host = NULL;
    CURLU *url = curl_url();
    curl_easy_getinfo(c->easy, CURLINFO_EFFECTIVE_URL, &text);
    if (text && curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK)
        curl_url_get(url, CURLUPART_HOST, &host, 0);
    snprintf(out, HOST_MAX, "%s", host ? host : c->host_name);
    curl_free(host);
    curl_url_cleanup(url);
}

static int explain(int error, char *why, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int explain(int error, char *why, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(why, BH_HTTP_WHY_MAX, format, args);
    va_end(args);
    return error;
}

static int not_connected(const struct bh_http_call *c, CURLcode result, const char *host,
                         char *why) {
    long number = 0;
    if (c->denied)
        return explain(BH_EDENIED, why,
                       "the address of %s is not allowed (fetch.allow, fetch.deny)", host);
    curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &number);
    return explain(BH_EUNAVAIL, why, "could not connect to %s: %s", host,
                   number ? strerror((int)number) : detail(c, result));
}

int bh_http_explain(const struct bh_http_call *c, CURLcode result, char why[BH_HTTP_WHY_MAX]) {
    char host[HOST_MAX];
    if (c->error)
        return explain(c->error, why, "%s", c->why);
    find_host(c, host);
    switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return explain(BH_EUNAVAIL, why, "could not resolve host %s", host);
    case CURLE_COULDNT_RESOLVE_PROXY:
        return explain(BH_EUNAVAIL, why, "could not resolve the proxy (fetch.proxy)");
    case CURLE_COULDNT_CONNECT:
        return not_connected(c, result, host, why);
    case CURLE_OPERATION_TIMEDOUT:
        return explain(BH_ETIMEDOUT, why, "timeout: no connection to %s", host);
    case CURLE_PEER_FAILED_VERIFICATION:
        return explain(BH_EDENIED, why, "TLS certificate of %s: %s", host, detail(c, result));
    case CURLE_SSL_CACERT_BADFILE:
        return explain(BH_EUNAVAIL, why, "TLS: fetch.ca_file: %s", detail(c, result));
    case CURLE_SSL_CONNECT_ERROR:
        return explain(BH_EUNAVAIL, why, "TLS with %s: %s", host, detail(c, result));
    case CURLE_TOO_MANY_REDIRECTS:
        return explain(BH_EPROTO, why, "too many redirects");
    case CURLE_UNSUPPORTED_PROTOCOL:
        return explain(BH_EPROTO, why, "redirect to a scheme other than http and https");
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_BAD_CONTENT_ENCODING:
        return explain(BH_EPROTO, why, "invalid response: %s", detail(c, result));
    case CURLE_OUT_OF_MEMORY:
        return explain(BH_ENOMEM, why, "out of memory");
    default:
        return explain(BH_EIO, why, "connection lost: %s", detail(c, result));
    }
}
