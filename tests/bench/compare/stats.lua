-- Statistics of several runs. Lists are not changed.
local stats = {}

-- Interpolates linearly: stats.quantile({1, 2}, 0.5) is 1.5. Nil for no values.
function stats.quantile(values, q)
    if #values == 0 then return nil end
    local sorted = table.move(values, 1, #values, 1, {})
    table.sort(sorted)
    local at = 1 + q * (#sorted - 1)
    local low = math.floor(at)
    local above = sorted[low + 1] or sorted[low]
    return sorted[low] + (above - sorted[low]) * (at - low)
end

-- {median, min, max}, or nil for no values.
function stats.summary(values)
    if #values == 0 then return nil end
    return {
        median = stats.quantile(values, 0.5),
        min = stats.quantile(values, 0),
        max = stats.quantile(values, 1),
    }
end

return stats
