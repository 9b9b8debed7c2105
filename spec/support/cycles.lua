-- Circles in a graph: which things use each other.
local cycles = {}

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

--- The groups of nodes that reach each other, by Tarjan's algorithm.
---@param graph table<string, table<string, any>> each node's neighbours, as the keys of a table
---@return string[][] groups sorted, each with two nodes or more, or with one that is its own neighbour
function cycles.find(graph)
  local index, low, on_stack, stack, count, found = {}, {}, {}, {}, 0, {}

  local function close(node)
    local group, member = {}
    repeat
      member = table.remove(stack)
      on_stack[member] = nil
      group[#group + 1] = member
    until member == node
    if #group > 1 or graph[node][node] then
      table.sort(group)
      found[#found + 1] = group
    end
  end

  local function visit(node)
    count = count + 1
    index[node], low[node] = count, count
    stack[#stack + 1], on_stack[node] = node, true
    for _, next in ipairs(sorted_keys(graph[node])) do
      if not index[next] and graph[next] then visit(next) end
      if on_stack[next] then low[node] = math.min(low[node], low[next]) end
    end
    if low[node] == index[node] then close(node) end
  end

  for _, node in ipairs(sorted_keys(graph)) do
    if not index[node] then visit(node) end
  end
  return found
end

--- One line for each arrow inside of a circle, with what it is for.
---@param graph table<string, table<string, any>>
---@return string text empty when there is no circle
function cycles.describe(graph)
  local lines = {}
  for _, group in ipairs(cycles.find(graph)) do
    local member = {}
    for _, node in ipairs(group) do member[node] = true end
    for _, node in ipairs(group) do
      for _, next in ipairs(sorted_keys(graph[node])) do
        if member[next] then lines[#lines + 1] = ("%s -> %s (%s)"):format(node, next, tostring(graph[node][next])) end
      end
    end
  end
  return table.concat(lines, "\n")
end

return cycles
