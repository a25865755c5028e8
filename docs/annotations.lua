-- Parses LuaLS annotations into pages, for docs/generate.lua and tests/spec/docs_spec.lua.
--
-- A page is { file, title, source, intro, items }. Items are classes { kind = "class", name, text, fields },
-- functions { kind = "function", name, method, text, params, returns, async } and aliases
-- { kind = "alias", name, type, text }, in the order of the file. Texts are Markdown; types are not parsed.
-- Only the annotations that meta.lua uses are supported; others are errors.
local annotations = {}

local openers = { ["("] = ")", ["["] = "]", ["{"] = "}", ["<"] = ">" }

-- A type ends at the first space outside of brackets; the results of a function type are part of it. Returns the type and
-- the rest of the text.
local function split_type(text)
    local depth, i = 0, 1
    text = text:gsub("^%s+", "")
    while i <= #text do
        local c = text:sub(i, i)
        if c == '"' then
            i = text:find('"', i + 1, true) or #text
        elseif openers[c] then
            depth = depth + 1
        elseif c == ")" or c == "]" or c == "}" or c == ">" then
            depth = depth - 1
        elseif depth == 0 and c == ":" then
            i = text:find("%S", i + 1) or #text -- the results of a function: the rest
            local rest = text:sub(i)
            return text:sub(1, i - 1) .. rest, ""
        elseif depth == 0 and c == " " and text:sub(1, i - 1) ~= "async" then
            break
        end
        i = i + 1
    end
    return text:sub(1, i - 1), (text:sub(i):gsub("^%s+", ""))
end
annotations.split_type = split_type

