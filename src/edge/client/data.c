/* data.c - see the header. */
#include "client/data.h"

#include "bellhop/base/crypto.h"
#include "bellhop/base/json.h"

static void add_base64(struct bh_bytes *out, struct bh_slice data) {
    bh_bytes_addc(out, '"');
    bh_bytes_reserve(out, bh_base64_len(data.n));
    out->len += bh_base64_encode(data, out->p + out->len);
    bh_bytes_addc(out, '"');
}

void bh_client_add_data(struct bh_bytes *out, unsigned opcode, struct bh_slice data) {
    bh_bytes_adds(out, "\"data\":");
    if (opcode == BH_BINARY) {
        add_base64(out, data);
        bh_bytes_adds(out, ",\"encoding\":\"base64\"");
    } else if (bh_json_check(data, NULL) == 0) {
        bh_bytes_add(out, data);
    } else {
        bh_json_quote(out, data);
        bh_bytes_adds(out, ",\"encoding\":\"text\"");
    }
}
