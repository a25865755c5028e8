/* http1_names.c - the names of HTTP: methods, and the reason phrases of status codes.
 *
 * An unknown method is a 501, a known one that an endpoint does not serve a 405, so the list has
 * every registered method that clients send. Phrases that RFC 9110 renamed (413, 422) keep their
 * earlier text. */
#include "http1_names.h"

#include "bellhop/proto/http1.h"

static const struct bh_slice methods[] = {
    BH_SLICE("GET"),         /* RFC 9110, 9.3.1 */
    BH_SLICE("POST"),        /* RFC 9110, 9.3.3 */
    BH_SLICE("DELETE"),      /* RFC 9110, 9.3.5 */
    BH_SLICE("PUT"),         /* RFC 9110, 9.3.4 */
    BH_SLICE("OPTIONS"),     /* RFC 9110, 9.3.7 */
    BH_SLICE("HEAD"),        /* RFC 9110, 9.3.2 */
    BH_SLICE("CONNECT"),     /* RFC 9110, 9.3.6 */
    BH_SLICE("TRACE"),       /* RFC 9110, 9.3.8 */
    BH_SLICE("PATCH"),       /* RFC 5789, 2 */
    BH_SLICE("PROPFIND"),    /* RFC 4918, 9.1 */
    BH_SLICE("PROPPATCH"),   /* RFC 4918, 9.2 */
    BH_SLICE("MKCOL"),       /* RFC 4918, 9.3 */
    BH_SLICE("COPY"),        /* RFC 4918, 9.8 */
    BH_SLICE("MOVE"),        /* RFC 4918, 9.9 */
    BH_SLICE("LOCK"),        /* RFC 4918, 9.10 */
    BH_SLICE("UNLOCK"),      /* RFC 4918, 9.11 */
    BH_SLICE("SEARCH"),      /* RFC 5323, 2 */
    BH_SLICE("BIND"),        /* RFC 5842, 4 */
    BH_SLICE("UNBIND"),      /* RFC 5842, 5 */
    BH_SLICE("REBIND"),      /* RFC 5842, 6 */
    BH_SLICE("ACL"),         /* RFC 3744, 8.1 */
    BH_SLICE("REPORT"),      /* RFC 3253, 3.6 */
    BH_SLICE("CHECKOUT"),    /* RFC 3253, 4.3 */
    BH_SLICE("MERGE"),       /* RFC 3253, 11.2 */
    BH_SLICE("MKACTIVITY"),  /* RFC 3253, 13.5 */
    BH_SLICE("MKCALENDAR"),  /* RFC 4791, 5.3.1 */
    BH_SLICE("LINK"),        /* RFC 2068, 19.6.1.2 */
    BH_SLICE("UNLINK"),      /* RFC 2068, 19.6.1.3 */
    BH_SLICE("M-SEARCH"),    /* UPnP Device Architecture, 1.3 */
    BH_SLICE("NOTIFY"),      /* UPnP Device Architecture, 4.3 */
    BH_SLICE("SUBSCRIBE"),   /* UPnP Device Architecture, 4.1 */
    BH_SLICE("UNSUBSCRIBE"), /* UPnP Device Architecture, 4.1 */
    BH_SLICE("PURGE"),       /* of caches, no RFC */
    BH_SLICE("SOURCE"),      /* of Icecast, no RFC */
};

bool bh_http1_is_method(struct bh_slice name) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (bh_slice_eq(name, methods[i]))
            return true;
    return false;
}

