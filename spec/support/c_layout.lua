-- The C files of the project, what they include, and which functions they use of each other.
local c_layout = {}

local build = os.getenv "VMCTL_BUILD" or "build"

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do lines[#lines + 1] = line end
  assert(pipe:close(), command)
  return lines
end

local function text_of(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

--- The sources and headers of a room, with its name in front: "wire/buf.c".
---@param room string a folder of src/
---@return string[] names sorted
function c_layout.files(room)
  local names = {}
  for _, path in ipairs(lines_of(("ls src/%s/*.[ch]"):format(room))) do names[#names + 1] = path:match "^src/(.*)" end
  table.sort(names)
  return names
end

--- The includes of a file: of the project's own ("lua/fail.h") and of the system's ("ev.h").
---@param name string as c_layout.files has it
---@return string[] own
---@return string[] system
function c_layout.includes(name)
  local own, system = {}, {}
  for quote, included in text_of("src/" .. name):gmatch '#include%s+(["<])([^">]+)[">]' do
    local list = quote == '"' and own or system
    list[#list + 1] = included
  end
  return own, system
end

--- The comment that a file begins with.
---@param name string
---@return string? comment nil when it begins otherwise
function c_layout.beginning(name)
  return text_of("src/" .. name):match "^/%* (.-) ?%*/\n"
end

--- Headers by what they include.
---@param rooms string[]
---@return table<string, table<string, string>> graph
function c_layout.header_graph(rooms)
  local graph = {}
  for _, room in ipairs(rooms) do
    for _, name in ipairs(c_layout.files(room)) do
      if name:find "%.h$" then
        graph[name] = {}
        for _, included in ipairs(c_layout.includes(name)) do graph[name][included] = "includes it" end
      end
    end
  end
  return graph
end

-- The external names of objects: who defines each, and who needs which. `names`: the source of each object.
local function symbols(names)
  local objects, definers, needs = {}, {}, {}
  for object, name in pairs(names) do
    objects[#objects + 1] = object
    needs[name] = {}
  end
  for _, line in ipairs(lines_of("nm -A -P " .. table.concat(objects, " "))) do
    local object, symbol, kind = line:match "^(.-): (%S+) (%a)"
    local name = names[object]
    if kind == "U" then
      needs[name][#needs[name] + 1] = symbol
    elseif kind:find "%u" then
      definers[symbol] = name
    end
  end
  return definers, needs
end

local function object_of(name)
  local room, stem = name:match "^(%w+)/(.*)%.c$"
  return ("%s/%s/%s/%s.o"):format(build, room == "pb" and "pb" or room == "slirp" and "slirp" or "obj", room, stem)
end

--- Sources by the functions and data that they use of each other, as their objects say. They must have been built.
---@param rooms string[]
---@return table<string, table<string, string>> graph each arrow with the names that it stands for
---@return table<string, string> definers the file of each external name
---@return table<string, boolean> used external names that another file needs
function c_layout.call_graph(rooms)
  local graph, names, used = {}, {}, {}
  for _, room in ipairs(rooms) do
    for _, name in ipairs(c_layout.files(room)) do
      if name:find "%.c$" then
        names[object_of(name)] = name
        graph[name] = {}
      end
    end
  end
  local definers, needs = symbols(names)
  for name, needed in pairs(needs) do
    for _, symbol in ipairs(needed) do
      local from = definers[symbol]
      if from then
        used[symbol] = true
        graph[name][from] = graph[name][from] and graph[name][from] .. ", " .. symbol or symbol
      end
    end
  end
  return graph, definers, used
end

return c_layout
