-- The results as tables and as CSV.
local verdict = require "verdict"

local report = {}

-- Three significant digits (four from 1000), with separators: 0.58, 12.3, 41,300.
function report.number(value)
    if not value then return "-" end
    if value ~= value or value == math.huge or value == -math.huge then return "-" end
    local size = math.abs(value)
    if size >= 1000 then
        local unit = 10 ^ (math.floor(math.log(size, 10)) - 3)
        local digits = ("%d"):format(math.floor(math.floor(value / unit + 0.5) * unit))
        local grouped = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse()
        return (grouped:gsub("^(%-?),", "%1"))
    end
    if size >= 100 then return ("%.0f"):format(value) end
    if size >= 10 then return ("%.1f"):format(value) end
    return ("%.2f"):format(value)
end

-- Rows of cells, the head first; the first column is aligned to the left, the others to the right. The
-- last cell of a row shorter than the head may be wider than its column.
function report.align(rows)
    local widths = {}
    for _, row in ipairs(rows) do
        for i, cell in ipairs(row) do
            if #row == #rows[1] or i < #row then widths[i] = math.max(widths[i] or 0, #cell) end
        end
    end
    local lines = {}
    for _, row in ipairs(rows) do
        local cells = {}
        for i, cell in ipairs(row) do
            local last = i == #row and #row < #rows[1]
            local pad = (" "):rep(math.max((widths[i] or 0) - #cell, 0))
            cells[i] = (last and cell) or (i == 1 and cell .. pad) or pad .. cell
        end
        lines[#lines + 1] = (table.concat(cells, "  "):gsub("%s+$", ""))
    end
    return lines
end

local function ratio(value, base) return value and base and base ~= 0 and ("%.2f"):format(value / base) or "-" end

local function spread(summary)
    if summary.min == summary.max then return report.number(summary.min) end
    return report.number(summary.min) .. ".." .. report.number(summary.max)
end

-- The peer that ratios refer to.
local function base_of(scenario) return scenario.base or "bellhop" end

local function head(scenario, reference)
    local row = {scenario.column or "peer"}
    for i, metric in ipairs(scenario.metrics) do
        row[#row + 1] = metric.label
        row[#row + 1] = "min..max"
        row[#row + 1] = scenario.base and "ratio" or "of bellhop"
        if i == 1 and reference then row[#row + 1] = "of " .. reference end
    end
    return row
end

local function row_of(scenario, peers, name, reference)
    local peer = peers[name]
    if peer.rejection then return {name, peer.rejection} end
    local row = {name}
    for i, metric in ipairs(scenario.metrics) do
        local key, summary = metric.key, peer.summary[metric.key]
        local median = summary and summary.median
        row[#row + 1] = report.number(median)
        row[#row + 1] = summary and spread(summary) or "-"
        row[#row + 1] = ratio(median, verdict.median(peers, base_of(scenario), key))
        if i == 1 and reference then row[#row + 1] = ratio(median, verdict.median(peers, reference, key)) end
    end
    return row
end

local function reference_of(scenario, peers)
    local reference = peers[scenario.reference]
    if scenario.base then return nil end
    return reference and not reference.rejection and scenario.reference or verdict.best_other(peers, scenario.metrics[1])
end

-- order: names of peers, or of steps for a scenario with a `base` of its own; peers: from
-- verdict.summarize; notes: lines.
function report.scenario(scenario, order, peers, notes)
    local reference = reference_of(scenario, peers)
    local rows = {head(scenario, reference)}
    for _, name in ipairs(order) do
        if peers[name] then rows[#rows + 1] = row_of(scenario, peers, name, reference) end
    end
    local lines = report.align(rows)
    for _, goal in ipairs(scenario.goals) do
        lines[#lines + 1] = "  goal: " .. verdict.goal(scenario, peers, goal).text
    end
    for _, note in ipairs(notes) do lines[#lines + 1] = "  note: " .. note end
    return lines
end

-- --- CSV ---

local function quoted(value)
    if math.type(value) == "float" and value == math.floor(value) and math.abs(value) < 2 ^ 53 then
        value = math.tointeger(value)
    end
    local text = value == nil and "" or tostring(value)
    if text:find '[,"\r\n]' then text = '"' .. text:gsub('"', '""') .. '"' end
    return text
end

-- One row for each run, with the keys of all runs, sorted. column: the name of the column run.peer.
function report.csv(runs, column)
    local seen, names = {}, {}
    for _, run in ipairs(runs) do
        for key in pairs(run.keys) do
            if not seen[key] then
                seen[key] = true
                names[#names + 1] = key
            end
        end
    end
    table.sort(names)
    local lines = {("scenario,%s,run,status,verdict,%s"):format(column, table.concat(names, ","))}
    for _, run in ipairs(runs) do
        local cells = {run.scenario, run.peer, run.number, run.status, run.rejection or "ok"}
        for i, name in ipairs(names) do cells[5 + i] = run.keys[name] == nil and "" or run.keys[name] end
        for i = 1, 5 + #names do cells[i] = quoted(cells[i]) end
        lines[#lines + 1] = table.concat(cells, ",")
    end
    return table.concat(lines, "\n") .. "\n"
end

return report