static const char *const reasons[] = {
    [100] = "Continue",                        /* RFC 9110, 15.2.1 */
    [101] = "Switching Protocols",             /* RFC 9110, 15.2.2 */
    [102] = "Processing",                      /* RFC 2518, 10.1 */
    [200] = "OK",                              /* RFC 9110, 15.3.1 */
    [201] = "Created",                         /* RFC 9110, 15.3.2 */
    [202] = "Accepted",                        /* RFC 9110, 15.3.3 */
    [203] = "Non-Authoritative Information",   /* RFC 9110, 15.3.4 */
    [204] = "No Content",                      /* RFC 9110, 15.3.5 */
    [205] = "Reset Content",                   /* RFC 9110, 15.3.6 */
    [206] = "Partial Content",                 /* RFC 9110, 15.3.7 */
    [207] = "Multi-Status",                    /* RFC 4918, 11.1 */
    [208] = "Already Reported",                /* RFC 5842, 7.1 */
    [226] = "IM Used",                         /* RFC 3229, 10.4.1 */
    [300] = "Multiple Choices",                /* RFC 9110, 15.4.1 */
    [301] = "Moved Permanently",               /* RFC 9110, 15.4.2 */
    [302] = "Found",                           /* RFC 9110, 15.4.3 */
    [303] = "See Other",                       /* RFC 9110, 15.4.4 */
    [304] = "Not Modified",                    /* RFC 9110, 15.4.5 */
    [305] = "Use Proxy",                       /* RFC 9110, 15.4.6 */
    [307] = "Temporary Redirect",              /* RFC 9110, 15.4.8 */
    [308] = "Permanent Redirect",              /* RFC 9110, 15.4.9 */
    [400] = "Bad Request",                     /* RFC 9110, 15.5.1 */
    [401] = "Unauthorized",                    /* RFC 9110, 15.5.2 */
    [402] = "Payment Required",                /* RFC 9110, 15.5.3 */
    [403] = "Forbidden",                       /* RFC 9110, 15.5.4 */
    [404] = "Not Found",                       /* RFC 9110, 15.5.5 */
    [405] = "Method Not Allowed",              /* RFC 9110, 15.5.6 */
    [406] = "Not Acceptable",                  /* RFC 9110, 15.5.7 */
    [407] = "Proxy Authentication Required",   /* RFC 9110, 15.5.8 */
    [408] = "Request Timeout",                 /* RFC 9110, 15.5.9 */
    [409] = "Conflict",                        /* RFC 9110, 15.5.10 */
    [410] = "Gone",                            /* RFC 9110, 15.5.11 */
    [411] = "Length Required",                 /* RFC 9110, 15.5.12 */
    [412] = "Precondition Failed",             /* RFC 9110, 15.5.13 */
    [413] = "Payload Too Large",               /* RFC 7231, 6.5.11 */
    [414] = "URI Too Long",                    /* RFC 9110, 15.5.15 */
    [415] = "Unsupported Media Type",          /* RFC 9110, 15.5.16 */
    [416] = "Range Not Satisfiable",           /* RFC 9110, 15.5.17 */
    [417] = "Expectation Failed",              /* RFC 9110, 15.5.18 */
    [421] = "Misdirected Request",             /* RFC 9110, 15.5.20 */
    [422] = "Unprocessable Entity",            /* RFC 4918, 11.2 */
    [423] = "Locked",                          /* RFC 4918, 11.3 */
    [424] = "Failed Dependency",               /* RFC 4918, 11.4 */
    [426] = "Upgrade Required",                /* RFC 9110, 15.5.22 */
    [428] = "Precondition Required",           /* RFC 6585, 3 */
    [429] = "Too Many Requests",               /* RFC 6585, 4 */
    [431] = "Request Header Fields Too Large", /* RFC 6585, 5 */
    [451] = "Unavailable For Legal Reasons",   /* RFC 7725, 3 */
    [500] = "Internal Server Error",           /* RFC 9110, 15.6.1 */
    [501] = "Not Implemented",                 /* RFC 9110, 15.6.2 */
    [502] = "Bad Gateway",                     /* RFC 9110, 15.6.3 */
    [503] = "Service Unavailable",             /* RFC 9110, 15.6.4 */
    [504] = "Gateway Timeout",                 /* RFC 9110, 15.6.5 */
    [505] = "HTTP Version Not Supported",      /* RFC 9110, 15.6.6 */
    [506] = "Variant Also Negotiates",         /* RFC 2295, 8.1 */
    [507] = "Insufficient Storage",            /* RFC 4918, 11.5 */
    [508] = "Loop Detected",                   /* RFC 5842, 7.2 */
    [510] = "Not Extended",                    /* RFC 2774, 7 */
    [511] = "Network Authentication Required", /* RFC 6585, 6 */
};

const char *bh_http_reason(int status) {
    bool known = status >= 0 && (size_t)status < sizeof reasons / sizeof *reasons;
    return known && reasons[status] ? reasons[status] : "Unknown";
}
