-- Makes the seeds of the fuzz targets from the wire vectors: one file for each vector that a target understands.
-- usage: lua5.4 fuzz/corpus.lua FOLDER TARGET...       writes FOLDER/TARGET/VECTORS-LINE-NAME
-- Raises on anything that it cannot use: a vector that is left out in silence is one that is never tried.
local cjson = require "cjson"

-- The vector files whose bytes a target decodes. A target that is not named here gets all of them.
local sources = {
  frame = { "exec", "qemu-l2", "cc-ipc", "ttrpc" },
  line = { "stereos", "hybrid-vsock" },
  hybrid = { "hybrid-vsock" },
  stereos = { "stereos" },
  qmp = { "stereos" }, -- of other messages, but of lines of JSON
  l2 = { "qemu-l2" },
  pb = { "ttrpc" },
  ttrpc = { "ttrpc" },
  cc = { "cc-ipc" },
}

-- Seeds of protocols without vectors: what one end sends, frame by frame.
local function yamux(...)
  return (">BBI2I4I4"):pack(0, ...)
end
local made = {
  yamux = {
    open = yamux(1, 1, 2, 0) .. yamux(0, 0, 2, 5) .. "hello" .. yamux(0, 4, 2, 0), -- window with SYN, data, data with FIN
    answer = yamux(1, 2, 1, 0) .. yamux(0, 0, 1, 3) .. "yes" .. yamux(1, 4, 1, 0),
    window = yamux(1, 2, 3, 0) .. yamux(1, 0, 3, 262144) .. yamux(0, 8, 3, 0),
    session = yamux(2, 1, 0, 7) .. yamux(2, 2, 0, 1) .. yamux(3, 0, 0, 0),
    many = yamux(1, 1, 1, 0) .. yamux(1, 1, 2, 0) .. yamux(1, 1, 4, 0) .. yamux(1, 1, 6, 0) .. yamux(0, 0, 4, 1) .. "x",
  },
}

-- The bytes in front of what a target decodes.
local headers = { cc = 6, pb = 10 }

local function quote(path)
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

local function run(command)
  assert(os.execute(command), command)
end

local function write(path, bytes)
  local file = assert(io.open(path, "wb"))
  assert(file:write(bytes))
  assert(file:close())
end

local function unhex(hex, where)
  if type(hex) ~= "string" or #hex % 2 ~= 0 or hex:find "%X" then
    error(where .. ": no 'hex' member, or one that is not hex")
  end
  return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

-- The vectors of one file: { { name =, bytes = }, ... }, the name fit for a file name.
local function load_vectors(path, stem)
  local vectors, number = {}, 0
  for line in assert(io.open(path)):lines() do
    number = number + 1
    local where = ("%s:%d"):format(path, number)
    local ok, vector = pcall(cjson.decode, line)
    if not ok then error(where .. ": " .. vector) end
    local name = tostring(vector.name):gsub("[^%w._-]", "_")
    table.insert(vectors, {
      name = ("%s-%03d-%s"):format(stem, number, name),
      bytes = unhex(vector.hex, where),
    })
  end
  if number == 0 then error(path .. ": no vectors") end
  return vectors
end

local function load_all(folder)
  local all, count = {}, 0
  local list = assert(io.popen("ls " .. quote(folder)))
  for file in list:lines() do
    local stem = file:match "^(.*)%.jsonl$"
    if stem then
      all[stem] = load_vectors(folder .. "/" .. file, stem)
      count = count + 1
    end
  end
  list:close()
  if count == 0 then error(folder .. ": no vector files") end
  return all
end

local function stems_of(target, all)
  if sources[target] then return sources[target] end
  if made[target] then return {} end
  local stems = {}
  for stem in pairs(all) do table.insert(stems, stem) end
  return stems
end

-- Texts for the decoder: the members of JSON payloads that are base64 already.
local function add_base64_texts(folder, vector)
  local number = 0
  for text in vector.bytes:gmatch '"([%w+/]+=?=?)"' do
    if #text % 4 == 0 then
      number = number + 1
      write(("%s/%s.text%d"):format(folder, vector.name, number), text)
    end
  end
end

local function make(folder, target, all)
  folder = folder .. "/" .. target
  run("mkdir -p " .. quote(folder))
  for _, stem in ipairs(stems_of(target, all)) do
    for _, vector in ipairs(all[stem] or error("no vectors of " .. stem)) do
      write(folder .. "/" .. vector.name, vector.bytes:sub((headers[target] or 0) + 1))
      if target == "base64" then add_base64_texts(folder, vector) end
    end
  end
  for name, bytes in pairs(made[target] or {}) do write(folder .. "/" .. name, bytes) end
end

local root = arg[0]:match "^(.*)/[^/]*/[^/]*$" or "."
local folder = assert(arg[1], "usage: corpus.lua FOLDER TARGET...")
local all = load_all(root .. "/spec/vectors")
for i = 2, #arg do make(folder, arg[i], all) end
