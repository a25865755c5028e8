/* ws_json.c - see the header. */
#include "ws/ws_json.h"

void bh_ws_json_deinit(struct bh_ws_json *j) {
    bh_client_link_free(&j->link);
    bh_client_refusal_free(&j->refusal);
    bh_outq_clear(&j->early);
}
