/* routes.c - the built-in paths of this server; router.c matches requests against them. */
#include "api/routes.h"

#include "api/endpoints.h"

#define WITH_BODY (BH_ROUTE_GUARDED | BH_ROUTE_BODY)
#define PUBLISH   (WITH_BODY | BH_ROUTE_PUBLISH)
#define ENTRY     (BH_ROUTE_GUARDED | BH_ROUTE_ENTRY)

const struct bh_route bh_api_routes[] = {
    {"GET", "/healthz", NULL, bh_ops_healthz, BH_ROUTE_OPS},
    {"GET", "/readyz", NULL, bh_ops_readyz, BH_ROUTE_OPS},
    {"GET", "/metrics", NULL, bh_ops_metrics, BH_ROUTE_OPS},
    {"GET", "/", NULL, bh_asset_get, BH_ROUTE_DEV},
    {"GET", "/inbox", NULL, bh_api_inbox, BH_ROUTE_LATE},
    {"POST", "/api/publish", NULL, bh_api_batch, PUBLISH},
    {"POST", "/api/reload", NULL, bh_api_reload, BH_ROUTE_GUARDED},
    {"POST", "/api/broadcast", NULL, bh_api_broadcast, PUBLISH},
    {"GET", "/api/broadcast/messages", NULL, bh_api_history, BH_ROUTE_GUARDED},
    {"DELETE", "/api/broadcast/messages", NULL, bh_api_history_purge, BH_ROUTE_GUARDED},
    {"DELETE", "/api/broadcast/messages/", NULL, bh_api_history_remove, ENTRY},
    {"POST", "/api/users/online", NULL, bh_api_users_online, WITH_BODY},
    {"POST", "/api/users/", "/messages", bh_api_user_message, PUBLISH},
    {"GET", "/api/users/", "/messages", bh_api_history, BH_ROUTE_GUARDED},
    {"DELETE", "/api/users/", "/messages", bh_api_history_purge, BH_ROUTE_GUARDED},
    {"DELETE", "/api/users/", "/messages/", bh_api_history_remove, ENTRY},
    {"DELETE", "/api/users/", "/connections", bh_api_disconnect, BH_ROUTE_GUARDED},
    {"GET", "/api/users/", "", bh_api_user, BH_ROUTE_GUARDED},
    {"POST", "/api/tenants/", "/messages", bh_api_tenant_message, PUBLISH},
    {"GET", "/api/tenants/", "/messages", bh_api_history, BH_ROUTE_GUARDED},
    {"DELETE", "/api/tenants/", "/messages", bh_api_history_purge, BH_ROUTE_GUARDED},
    {"DELETE", "/api/tenants/", "/messages/", bh_api_history_remove, ENTRY},
    {"GET", "/api/tenants/", "", bh_api_tenant, BH_ROUTE_GUARDED},
    {"POST", "/api/topics/", "/messages", bh_api_topic_message, PUBLISH | BH_ROUTE_SLASHES},
    {"GET", "/api/topics/", "/messages", bh_api_history, BH_ROUTE_GUARDED | BH_ROUTE_SLASHES},
    {"DELETE", "/api/topics/", "/messages", bh_api_history_purge,
     BH_ROUTE_GUARDED | BH_ROUTE_SLASHES},
    {"DELETE", "/api/topics/", "/messages/", bh_api_history_remove, ENTRY | BH_ROUTE_SLASHES},
};

const size_t bh_api_route_count = sizeof bh_api_routes / sizeof *bh_api_routes;
