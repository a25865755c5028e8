/* demo.c - the page behind GET / with --dev: demo.html, embedded at build (embed.cmake). */
#include "api/demo_page.h"
#include "api/endpoints.h"

void bh_demo_page(struct bh_http_conn *c) {
    bh_http_conn_answer(c, 200, "text/html; charset=utf-8", NULL, 0,
                        bh_slice(bh_demo_html, bh_demo_html_len));
}
