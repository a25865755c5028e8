-- Generates docs/lua/*.md, one page for each module, from the annotations in lua/bellhop/meta.lua and
-- lua/bellhop/test/meta.lua.
--
--     lua5.4 docs/generate.lua [ROOT]            writes the pages
--     lua5.4 docs/generate.lua --check [ROOT]    fails when a page is out of date
--
-- docs/lua/README.md is written by hand. --check also requires that it links every page, and that all links of the
-- documents are valid.
package.path = arg[0]:match("^(.-)[^/]*$") .. "?.lua;" .. package.path
local annotations = require "annotations"

local check = arg[1] == "--check"
local root = arg[check and 2 or 1] or "."
local FOLDER, INDEX = "docs/lua/", "README.md"

local pages = annotations.read(root)
local index = annotations.index(pages)

-- --- names and types ---

local function short(name) return (name:gsub("bellhop%.test%.", ""):gsub("bellhop%.", "")) end

-- In the format of GitHub.
local function anchor(heading)
    return "#" .. heading:lower():gsub("[^%w _%-]", ""):gsub(" ", "-")
end

local function is_hook_table(class)
    return class.fields[1] and annotations.signature(class.fields[1].type:gsub("%?$", "")) ~= nil
end

local function has_heading(class) return not class.variable and not is_hook_table(class) end

local function link(name)
    local item = index.class[name] or index.alias[name]
    local page = item and item.page
    if not page or not page.file then return "`" .. short(name) .. "`" end
    local target = page.file
    if item.kind == "class" and has_heading(item) then target = target .. anchor(short(name)) end
    return ("[%s](%s)"):format(short(name), target)
end

-- Aliases are expanded, except function types, which have their own text.
local function expand(type)
    return (type:gsub("bellhop%.[%w_%.]+", function(name)
        local alias = index.alias[name]
        if alias and not annotations.signature(alias.type) then return expand(alias.type) end
    end))
end

local function type_text(type)
    local parts = {}
    for _, part in ipairs(annotations.split(expand(type), "|")) do
        local optional = part:sub(-1) == "?" and not annotations.signature(part) -- else it is that of the last result
        if optional then part = part:sub(1, -2) end
        local inner = part:match "^(.*)%[%]$"
        if annotations.signature(part) then
            parts[#parts + 1] = "function"
        elseif part:match "^bellhop%.[%w_%.]+$" then
            parts[#parts + 1] = link(part)
        elseif inner and inner:match "^bellhop%.[%w_%.]+$" then
            parts[#parts + 1] = "list of " .. link(inner)
        elseif part == "nil" or part == "any" then
            parts[#parts + 1] = part == "nil" and "nil" or "any value"
        else
            parts[#parts + 1] = "`" .. short(part) .. "`"
        end
        if optional then parts[#parts + 1] = "nil" end
    end
    local seen, list = {}, {}
    for _, part in ipairs(parts) do
        if not seen[part] then list[#list + 1] = part end
        seen[part] = true
    end
    return table.concat(list, " or ")
end

-- --- writing ---

local function new_writer()
    local lines = {}
    local w = {}
    function w.paragraph(text)
        if not text then return end
        if #lines > 0 then lines[#lines + 1] = "" end
        lines[#lines + 1] = text
    end
    function w.text() return table.concat(lines, "\n") .. "\n" end
    return w
end

local function cell(text) return (text:gsub("\n", " "):gsub("|", "\\|")) end

local function fields_table(fields)
    local rows = { "| field | type | |", "|---|---|---|" }
    for _, field in ipairs(fields) do
        local type = type_text(field.type) .. (field.optional and " or nil" or "")
        local name = field.name:match "^%[" and "any name" or "`" .. field.name .. "`"
        rows[#rows + 1] = ("| %s | %s | %s |"):format(name, cell(type), cell(field.text or ""))
    end
    return table.concat(rows, "\n")
end

local function write_hook(w, field)
    local signature = annotations.signature(field.type)
    if not signature then
        w.paragraph("## " .. field.name)
        w.paragraph(field.text)
        return
    end
    local names, args = {}, {}
    for i, arg_ in ipairs(signature.args) do
        names[i] = arg_.name
        args[i] = ("`%s`: %s"):format(arg_.name, type_text(arg_.type))
    end
    w.paragraph(("## %s(%s)"):format(field.name, table.concat(names, ", ")))
    local about = signature.async and "*May wait.*" or "*Must not wait.*"
    if #args > 0 then about = about .. " " .. table.concat(args, "; ") .. "." end
    w.paragraph(about)
    w.paragraph(field.text)
end

local function write_class(w, class)
    if is_hook_table(class) then
        w.paragraph(class.text)
        for _, field in ipairs(class.fields) do write_hook(w, field) end
        return
    end
    local is_module = class.variable and class.variable:match "^bh"
    if not class.variable then
        w.paragraph("## " .. short(class.name))
    elseif not is_module and (#class.fields > 0 or class.text) then
        w.paragraph(("## Fields of `%s`"):format(class.variable))
    end
    w.paragraph(class.text)
    if #class.fields > 0 then w.paragraph(fields_table(class.fields)) end
end

local function about_argument(param)
    local name = param.name == "..." and "..." or param.name
    local text = ("- `%s`%s: %s"):format(name, param.optional and " (optional)" or "", type_text(param.type))
    return param.text and text .. "; " .. param.text or text
end

-- The second result of a function that may fail is described with the first.
local function about_result(result)
    if result.name == "why" and not result.text then return nil end
    local text = result.text and result.text:gsub("^or ", ", or ") or ""
    local type = result.type
    if text:find "nil" then type = type:gsub("%?$", "") end
    if text ~= "" and text:sub(1, 1) ~= "," then text = ": " .. text end
    local name = result.name and result.name ~= "value" and (" *%s*"):format(result.name) or ""
    return "- returns " .. type_text(type) .. name .. text
end

local function write_function(w, item)
    w.paragraph(("## %s(%s)"):format(item.name, item.args))
    if item.async then w.paragraph "*Waits.*" end
    w.paragraph(item.text)
    local lines = {}
    for _, param in ipairs(item.params) do lines[#lines + 1] = about_argument(param) end
    for _, result in ipairs(item.returns) do lines[#lines + 1] = about_result(result) end
    if #lines > 0 then w.paragraph(table.concat(lines, "\n")) end
end

local function write_page(page)
    local w = new_writer()
    w.paragraph("<!-- Generated from " .. page.source .. " by docs/generate.lua: edit that file, then run the generator. -->")
    w.paragraph("# " .. page.title)
    w.paragraph(page.intro)
    for _, item in ipairs(page.items) do
        if item.kind == "class" then
            write_class(w, item)
        elseif item.kind == "function" then
            write_function(w, item)
        elseif annotations.signature(item.type) then
            w.paragraph(item.text)
        end
    end
    return w.text()
end

-- --- files ---

local function read(path)
    local file = io.open(path)
    if not file then return nil end
    local text = file:read "a"
    file:close()
    return text
end

local problems = 0
local function report(...)
    problems = problems + 1
    print(...)
end

local function headings(text)
    local found = {}
    for heading in ("\n" .. text):gmatch "\n#+ ([^\n]+)" do found[anchor(heading)] = true end
    return found
end

local function check_links(folder, name, text)
    for target in text:gsub("`[^`\n]*`", ""):gmatch "%]%(([^)%s]+)%)" do
        local file, fragment = target:match "^([^#]*)(#?.*)$"
        if not target:match "^%a+:" then
            local there = file == "" and text or read(root .. "/" .. folder .. file)
            if not there then
                report(("%s%s: broken link to %s"):format(folder, name, file))
            elseif fragment ~= "" and not headings(there)[fragment] then
                report(("%s%s: broken link to %s, no such heading"):format(folder, name, target))
            end
        end
    end
end

local function check_page(name, text, guide)
    if read(root .. "/" .. FOLDER .. name) ~= text then
        report(("%s%s is out of date; run lua5.4 docs/generate.lua"):format(FOLDER, name))
    end
    if not guide:find("(" .. name, 1, true) then
        report(("%s%s does not link %s"):format(FOLDER, INDEX, name))
    end
    check_links(FOLDER, name, text)
end

local function check_unknown(known)
    for name in io.popen("ls '" .. root .. "/" .. FOLDER .. "'"):lines() do
        if name ~= INDEX and not known[name] then report(FOLDER .. name .. " has no page in the annotations") end
    end
end

local known, guide = {}, read(root .. "/" .. FOLDER .. INDEX) or ""
for _, page in ipairs(pages) do
    if page.file then
        local text = write_page(page)
        known[page.file] = true
        if check then
            check_page(page.file, text, guide)
        else
            local file = assert(io.open(root .. "/" .. FOLDER .. page.file, "w"))
            file:write(text)
            file:close()
        end
    end
end
if check then
    check_links(FOLDER, INDEX, guide)
    check_links("", INDEX, read(root .. "/" .. INDEX) or "")
    check_unknown(known)
end
os.exit(problems == 0)