-- Splits at `separator`, outside of brackets and quotes.
function annotations.split(text, separator)
    local parts, depth, start, quoted = {}, 0, 1, false
    for i = 1, #text do
        local c = text:sub(i, i)
        if c == '"' then quoted = not quoted end
        if not quoted and openers[c] then depth = depth + 1 end
        if not quoted and (c == ")" or c == "]" or c == "}" or c == ">") then depth = depth - 1 end
        if not quoted and depth == 0 and c == separator then
            parts[#parts + 1] = text:sub(start, i - 1)
            start = i + 1
        end
    end
    parts[#parts + 1] = text:sub(start)
    for i, part in ipairs(parts) do parts[i] = part:match "^%s*(.-)%s*$" end
    return parts
end

-- Arguments and results of a type such as `async fun(a: x, b?: y): z, w?`; nil for other types.
function annotations.signature(type)
    local async, rest = type:match "^(async )fun(%b().*)$"
    if not rest then rest = type:match "^fun(%b().*)$" end
    if not rest then return nil end
    local inside, after = rest:match "^(%b())(.*)$"
    local args, results = {}, {}
    inside = inside:sub(2, -2)
    if inside ~= "" then
        for _, arg in ipairs(annotations.split(inside, ",")) do
            local name, kind = arg:match "^([%w_%.]+%??):%s*(.+)$"
            args[#args + 1] = { name = name or arg, type = kind or "any" }
        end
    end
    after = after:match "^:%s*(.+)$"
    if after then results = annotations.split(after, ",") end
    return { async = async ~= nil, args = args, results = results }
end

-- --- blocks ---

local function join(lines)
    local text = table.concat(lines, "\n"):gsub("^\n+", ""):gsub("%s+$", "")
    return text ~= "" and text or nil
end

local tags = {}

function tags.class(block, rest)
    block.class = { kind = "class", name = rest:match "^[%w_%.]+", fields = {}, text = join(block.lines) }
    block.lines = {}
end

function tags.field(block, rest)
    local name, after = rest:match "^(%[[%w_]+%])%s+(.*)$"
    if not name then name, after = rest:match "^([%w_]+%??)%s+(.*)$" end
    local type, text = split_type(after)
    local optional = name:sub(-1) == "?"
    block.class.fields[#block.class.fields + 1] = {
        name = optional and name:sub(1, -2) or name,
        optional = optional,
        type = type,
        text = text ~= "" and text or join(block.lines),
    }
    block.lines = {}
end

function tags.param(block, rest)
    local name, after = rest:match "^([%w_%.]+%??)%s+(.*)$"
    local type, text = split_type(after)
    local optional = name:sub(-1) == "?"
    table.insert(block.params, {
        name = optional and name:sub(1, -2) or name,
        optional = optional,
        type = type,
        text = text ~= "" and text or nil,
    })
end

tags["return"] = function(block, rest)
    local type, after = split_type(rest)
    local name, text = after:match "^([%w_]+)%s*(.*)$"
    table.insert(block.returns, { type = type, name = name, text = text ~= "" and text or nil })
end

function tags.alias(block, rest)
    local name, after = rest:match "^([%w_%.]+)%s+(.*)$"
    local type, text = split_type(after)
    table.insert(block.aliases, { kind = "alias", name = name, type = type, text = join(block.lines) or text })
    block.lines = {}
end

function tags.async(block) block.async = true end
function tags.generic() end
function tags.meta() end

local function new_block(line) return { lines = {}, params = {}, returns = {}, aliases = {}, line = line } end

local function read_line(block, line, number)
    local tag, rest = line:match "^%-%-%-@(%a+)%s*(.*)$"
    if not tag then
        block.lines[#block.lines + 1] = line:match "^%-%-%-(.*)$"
    elseif tags[tag] then
        tags[tag](block, rest)
    else
        error(("line %d: @%s is not supported"):format(number, tag))
    end
end

-- `line` is the statement after the block, if any.
local function close(block, line, page)
    local items = page and page.items or {}
    if block.class then
        block.class.variable = line:match "^local ([%w_]+) = {}" or line:match "^([%w_%.]+) = {}"
        items[#items + 1] = block.class
    end
    for _, alias in ipairs(block.aliases) do items[#items + 1] = alias end
    local name, args = line:match "^function ([%w_%.:]+)%((.-)%)"
    if name then
        local holder, sign, own = name:match "^(.-)([.:])([%w_]+)$"
        items[#items + 1] = {
            kind = "function",
            name = name,
            holder = holder,
            own = own,
            method = sign == ":",
            args = args,
            text = join(block.lines),
            params = block.params,
            returns = block.returns,
            async = block.async,
            line = block.line,
        }
    end
end

-- The pages of a file. The first one has no name; it has the items before the first page header.
local function read_file(root, source)
    local pages = { { items = {} } }
    local block, header
    local number = 0
    for line in io.lines(root .. "/" .. source) do
        number = number + 1
        local file, title = line:match "^%-%- # ([%w_%-]+%.md): (.+)$"
        if file then
            header = { file = file, title = title, source = source, items = {}, lines = {} }
            pages[#pages + 1] = header
        elseif header and line:match "^%-%-" and not line:match "^%-%-%-" then
            header.lines[#header.lines + 1] = line:match "^%-%- ?(.*)$"
        else
            if header then
                header.intro = join(header.lines)
                header = nil
            end
            if line:match "^%-%-%-" then
                block = block or new_block(number)
                read_line(block, line, number)
            elseif block or line:match "^function " then
                close(block or new_block(number), line, pages[#pages])
                block = nil
            end
        end
    end
    return pages
end

-- The API of scripts, and the API of specs.
annotations.SOURCES = { "lua/bellhop/meta.lua", "lua/bellhop/test/meta.lua" }

-- The pages of all sources.
function annotations.read(root)
    local pages = {}
    for _, source in ipairs(annotations.SOURCES) do
        for _, page in ipairs(read_file(root, source)) do pages[#pages + 1] = page end
    end
    return pages
end

-- All items by kind and name: index.class[name], index["function"][name], index.alias[name].
function annotations.index(pages)
    local index = { class = {}, ["function"] = {}, alias = {} }
    for _, page in ipairs(pages) do
        for _, item in ipairs(page.items) do
            local place = index[item.kind]
            if place[item.name] then error(item.name .. " is defined twice") end
            place[item.name] = item
            item.page = page
        end
    end
    return index
end

return annotations
