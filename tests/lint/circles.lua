-- No circles: a .c file that uses a symbol of another depends on it, and a folder depends on the
-- folders whose symbols it uses and whose headers it includes. Following these arrows must never lead
-- back to the start, else none of the files in between can be understood, tested or moved alone.
-- Usage: lua5.4 circles.lua ROOT BUILD
package.path = arg[0]:match("^(.-)[^/]*$") .. "?.lua;" .. package.path
local files = require "files"
local symbols = require "symbols"
local root, build = arg[1], arg[2]

-- graph[from][to] = { reason, ... }; each reason once.
local function connect(graph, from, to, reason)
    if from == to then return end
    graph[from] = graph[from] or {}
    local reasons = graph[from][to] or {}
    graph[from][to] = reasons
    if not reasons[reason] then
        reasons[reason] = true
        reasons[#reasons + 1] = reason
    end
end

local function folder_of(path)
    return path:match("^(.*)/")
end

local function add_symbols(graph, folders)
    local owner, uses = {}, {}
    symbols.each(root, build, function(source, symbol, kind)
        if kind == "U" then
            uses[#uses + 1] = { source, symbol }
        elseif kind ~= "w" then
            owner[symbol] = source
        end
    end)
    for _, use in ipairs(uses) do
        local user, symbol = use[1], use[2]
        if owner[symbol] then
            connect(graph, user, owner[symbol], symbol)
            connect(folders, folder_of(user), folder_of(owner[symbol]), symbol)
        end
    end
end

-- A private header is included by its path below the layer's folder, or stands beside the file.
local function find_header(path, header)
    if header:find("^bellhop/") then return "include/" .. header end
    local layer = path:match("^src/backend/%w+/") or path:match("^src/%w+/") or ""
    for _, folder in ipairs { folder_of(path) .. "/", layer, "src/script/" } do
        if files.exists(root .. "/" .. folder .. header) then return folder .. header end
    end
    return nil
end

local function add_includes(folders)
    for _, path in ipairs(files.list(root)) do
        if path:find("%.[ch]$") and (path:find("^src/") or path:find("^include/")) then
            files.each_line(root .. "/" .. path, function(line)
                local header = line:match('^%s*#%s*include%s*"([^"]+)"')
                local found = header and find_header(path, header)
                if found then
                    connect(folders, folder_of(path), folder_of(found), "#include " .. header)
                end
            end)
        end
    end
end

local function reachable(graph, start)
    local seen, queue = {}, { start }
    while #queue > 0 do
        for to in pairs(graph[table.remove(queue)] or {}) do
            if not seen[to] then
                seen[to] = true
                queue[#queue + 1] = to
            end
        end
    end
    return seen
end

-- The sets of nodes that all reach each other, as sorted lists.
local function find_circles(graph)
    local reach, done, circles = {}, {}, {}
    local nodes = {}
    for node in pairs(graph) do nodes[#nodes + 1] = node end
    table.sort(nodes)
    for _, node in ipairs(nodes) do reach[node] = reachable(graph, node) end
    for _, node in ipairs(nodes) do
        if reach[node][node] and not done[node] then
            local circle = {}
            for _, other in ipairs(nodes) do
                if reach[node][other] and reach[other][node] then
                    circle[#circle + 1] = other
                    done[other] = true
                end
            end
            circles[#circles + 1] = circle
        end
    end
    return circles
end

local function print_circle(graph, circle, what)
    print(("a circle of %d %s:"):format(#circle, what))
    for _, from in ipairs(circle) do
        for _, to in ipairs(circle) do
            local reasons = graph[from][to]
            if reasons then
                local some = table.concat(reasons, ", ", 1, math.min(#reasons, 4))
                print(("  %s -> %s: %s"):format(from, to, some))
            end
        end
    end
end

local graph, folders = {}, {}
add_symbols(graph, folders)
add_includes(folders)
local failures = 0
local function check(arrows, what)
    for _, circle in ipairs(find_circles(arrows)) do
        print_circle(arrows, circle, what)
        failures = failures + 1
    end
end
check(graph, "files")
check(folders, "folders")
os.exit(failures == 0)
