-- tenants.lua - how many connections of each tenant a registration has.
--
-- HEAD     write.lua
-- KEYS     instances, tenants:<name>, then tenant:<tenant> for each tenant
-- ARGV     name, mode, then two for each tenant: tenant, connections
-- Returns  status LOST, or { tenants skipped because their key holds another type }
local written = KEYS[2]
local KEYS_BEFORE, ARGV_BEFORE = 2, 2

for i = 1, #KEYS - KEYS_BEFORE do
    local counts, at = KEYS[KEYS_BEFORE + i], ARGV_BEFORE + (i - 1) * 2
    local tenant, connections = ARGV[at + 1], ARGV[at + 2]
    if connections == "0" then
        is_skipped("HDEL", counts, name)
        redis.call("SREM", written, tenant)
    else
        redis.call("SADD", written, tenant)
        is_skipped("HSET", counts, name, connections)
    end
end
return { skipped }
