/* hooks.h - the port through which scripts decide.
 *
 * One object for each worker, on that worker's thread. `present` contains the hooks that exist, so
 * that an absent one costs its caller one branch; a hook that is not present must not be called.
 * Every completion fires exactly once, maybe before the call returns, with the caller's ud and
 * handle. The implementation decides what a failed hook means (fail closed), not the caller. */
#ifndef BELLHOP_CORE_HOOKS_H
#define BELLHOP_CORE_HOOKS_H

#include "bellhop/base/header.h"
#include "bellhop/core/path.h"
#include "bellhop/core/publish.h"
#include "bellhop/core/subscriber.h"

enum bh_hook {
    BH_HOOK_HANDSHAKE = 1 << 0,
    BH_HOOK_OPEN = 1 << 1,
    BH_HOOK_MESSAGE = 1 << 2,
    BH_HOOK_PUBLISH = 1 << 3,
    BH_HOOK_DELIVER = 1 << 4,
    BH_HOOK_SUBSCRIBE = 1 << 5,
    BH_HOOK_UNSUBSCRIBE = 1 << 6,
    BH_HOOK_CLOSE = 1 << 7,
    BH_HOOK_API = 1 << 8, /* on_api: may this request use the API? */
    BH_HOOK_SLOW = 1 << 9,
    BH_HOOK_PRESENCE = 1 << 10,
    BH_HOOK_OFFLINE = 1 << 11,
    BH_HOOK_HTTP = 1 << 12, /* endpoints that scripts define */
    BH_HOOK_EXPIRE = 1 << 13,
    BH_HOOK_GAP = 1 << 14,
};

/* What TLS knows about the client. */
struct bh_request_tls {
    struct bh_slice version, cipher; /* "TLSv1.3" */
    struct bh_slice sni;             /* host that the client asked for; empty: none */
    bool verified;                   /* its certificate was verified */
    struct bh_slice subject;         /* of that certificate, RFC 2253 */
    const struct bh_slice *sans;     /* "DNS:a.example", "URI:spiffe://..." */
    size_t san_count;
};

/* A request, independent of the protocol; all slices are borrowed for the call. */
struct bh_request {
    struct bh_slice method, path, query, host;
    const struct bh_header *headers;
    size_t header_count;
    struct bh_slice peer_ip;
    uint16_t peer_port;
    struct bh_slice listener;           /* the address that accepted it, "127.0.0.1:8080" */
    bool secure;                        /* the client used TLS, to us or to a trusted proxy */
    const struct bh_request_tls *tls;   /* NULL: the connection to us is plain */
    const struct bh_path_param *params; /* of the pattern that matches the path */
    size_t param_count;
};

/* permessage-deflate of one connection. DEFAULT: as configured. */
enum bh_compression {
    BH_COMPRESSION_DEFAULT,
    BH_COMPRESSION_OFF,
    BH_COMPRESSION_NO_TAKEOVER,
    BH_COMPRESSION_TAKEOVER,
    BH_COMPRESSION_COUNT
};
extern const char *const bh_compression_names[BH_COMPRESSION_COUNT]; /* of DEFAULT: NULL */

/* What a WebSocket gets. DEFAULT: as its query says (format=json), else raw. */
enum bh_format {
    BH_FORMAT_DEFAULT,
    BH_FORMAT_RAW,  /* the messages as they are */
    BH_FORMAT_JSON, /* with their topic and position */
    BH_FORMAT_COUNT
};
extern const char *const bh_format_names[BH_FORMAT_COUNT]; /* of DEFAULT: NULL */

/* status 0: accepted; the callee takes over identity. Else the handshake is refused with this HTTP
 * status and body, and identity is NULL. headers are added to either answer. Borrowed for the call.
 */
struct bh_handshake_result {
    int status;
    struct bh_slice body;
    struct bh_identity *identity;
    struct bh_slice protocol; /* chosen subprotocol; empty: none */
    enum bh_compression compression;
    enum bh_format format;
    const struct bh_header *headers;
    size_t header_count;
};

/* A script's answer to a request of its endpoint. status is 200 to 599; each header passes
 * bh_response_header_ok. Borrowed for the call. */
struct bh_response {
    int status;
    const struct bh_header *headers; /* Content-Type among them */
    size_t header_count;
    struct bh_slice body;
};

typedef void (*bh_response_cb)(void *ud, bh_handle handle, const struct bh_response *response);

/* False for a header that only the server itself sets: Connection, Content-Length, Date,
 * Keep-Alive, Transfer-Encoding, Upgrade. */
bool bh_response_header_ok(struct bh_slice name);

typedef void (*bh_handshake_cb)(void *ud, bh_handle handle,
                                const struct bh_handshake_result *result);
/* allowed false: status and body for the answer; from `api`, status 0 is no opinion. */
typedef void (*bh_allowed_cb)(void *ud, bh_handle handle, bool allowed, int status,
                              struct bh_slice body);

