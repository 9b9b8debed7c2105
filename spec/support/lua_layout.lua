-- The modules below lua/: what each needs, and whether that follows the floors.
local M = {}

local function name_of(path)
  return (path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", "."))
end

--- The modules of the project: their texts by their names.
---@return table<string, string>
function M.texts()
  local texts = {}
  local pipe <close> = assert(io.popen "find lua/vmctl -name '*.lua'")
  for path in pipe:lines() do
    local file <close> = assert(io.open(path))
    texts[name_of(path)] = file:read "a"
  end
  return texts
end

--- The room of a module: "vmctl.exec.client" is in "exec", vmctl itself in "vmctl".
---@param name string
---@return string
function M.room(name)
  return name:match "^vmctl%.([%w_]+)" or "vmctl"
end

--- A text without its comments.
---@param text string
---@return string
function M.code(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line:gsub("^%s*%-%-.*", ""):gsub("%s%-%-%s.*", "") end
  return table.concat(lines, "\n")
end

--- The modules that each module needs. A module whose name stands in the text counts, wherever it is loaded: at the beginning, in a
--- function, or by a table of names. Comments do not count.
---@param texts table<string, string>
---@return table<string, table<string, string>> graph of module -> module -> "NAME needs NAME"
function M.graph(texts)
  local graph = {}
  for name, text in pairs(texts) do
    graph[name] = {}
    for needed in M.code(text):gmatch '"(vmctl[%w_.]*%w)"' do
      if texts[needed] and needed ~= name then graph[name][needed] = ("%s needs %s"):format(name, needed) end
    end
  end
  return graph
end

--- The same between rooms.
---@param graph table
---@return table<string, table<string, string>>
function M.rooms(graph)
  local rooms = {}
  for name, needs in pairs(graph) do
    local room = M.room(name)
    rooms[room] = rooms[room] or {}
    for needed, text in pairs(needs) do
      local other = M.room(needed)
      if other ~= room then rooms[room][other] = text end
    end
  end
  return rooms
end

--- The complaints about a graph of rooms: an arrow that does not lead to a lower floor, a room on no floor.
---@param rooms table<string, table<string, string>>
---@param floors string[][] the lowest first
---@return string[] complaints sorted
function M.complaints(rooms, floors)
  local floor, complaints = {}, {}
  for number, names in ipairs(floors) do
    for _, name in ipairs(names) do floor[name] = number end
  end
  for room, needs in pairs(rooms) do
    if not floor[room] then complaints[#complaints + 1] = ("%s is on no floor"):format(room) end
    for other, text in pairs(needs) do
      if floor[room] and floor[other] and floor[other] >= floor[room] then
        complaints[#complaints + 1] = ("%s, which is not below it"):format(text)
      end
    end
  end
  for name in pairs(floor) do
    if not rooms[name] then complaints[#complaints + 1] = ("there is no room %s"):format(name) end
  end
  table.sort(complaints)
  return complaints
end

--- The names of vmctl's parts in the table of modules: what its first column names.
---@return string[] names sorted, without "vmctl."
function M.documented_names()
  local found, names = {}, {}
  for line in io.lines "docs/modules.md" do
    for name in (line:match "^|([^|]*)|" or ""):gmatch "`vmctl%.([%l%d_]+)`" do found[name] = true end
  end
  for name in pairs(found) do names[#names + 1] = name end
  table.sort(names)
  return names
end

return M
