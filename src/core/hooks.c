/* hooks.c - what both sides of the port agree on. */
#include "bellhop/core/hooks.h"

bool bh_response_header_ok(struct bh_slice name) {
    static const struct bh_slice of_the_connection[] = {
        BH_SLICE("Connection"), BH_SLICE("Content-Length"),    BH_SLICE("Date"),
        BH_SLICE("Keep-Alive"), BH_SLICE("Transfer-Encoding"), BH_SLICE("Upgrade"),
    };
    for (size_t i = 0; i < sizeof of_the_connection / sizeof *of_the_connection; i++)
        if (bh_slice_caseeq(name, of_the_connection[i]))
            return false;
    return true;
}