/* expires: the new time, in Unix seconds; 0: close the connection. */
typedef void (*bh_expiry_cb)(void *ud, bh_handle handle, int64_t expires);

enum bh_verdict { BH_DELIVER_PASS, BH_DELIVER_SKIP, BH_DELIVER_REPLACED };

/* What to do when the queue of a client is full. */
enum bh_slow { BH_SLOW_CLOSE, BH_SLOW_DROP_OLDEST, BH_SLOW_DROP_NEWEST };

/* What to do with a message that reached nobody. */
enum bh_offline { BH_OFFLINE_HANDLED, BH_OFFLINE_DROP, BH_OFFLINE_RETRY };
typedef void (*bh_offline_cb)(void *ud, bh_handle handle, enum bh_offline what, uint64_t retry_ms);

struct bh_hooks;

struct bh_hooks_vt {
    /* on_tenant, then on_handshake. Returns a ticket for cancel, or 0 when it completed at once. */
    bh_handle (*handshake)(struct bh_hooks *h, const struct bh_request *request,
                           bh_handshake_cb done, void *ud, bh_handle handle);
    /* The client has disconnected: done is not called any more. */
    void (*cancel)(struct bh_hooks *h, bh_handle ticket);
    bh_handle (*api)(struct bh_hooks *h, const struct bh_request *request, bh_allowed_cb done,
                     void *ud, bh_handle handle);

    /* The ordered hooks of one connection run one at a time, in the order of these calls. */
    void (*open)(struct bh_hooks *h, struct bh_subscriber *s);
    /* data is copied if the hook cannot run at once. */
    void (*message)(struct bh_hooks *h, struct bh_subscriber *s, enum bh_opcode opcode,
                    struct bh_slice data);
    /* Last call for this subscriber. on_close runs when the hooks before it are done; the hooks
     * keep copies of what they still need, so the subscriber may be freed after the call. Releases
     * s->script. Must be called (once) when s->script is set, even if no hook is present. */
    void (*close)(struct bh_hooks *h, struct bh_subscriber *s, unsigned code,
                  struct bh_slice reason);

    /* Its identity has expired: asks for a new time. A failed hook is 0. When the subscriber is
     * closed meanwhile, done may not be called. */
    void (*expire)(struct bh_hooks *h, struct bh_subscriber *s, bh_expiry_cb done, void *ud,
                   bh_handle handle);

    /* Asks whether this subscriber may join. topic is a `topic:` name. allowed with status 0: the
     * scripts have no opinion; with 200: they said so. */
    void (*subscribe)(struct bh_hooks *h, struct bh_subscriber *s, struct bh_slice topic,
                      bh_allowed_cb done, void *ud, bh_handle handle);
    void (*unsubscribe)(struct bh_hooks *h, struct bh_subscriber *s, struct bh_slice topic,
                        const char *why);

    /* May change *p or refuse it. error: 0, BH_EDENIED with why, BH_ESCRIPT. */
    void (*publish)(struct bh_hooks *h, struct bh_publish *p,
                    void (*done)(void *ud, int error, const char *why), void *ud);
    /* Synchronous. REPLACED: *replacement is valid until the next call. */
    enum bh_verdict (*deliver)(struct bh_hooks *h, struct bh_subscriber *s, struct bh_message *m,
                               struct bh_slice *replacement);
    /* Synchronous. Returns `otherwise` when the scripts do not decide. */
    enum bh_slow (*slow)(struct bh_hooks *h, struct bh_subscriber *s, size_t queued,
                         enum bh_slow otherwise);

    /* Messages of this topic are missing for a subscriber that its protocol cannot tell. Ordered,
     * as open. */
    void (*gap)(struct bh_hooks *h, struct bh_subscriber *s, struct bh_slice topic,
                const char *why);

    /* Of a user of the cluster; at: Unix milliseconds. */
    void (*presence)(struct bh_hooks *h, struct bh_slice user, bool online, int64_t at);
    /* attempt counts from 1. Without a decision DROP, after a failure RETRY. */
    void (*offline)(struct bh_hooks *h, struct bh_message *m, unsigned attempt, bh_offline_cb done,
                    void *ud, bh_handle handle);

    /* Whether a script has an endpoint there: 0, BH_ENOTFOUND (no such path), BH_EINVAL (the path
     * has other methods: *allow, "GET, HEAD, POST", valid until the next call). GET also answers
     * HEAD. */
    int (*route)(struct bh_hooks *h, struct bh_slice method, struct bh_slice path,
                 const char **allow);
    /* Runs it. Returns a ticket for cancel, or 0 when it completed at once. Copies what it keeps.
     */
    bh_handle (*http)(struct bh_hooks *h, const struct bh_request *request, struct bh_slice body,
                      bh_response_cb done, void *ud, bh_handle handle);
};

struct bh_hooks {
    const struct bh_hooks_vt *vt;
    unsigned present; /* set of enum bh_hook */
};

static inline bool bh_hooks_has(const struct bh_hooks *h, unsigned hook) {
    return h && (h->present & hook) != 0;
}

#endif
