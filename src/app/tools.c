/* tools.c - the commands test and token. */
#include "app.h"

#include "bellhop/backend/memory.h"
#include "bellhop/base/clock.h"
#include "bellhop/base/error.h"
#include "bellhop/base/id.h"
#include "bellhop/base/jwt.h"
#include "bellhop/base/log.h"
#include "bellhop/base/mem.h"
#include "bellhop/script/script.h"
#include "bellhop/spec/spec.h"
#include "config_values.h"

#include <stdio.h>

int bh_app_test(const struct bh_config *config, int argc, char **argv) {
    struct bh_script_config script;
    struct bh_strings files;
    char *lua_dir = bh_app_lua_dir(config);
    bh_app_script_config(config, lua_dir, &script, &files);
    bh_log_init(BH_LOG_WARN, BH_LOG_LOGFMT, false, NULL);
    const struct bh_spec_config spec = {.script = &script,
                                        .broker = bh_memory_broker_new,
                                        .tracker = bh_memory_tracker_new,
                                        .history = bh_memory_history_new,
                                        .history_rules = bh_app_history_rules,
                                        .debounce_ms = config->tracking_debounce,
                                        .payload_max = (size_t)config->payload_bytes};
    int status = bh_spec_run(&spec, argc, argv);
    bh_strings_free(&files);
    bh_free(lua_dir);
    return status;
}

int bh_app_token(const struct bh_config *config, const char *user, const char *tenant,
                 uint64_t ttl_s) {
    const char *why;
    if (!*config->jwt_secret) {
        fprintf(stderr, "bellhop: token: no auth.jwt.secret is configured; set "
                        "BELLHOP_AUTH_JWT_SECRET or pass -c FILE\n");
        return 1;
    }
    if (bh_id_check(BH_ID_USER, bh_slice_cstr(user), &why) ||
        (tenant && bh_id_check(BH_ID_TENANT, bh_slice_cstr(tenant), &why))) {
        fprintf(stderr, "bellhop: token: %s\n", why);
        return 2;
    }
    struct bh_bytes claims = {0}, token = {0};
    int64_t now = bh_clock_wall_ms() / 1000;
    bh_bytes_adds(&claims, "{");
    bh_json_quote(&claims, bh_slice_cstr(config->user_claim));
    bh_bytes_addc(&claims, ':');
    bh_json_quote(&claims, bh_slice_cstr(user));
    if (tenant) {
        bh_bytes_adds(&claims, ",");
        bh_json_quote(&claims, bh_slice_cstr(config->tenant_claim));
        bh_bytes_addc(&claims, ':');
        bh_json_quote(&claims, bh_slice_cstr(tenant));
    }
    static const char *const standard[] = {"iss", "aud"};
    const char *values[] = {config->jwt_issuer, config->jwt_audience};
    for (int i = 0; i < 2; i++) {
        if (!*values[i])
            continue;
        bh_bytes_addf(&claims, ",\"%s\":", standard[i]);
        bh_json_quote(&claims, bh_slice_cstr(values[i]));
    }
    bh_bytes_addf(&claims, ",\"iat\":%lld,\"exp\":%lld}", (long long)now,
                  (long long)now + (long long)ttl_s);
    struct bh_jwt_key *key = bh_jwt_key_secret(bh_slice_cstr(config->jwt_secret));
    unsigned alg = bh_config_jwt_algorithms(config) & (BH_JWT_HS256 | BH_JWT_HS384 | BH_JWT_HS512);
    alg = alg ? alg & -alg : BH_JWT_HS256;
    int error = bh_jwt_sign(alg, key, bh_bytes_slice(&claims), &token);
    if (error)
        fprintf(stderr, "bellhop: token: %s\n", bh_strerror(error));
    else
        printf("%.*s\n", BH_SLICE_ARG(bh_bytes_slice(&token)));
    bh_jwt_key_free(key);
    bh_bytes_free(&claims);
    bh_bytes_free(&token);
    return error ? 1 : 0;
}
