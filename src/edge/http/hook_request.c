/* conn_neutral.c - a request in the hooks' terms. Its slices are the connection's; what has to be
 * made (the client's address as text, what TLS knows of it) lives in the caller's struct. Thread:
 * the worker's. */
#include "http/http_conn.h"

#include "bellhop/base/mem.h"

static void tls_to_neutral(const struct bh_tls_peer *p, struct bh_request_tls *out) {
    *out = (struct bh_request_tls){.version = p->version,
                                   .cipher = p->cipher,
                                   .sni = p->sni,
                                   .verified = p->verified,
                                   .subject = p->subject,
                                   .sans = p->sans,
                                   .san_count = p->san_count};
}

void bh_hook_request_init(const struct bh_http_conn *c, struct bh_hook_request *out) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    bh_ip_format(&c->peer.ip, out->ip);
    out->tls_peer = bh_tls_peer(&c->stream);
    if (out->tls_peer)
        tls_to_neutral(out->tls_peer, &out->tls);
    out->request = (struct bh_request){
        .method = r->method,
        .path = r->path,
        .query = r->query,
        .host = r->host,
        .headers = r->headers,
        .header_count = r->header_count,
        .peer_ip = bh_slice_cstr(out->ip),
        .peer_port = c->peer.forwarded ? 0 : c->remote_port,
        .listener = bh_slice_cstr(c->listener->text),
        .secure = out->tls_peer || c->peer.https,
        .tls = out->tls_peer ? &out->tls : NULL,
    };
}

void bh_hook_request_deinit(struct bh_hook_request *n) {
    bh_free(n->tls_peer);
}
