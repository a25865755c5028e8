/* assets.c - serves the files of api/assets.h. routes.c says which paths lead here. */
#include "api/assets.h"

#include "api/endpoints.h"

void bh_asset_get(struct bh_http_conn *c) {
    struct bh_slice path = bh_http_conn_request(c)->path;
    size_t i = 0;
    while (i < bh_asset_count && !bh_slice_eq(bh_assets[i].path, path))
        i++;
    if (i == bh_asset_count)
        bh_http_conn_fail(c, 404, "not_found", "not found");
    else
        bh_http_conn_answer(c, 200, bh_assets[i].content_type, NULL, 0, bh_assets[i].bytes);
}
