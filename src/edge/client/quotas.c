/* quotas.c - see the header. */
#include "client/quotas.h"

#include "limits/edge_metrics.h"
#include "limits/quota.h"

static const char *acquire_identity(const struct bh_edge_config *config,
                                    const struct bh_identity *identity) {
    if (!bh_quota_acquire(BH_QUOTA_USER, identity->user, config->connections_per_user)) {
        bh_edge_count(BH_EDGE_LIMIT_PER_USER, 1);
        return "connection limit of this user reached";
    }
    if (bh_quota_acquire(BH_QUOTA_TENANT, identity->tenant, config->connections_per_tenant))
        return NULL;
    bh_quota_release(BH_QUOTA_USER, identity->user, config->connections_per_user);
    bh_edge_count(BH_EDGE_LIMIT_PER_TENANT, 1);
    return "connection limit of this tenant reached";
}

const char *bh_quotas_acquire(const struct bh_admission *admission, const struct bh_ip *forwarded,
                              const struct bh_identity *identity) {
    if (forwarded && !bh_admission_acquire_address(admission, forwarded))
        return "connection limit of this address reached";
    const char *why = acquire_identity(admission->config, identity);
    if (forwarded && why)
        bh_admission_release_address(admission, forwarded);
    return why;
}

void bh_quotas_release(const struct bh_edge_config *config, const struct bh_identity *identity) {
    bh_quota_release(BH_QUOTA_USER, identity->user, config->connections_per_user);
    bh_quota_release(BH_QUOTA_TENANT, identity->tenant, config->connections_per_tenant);
}

bool bh_identity_is_limited(const struct bh_identity *identity) {
    const struct bh_identity_limits *l = &identity->limits;
    return l->messages_per_second || l->bytes_per_second || l->queue_bytes;
}
