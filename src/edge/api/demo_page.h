/* demo_page.h - demo.html as bytes; the definition is generated. */
#ifndef BELLHOP_EDGE_DEMO_PAGE_H
#define BELLHOP_EDGE_DEMO_PAGE_H

#include <stddef.h>

extern const unsigned char bh_demo_html[];
extern const size_t bh_demo_html_len;

#endif
