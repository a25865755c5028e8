std = "lua54"
max_line_length = 130
exclude_files = { "build", "build-*" }
files["tests/**/*_spec.lua"] = { std = "lua54+busted" }
-- Declarations: nothing in it is used.
files["lua/bellhop/**/meta.lua"] = { ignore = { "2..", "631" } }
files["examples/**/*_spec.lua"] = { std = "lua54+busted" }
-- Run by Redis, which speaks Lua 5.1. The build puts the head before the script (src/backend/redis/embed.cmake).
local redis = { "redis", "cjson", "cmsgpack", "struct", "KEYS", "ARGV", "name", "now", "is_skipped", "skipped" }
files["lua/redis/**/*.lua"] = { std = "lua51", read_globals = redis }
files["lua/redis/head/*.lua"] = { ignore = { "211" } }
-- Its files make one text, which tests/integration/history_redis_spec.lua checks as a whole.
files["lua/redis/history/**/*.lua"] = { ignore = { "1..", "211", "231", "331" } }
