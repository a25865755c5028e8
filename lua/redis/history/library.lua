-- library.lua - the end of the library for FUNCTION LOAD (Redis 7 and later), which registers its functions.
--
-- HEAD     base.lua look.lua write.lua append.lua publish.lua begin.lua read.lua page.lua remove.lua check.lua
--
-- A change that older callers cannot follow gets a new name; every other one raises VERSION (base.lua).
local function version()
    return VERSION
end

redis.register_function("bellhop_append", append)
redis.register_function("bellhop_publish", publish_plain)
redis.register_function("bellhop_begin", begin)
redis.register_function { function_name = "bellhop_read", callback = read, flags = { "no-writes" } }
redis.register_function { function_name = "bellhop_page", callback = page, flags = { "no-writes" } }
redis.register_function { function_name = "bellhop_remove", callback = remove, flags = { "allow-oom" } }
redis.register_function { function_name = "bellhop_check", callback = check, flags = { "no-writes" } }
redis.register_function { function_name = "bellhop_version", callback = version, flags = { "no-writes" } }
