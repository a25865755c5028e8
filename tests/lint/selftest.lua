-- Proof that the lints can fail: each case below is put into a tree of its own, and the lint must
-- refuse it with that word, or let it pass. Usage: lua5.4 selftest.lua
local here = arg[0]:match("^(.-)[^/]*$")

-- lint, file, content, a word of the complaint (nil: it must pass), another file or a table of others
local cases = {
    { "includes", "src/base/a.c", '#include "bellhop/base/mem.h"\n#include <string.h>\n#include <sys/socket.h>' },
    { "includes", "src/base/a.c", '#include "bellhop/io/loop.h"', "base may not include io" },
    { "includes", "src/io/a.c", '#include "bellhop/proto/http1.h"', "io may not include proto" },
    { "includes", "src/proto/a.c", ' #  include "bellhop/io/loop.h"', "proto may not include io" },
    { "includes", "src/core/a.c", '#include "bellhop/proto/http1.h"', "core may not include proto" },
    { "includes", "src/script/a.c", '#include "bellhop/edge/edge.h"', "script may not include edge" },
    { "includes", "src/backend/redis/a.c", '#include "bellhop/script/script.h"', "backend may not" },
    { "includes", "src/edge/a.c", '#include "bellhop/backend/redis.h"', "edge may not include backend" },
    { "includes", "src/app/a.c", '#include "bellhop/edge/edge.h"\n#include "bellhop/script/script.h"' },
    { "includes", "include/bellhop/core/a.h", '#include "bellhop/edge/edge.h"', "core may not include edge" },
    { "includes", "include/bellhop/core/a.h", '#include "hub_internal.h"', "public header" },
    { "includes", "src/attic/a.c", "#include <stdio.h>", "does not know" },
    { "includes", "src/core/a.c", "#include <event2/event.h>", "does not belong" },
    { "includes", "src/edge/a.c", "#include <openssl/evp.h>", "does not belong" },
    { "includes", "src/base/a.c", "#include <openssl/ssl.h>", "does not belong" },
    { "includes", "src/base/a.c", "#include <openssl/evp.h>" },
    { "includes", "src/io/tls.c", "#include <openssl/ssl.h>" },
    { "includes", "src/base/b.c", "#include <cjson/cJSON.h>", "does not belong" },
    { "includes", "src/base/json.c", "#include <cjson/cJSON.h>" },
    { "includes", "src/backend/memory/a.c", "#include <hiredis/hiredis.h>", "does not belong" },
    { "includes", "src/backend/redis/a.c", "#include <hiredis/hiredis.h>" },
    { "includes", "src/core/a.c", "#include <lua.h>", "does not belong" },
    { "includes", "src/io/a.c", "#include <zlib.h>", "does not belong" },
    { "includes", "src/io/a.c", "#include <cmocka.h>", "does not belong" },
    { "includes", "src/io/a.c", "#include <curl/curl.h>", "does not belong" },
    { "includes", "src/io/a.c", "#include <tiny/tiny.h>", "without a room" },
    { "includes", "src/backend/http/a.c", "#include <curl/curl.h>" },
    { "includes", "tests/unit/http/test_a.c", '#include "bellhop/backend/http.h"' },
    { "includes", "src/io/a.c", "#include HEADER", "cannot be read" },
    { "includes", "src/io/a.c", '#include "other.h"', "private header of src/base", "src/base/other.h" },
    { "includes", "src/io/a.c", '#include "../base/other.h"', "path to a private", "src/base/other.h" },
    { "includes", "src/io/a.c", '#include "own.h"', nil, "src/io/own.h" },
    { "includes", "tests/unit/io/test_a.c", '#include <cmocka.h>\n#include "own.h"', nil, "src/io/own.h" },
    { "includes", "tests/unit/io/test_a.c", '#include "own.h"', "private header of src/core", "src/core/own.h" },
    { "includes", "src/backend/redis/link/a.c", '#include "link/b.h"', nil, "src/backend/redis/link/b.h" },
    { "includes", "src/backend/redis/tracker/a.c", '#include "link/b.h"', nil, "src/backend/redis/link/b.h" },
    { "includes", "src/backend/redis/link/a.c", '#include "tracker/b.h"', "link may not include tracker",
        "src/backend/redis/tracker/b.h" },
    { "includes", "src/backend/redis/link/a.c", '#include "b.h"', "the layer's roof", "src/backend/redis/b.h" },
    { "includes", "src/backend/redis/a.c", '#include "link/b.h"', nil, "src/backend/redis/link/b.h" },
    { "includes", "src/backend/redis/attic/a.c", '#include "link/b.h"', "does not know",
        "src/backend/redis/link/b.h" },
    { "includes", "src/script/a.c", '#include "hooks/b.h"', nil, "src/script/hooks/b.h" },
    { "includes", "src/script/hooks/a.c", '#include "bind/b.h"', nil, "src/script/bind/b.h" },
    { "includes", "src/script/bind/a.c", '#include "hooks/b.h"', "bind may not include hooks", "src/script/hooks/b.h" },
    { "includes", "src/script/run/a.c", '#include "bind/b.h"', "run may not include bind", "src/script/bind/b.h" },
    { "includes", "src/script/sandbox/a.c", '#include "run/b.h"', "sandbox may not include run",
        "src/script/run/b.h" },
    { "includes", "src/script/lua/a.c", '#include "run/b.h"', "lua may not include run", "src/script/run/b.h" },
    { "includes", "src/script/run/a.c", '#include "b.h"', "the layer's roof", "src/script/b.h" },
    { "includes", "src/edge/api/a.c", '#include "http/b.h"', nil, "src/edge/http/b.h" },
    { "includes", "src/edge/http/a.c", '#include "ws/b.h"', "http may not include ws", "src/edge/ws/b.h" },
    { "includes", "src/edge/ws/a.c", '#include "api/b.h"', "ws may not include api", "src/edge/api/b.h" },
    { "includes", "src/spec/a.c", '#include "run/b.h"', nil, "src/script/run/b.h" },
    { "includes", "src/script/run/a.c", '#include "bellhop/spec/b.h"', "script may not include spec" },
    { "includes", "tests/unit/memory/test_a.c", '#include "bellhop/core/broker.h"' },
    { "circles", "src/base/a.c", "int a(void); int b(void); int a(void) { return b(); }", "src/base/b.c: b",
        { ["src/base/b.c"] = "int a(void); int b(void); int b(void) { return a(); }" } },
    { "circles", "src/base/a.c", "int b(void); int a(void); int a(void) { return b(); }", nil,
        { ["src/base/b.c"] = "int b(void); int b(void) { return 0; }" } },
    { "circles", "src/base/a.c", "extern int c; int a(void); int a(void) { return c; }", "circle of 3 files",
        { ["src/base/b.c"] = "int a(void); int b(void); int b(void) { return a(); }",
            ["src/io/c.c"] = "int b(void); int c; int d(void); int d(void) { return b(); }" } },
    { "circles", "src/base/a.c", "static int b(void) { return 0; } int a(void); int a(void) { return b(); }", nil,
        { ["src/base/b.c"] = "int a(void); int b(void); int b(void) { return a(); }" } },
    { "circles", "src/base/x/a.c", "int b(void); int a(void); int a(void) { return b(); }", "src/base/y: b",
        { ["src/base/y/b.c"] = "int b(void); int b(void) { return 0; }",
            ["src/base/y/c.c"] = "int a(void); int c(void); int c(void) { return a(); }" } },
    { "circles", "src/base/x/a.c", '#include "y/b.h"\nint a(void) { return 0; }', "#include y/b.h",
        { ["src/base/y/b.h"] = "int a(void);", ["src/base/y/c.c"] = "int a(void); int c = sizeof(a());",
            ["src/base/y/d.c"] = "int a(void); int d(void); int d(void) { return a(); }" } },
    { "circles", "src/base/x/a.c", '#include "y/b.h"\nint a(void) { return 0; }', nil,
        { ["src/base/y/b.h"] = "int a(void);" } },
    { "circles", "src/base/a.c", '#include "y/b.h"\nint a;', "#include z.h",
        { ["src/base/y/b.h"] = '#include "z.h"', ["src/base/z.h"] = "extern int z;" } },
    { "circles", "include/bellhop/base/a.h", '#include "bellhop/io/b.h"', "circle of 2 folders",
        { ["include/bellhop/io/b.h"] = '#include "bellhop/base/c.h"', ["src/base/a.c"] = "int a;" } },
    { "names", "src/base/a.c", "int bh_a(void); int bh_a(void) { return 0; } static int b; int *bh_b = &b;" },
    { "names", "src/base/a.c", "int a(void); int a(void) { return 0; }", "begin it with bh_" },
    { "names", "src/app/a.c", "int main(void) { return 0; }" },
    { "words", "src/base/a.c", "/* Whoever asks. */", "say it plainly" },
    { "words", "src/base/a.c", '"to whom"', "say it plainly" },
    { "words", "src/base/a.c", "/* who came of  late */", "say it plainly" },
    { "words", "src/base/a.c", "/* henceforth, a renewal, of latency */" },
    { "words", "src/base/a.c", ("int a;\n"):rep(600) },
    { "words", "src/base/a.c", ("int a;\n"):rep(601), "more than 600 lines" },
    { "words", "include/bellhop/base/a.h", ("int a;\n"):rep(601), "more than 600 lines" },
    { "format", "src/a.c", "int a;" },
    { "format", "src/a.c", "int  a;", "code should be clang-formatted" },
    { "text", "src/a.c", "int a; /* TO" .. "DO later */", "without a reason" },
    { "text", "src/a.c", "int a; /* TO" .. "DO(waits for the next protocol) */" },
    { "text", "src/a.c", "int auto_todos;" },
    { "text", "README.md", "see /ho" .. "me/someone/notes", "path of one machine" },
    { "text", "a.sh", "/ro" .. "ot/x", "path of one machine" },
    { "text", "README.md", "see https://example.org/ho" .. "me/x" },
    { "text", "src/a.c", "<<<<<<" .. "< ours", "merge" },
    { "text", "src/a.c", "int a; ", "blank" },
    { "text", "src/a.c", "\tint a;", "tab" },
    { "text", "tests/corpus/request.http", "Host: x \r" },
}

