std = "lua54"
max_line_length = 130
exclude_files = { "build", "build-*" }
files["tests/**/*_spec.lua"] = { std = "lua54+busted" }
-- Declarations: nothing in it is used.
files["lua/bellhop/**/meta.lua"] = { ignore = { "2..", "631" } }
files["examples/**/*_spec.lua"] = { std = "lua54+busted" }
-- Run by Redis, which speaks Lua 5.1.
files["lua/redis/*.lua"] = { std = "lua51", read_globals = { "redis", "cjson", "cmsgpack", "struct", "KEYS", "ARGV" } }
