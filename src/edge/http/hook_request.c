/* hook_request.c - the translation from the parser's and the socket's structs to struct bh_request.
 */
#include "http/hook_request.h"

#include "bellhop/base/mem.h"

static void set_tls(struct bh_request_tls *out, const struct bh_tls_peer *p) {
    *out = (struct bh_request_tls){.version = p->version,
                                   .cipher = p->cipher,
                                   .sni = p->sni,
                                   .verified = p->verified,
                                   .subject = p->subject,
                                   .sans = p->sans,
                                   .san_count = p->san_count};
}

void bh_hook_request_init(struct bh_hook_request *h, const struct bh_http_conn *c) {
    const struct bh_http_request *r = bh_http_conn_request(c);
    bh_ip_format(&c->peer.ip, h->ip);
    h->tls_peer = bh_tls_peer(&c->stream);
    if (h->tls_peer)
        set_tls(&h->tls, h->tls_peer);
    h->request = (struct bh_request){
        .method = r->method,
        .path = r->path,
        .query = r->query,
        .host = r->host,
        .headers = r->headers,
        .header_count = r->header_count,
        .peer_ip = bh_slice_cstr(h->ip),
        .peer_port = c->peer.forwarded ? 0 : c->remote_port,
        .listener = bh_slice_cstr(c->listener->text),
        .secure = h->tls_peer || c->peer.https,
        .tls = h->tls_peer ? &h->tls : NULL,
    };
}

void bh_hook_request_deinit(struct bh_hook_request *h) {
    bh_free(h->tls_peer);
}
