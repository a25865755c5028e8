-- The results as a picture: a bar chart for each scenario, with whiskers from the minimum to the maximum
-- of the runs, for light and dark backgrounds.
local report = require "report"
local verdict = require "verdict"

local svg = {}

local WIDTH = 860
local LEFT, RIGHT = 130, 690 -- of the bars
local ROW, BAR = 24, 14
local TITLE, AXIS, GAP = 46, 8, 26

local STYLE = [[
  svg { color-scheme: light dark; }
  .page { fill: #ffffff; }
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 15px; font-weight: 600; }
  .quiet { fill: #656d76; }
  .name { text-anchor: end; }
  .bar { fill: #8c959f; }
  .ours { fill: #0969da; }
  .whisker { stroke: #1f2328; stroke-width: 1.5; }
  .goal { stroke: #bc4c00; stroke-width: 2; stroke-dasharray: 3 2; }
  .axis { stroke: #d0d7de; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; }
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .bar { fill: #656c76; }
    .ours { fill: #4493f8; }
    .whisker { stroke: #e6edf3; }
    .goal { stroke: #f0883e; }
    .axis { stroke: #3d444d; }
  }
]]

local entities = {["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;"}

function svg.escape(text) return (text:gsub('[&<>"]', entities)) end

local function line(class, x1, y1, x2, y2)
    return ('<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>'):format(class, x1, y1, x2, y2)
end

local function text(class, x, y, what)
    return ('<text class="%s" x="%.1f" y="%.1f">%s</text>'):format(class, x, y, svg.escape(what))
end

-- The largest value to draw, of whiskers and goals.
local function extent(key, peers, goals)
    local most = 0
    for _, peer in pairs(peers) do
        local summary = peer.summary[key]
        if summary then most = math.max(most, summary.max) end
    end
    for _, goal in pairs(goals) do most = math.max(most, goal) end
    return most > 0 and most or 1
end

-- The goals for the drawn metric, by peer.
local function goals_of(scenario, peers)
    local limits = {}
    for _, goal in ipairs(scenario.goals) do
        if goal.metric == scenario.metrics[1].key then
            limits[goal.of] = verdict.goal(scenario, peers, goal).limit
        end
    end
    return limits
end

local function draw_row(out, y, name, peer, key, x_of, goal)
    local middle = y + ROW / 2
    out[#out + 1] = text("name", LEFT - 10, middle + 4.5, name)
    local summary = peer.summary[key]
    if not summary then
        out[#out + 1] = text("quiet", LEFT + 6, middle + 4.5, peer.rejection or "no figure")
        return
    end
    out[#out + 1] = ('<rect class="bar%s" x="%d" y="%.1f" width="%.1f" height="%d" rx="2"/>'):format(
        name:match "^bellhop" and " ours" or "", LEFT, middle - BAR / 2, math.max(x_of(summary.median) - LEFT, 1), BAR)
    if summary.max > summary.min then
        local from, to = x_of(summary.min), x_of(summary.max)
        out[#out + 1] = line("whisker", from, middle, to, middle)
        out[#out + 1] = line("whisker", from, middle - 4, from, middle + 4)
        out[#out + 1] = line("whisker", to, middle - 4, to, middle + 4)
    end
    if goal then out[#out + 1] = line("goal", x_of(goal), y + 1, x_of(goal), y + ROW - 1) end
    out[#out + 1] = text("", RIGHT + 12, middle + 4.5, report.number(summary.median))
end

-- Returns the y of the next panel.
local function draw_panel(out, y, panel)
    local scenario, peers = panel.scenario, panel.peers
    local metric, goals = scenario.metrics[1], goals_of(panel.scenario, panel.peers)
    local scale = (RIGHT - LEFT) / extent(metric.key, peers, goals)
    local function x_of(value) return LEFT + value * scale end
    out[#out + 1] = text("title", 16, y + 16, panel.title)
    out[#out + 1] = text("quiet", 16, y + 35, ("%s, %s is better"):format(metric.label, metric.better))
    local top = y + TITLE
    local bottom = top
    for _, name in ipairs(panel.order) do
        if peers[name] then
            draw_row(out, bottom, name, peers[name], metric.key, x_of, goals[name])
            bottom = bottom + ROW
        end
    end
    out[#out + 1] = line("axis", LEFT, top - 2, LEFT, bottom + 2)
    return bottom + AXIS + GAP
end

-- panels: {scenario, title, order (names of peers), peers (verdict.summarize)}; caption: lines.
function svg.draw(panels, caption)
    local body, y = {}, 14
    for _, panel in ipairs(panels) do y = draw_panel(body, y, panel) end
    local legend = {"bars: median of the runs; whiskers: minimum and maximum; dashed: goal", table.unpack(caption)}
    for _, words in ipairs(legend) do
        body[#body + 1] = text("quiet", 16, y, words)
        y = y + 18
    end
    return table.concat({
        ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">'):format(
            WIDTH, y, WIDTH, y),
        "<title>bellhop and its peers</title>",
        "<style>\n" .. STYLE .. "</style>",
        ('<rect class="page" width="%d" height="%d"/>'):format(WIDTH, y),
        table.concat(body, "\n"),
        "</svg>\n",
    }, "\n")
end

return svg