local function run(command)
    local pipe = assert(io.popen(command .. " 2>&1"))
    local output = pipe:read("a")
    return pipe:close() == true, output
end

local function write(path, content)
    assert(run("mkdir -p '" .. path:match("^(.*)/") .. "'"))
    local file = assert(io.open(path, "w"))
    file:write(content, "\n")
    file:close()
end

-- The objects of a tree, where a build has them.
local function compile(root)
    local command = [[cd '%s/src' && find . -name '*.c' | sed 's|^%%./||' | while read -r source; do
        object=../build/src/CMakeFiles/x.dir/$source.o
        mkdir -p "${object%%/*}" && cc -I../include -Ibase -c -o "$object" "$source" || exit 1
    done]]
    local ok, output = run(command:format(root))
    assert(ok, output)
end

local function write_tree(root, path, content, others)
    write(root .. "/src/keep", "")
    write(root .. "/" .. path, content)
    if type(others) == "string" then others = { [others] = "" } end
    for other, text in pairs(others or {}) do write(root .. "/" .. other, text) end
end

local function is_wanted(case, ok, output)
    local lint, path, _, complaint = table.unpack(case)
    if output:find("^skipped") then return true end
    if not complaint then return ok end
    local names_file = output:find(path, 1, true) or lint == "circles"
    return not ok and names_file and output:find(complaint, 1, true)
end

local _, base = run("mktemp -d")
base = base:gsub("%s+$", "")
local failures = 0
for number, case in ipairs(cases) do
    local lint, path, content, complaint, others = table.unpack(case, 1, 5)
    local root = base .. "/" .. number
    write_tree(root, path, content, others)
    if lint == "circles" or lint == "names" then compile(root) end
    local ok, output = run(("lua5.4 '%s%s.lua' '%s' '%s/build'"):format(here, lint, root, root))
    if not is_wanted(case, ok, output) then
        failures = failures + 1
        print(("case %d: %s in %s\n  %s\n  wanted: %s\n  got: %s"):format(
            number, lint, path, content, complaint or "nothing", output))
    end
end
run("rm -rf '" .. base .. "'")
print(("%d cases, %d failures"):format(#cases, failures))
os.exit(failures == 0)
