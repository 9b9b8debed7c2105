--- The kernel modules of an image: found in the folder of a kernel, unpacked, and ordered by what they need.
local elf = require "vmctl.machine.image.elf"
local step = require "vmctl.machine.image.step"

local M = {}

local UNPACKERS = { xz = "xz -dc", zst = "zstd -qdc", gz = "gzip -dc" }

local function module_name(path)
  local name = (path:match "([^/]+)%.ko[%.%w]*$" or path):gsub("-", "_")
  return name
end

-- The path of each module, from modules.dep (which also has its dependencies) or else by looking, and the names of built-in modules.
local function index_modules(dir)
  local index = { dir = dir, paths = {}, needs = {}, builtin = {} }
  local file, why, code = step.open_file("open modules folder", dir, "rb")
  if file then
    file:close()
    return step.fail("open modules folder", dir, "Not a directory", "ENOTDIR")
  end
  if code ~= "EISDIR" then return nil, why, code end
  for line in (step.read_file("read", dir .. "/modules.builtin") or ""):gmatch "[^\n]+" do
    index.builtin[module_name(line)] = true
  end
  local list = step.read_file("read", dir .. "/modules.dep")
  if not list then
    local command = ("cd %s && find . -name '*.ko' -o -name '*.ko.*'"):format(step.quote(dir))
    list, why, code = step.run("search modules in", dir, command)
    if not list then return nil, why, code end
  end
  for line in list:gmatch "[^\n]+" do
    local path, needs = line:match "^(.-):(.*)$"
    local name = module_name(path or line)
    index.paths[name] = path or line
    if path then
      index.needs[name] = {}
      for need in needs:gmatch "%S+" do table.insert(index.needs[name], module_name(need)) end
    end
  end
  return index
end

local function read_module(index, path)
  if path:sub(1, 1) ~= "/" then path = index.dir .. "/" .. path end
  local packing = path:match "%.ko%.(%w+)$"
  if not packing then return step.read_file("read module", path) end
  if not UNPACKERS[packing] then return step.fail("read module", path, "unknown packing", "ENOTSUP") end
  return step.run("unpack module", path, UNPACKERS[packing] .. " < " .. step.quote(path))
end

local function module_needs(index, name, path, bytes)
  if index.needs[name] then return index.needs[name] end
  local ok, info = pcall(elf.section, bytes, ".modinfo")
  if not ok or not info then return step.fail("read module", path, "no kernel module", "ENOEXEC") end
  local needs = {}
  for need in (("\0" .. info):match "\0depends=([^\0]*)" or ""):gmatch "[^,]+" do
    table.insert(needs, module_name(need))
  end
  return needs
end

-- Puts a module behind its dependencies. `done` has the names that are in `order`, or on their way there.
local function order_module(index, name, needed_by, order, done)
  if done[name] or index.builtin[name] then return true end
  done[name] = true
  local path = index.paths[name]
  if not path then
    return step.fail("find module", name, ("not in %s (needed by %s)"):format(index.dir, needed_by), "ENOENT")
  end
  local bytes, why, code = read_module(index, path)
  if not bytes then return nil, why, code end
  local needs
  needs, why, code = module_needs(index, name, path, bytes)
  if not needs then return nil, why, code end
  for _, need in ipairs(needs) do
    local ok
    ok, why, code = order_module(index, need, name, order, done)
    if not ok then return nil, why, code end
  end
  table.insert(order, { name = name, bytes = bytes })
  return true
end

--- The modules that have to be loaded, in order: the default ones that exist, those asked for, and all that they need. Waits.
---@param dir string  a copy of /lib/modules/VERSION
---@param default string[]  names that a kernel may lack
---@param wanted string[]  names that it must have
---@return { name: string, bytes: string }[]?, string?, string?
function M.ordered(dir, default, wanted)
  local index, why, code = index_modules(dir)
  if not index then return nil, why, code end
  local order, done, ok = {}, {}
  for _, name in ipairs(default) do
    if index.paths[name] then
      ok, why, code = order_module(index, name, "vmctl", order, done)
      if not ok then return nil, why, code end
    end
  end
  for _, name in ipairs(wanted) do
    ok, why, code = order_module(index, module_name(name), "option 'modules'", order, done)
    if not ok then return nil, why, code end
  end
  return order
end

return M
