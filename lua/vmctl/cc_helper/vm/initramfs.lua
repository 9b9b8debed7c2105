--- Makes an initramfs of a tree: adds the agent, the modules that it loads, and the image's settings.
local cpio = require "vmctl.machine.cpio"
local inside = require "vmctl.cc.backend.inside"
local json = require "vmctl.json"
local modules = require "vmctl.machine.image"
local slice = require "vmctl.cc_helper.vm.slice"

local M = {}

local PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
local FOLDERS = { "/dev", "/proc", "/sys", "/run", "/tmp", "/etc", "/mnt" }
local NODES = { char = "c", block = "b", fifo = "p" }

local function file(bytes, mode)
  return { type = "file", mode = mode or 420, uid = 0, gid = 0, mtime = 0, bytes = bytes }
end

local function plant_modules(tree, dir)
  local list, err, code = modules.modules(dir)
  if not list then return nil, err, code end
  local names = {}
  for i, module in ipairs(list) do
    local path = ("%s/modules/%02d-%s.ko"):format(inside.FOLDER, i, module.name)
    tree:put(path, file(module.bytes))
    names[i] = path .. "\n"
  end
  return tree:put("/etc/vmctl/modules", file(table.concat(names)))
end

local function has_path(environment)
  for _, entry in ipairs(environment) do
    if entry:find "^PATH=" then return true end
  end
  return false
end

-- The file that tells the agent about the image.
local function describe(about)
  local environment = { table.unpack(about.environment or {}) }
  if not has_path(environment) then table.insert(environment, 1, PATH) end
  return {
    entrypoint = json.array and json.array(about.entrypoint or {}) or about.entrypoint, command = about.command,
    environment = environment, user = about.user, work_dir = about.work_dir,
  }
end

--- Adds the agent, its modules and its settings to a tree.
---@param tree vmctl.CcTree
---@param about table of the image: entrypoint, command, environment, user, work_dir
---@param opts { agent: string, modules_dir: string? }
---@return true|nil, string?, string?
function M.plant(tree, about, opts)
  for _, path in ipairs(FOLDERS) do
    if not tree:get(path) then
      tree:put(path, { type = "directory", mode = path == "/tmp" and 1023 or 493, uid = 0, gid = 0, mtime = 0 })
    end
  end
  local console = { type = "char", mode = 384, uid = 0, gid = 0, mtime = 0, major = 5, minor = 1 }
  if not tree:get "/dev/console" then tree:put("/dev/console", console) end
  local agent, err, code = slice.whole(opts.agent)
  if not agent then return nil, err, code end
  tree:put(inside.FOLDER .. "/agent", { type = "file", mode = 493, uid = 0, gid = 0, mtime = 0, content = agent })
  tree:put("/init", { type = "link", mode = 511, uid = 0, gid = 0, mtime = 0, link = inside.FOLDER .. "/agent" })
  tree:put(inside.IMAGE_FILE, file(assert(json.encode(describe(about))), 384))
  if opts.modules_dir then return plant_modules(tree, opts.modules_dir) end
  return true
end

local function entry_of(node)
  local entry = { mode = node.mode, uid = node.uid, gid = node.gid, mtime = math.max(node.mtime, 0) & 0xffffffff }
  if node.type == "directory" then entry.folder = true
  elseif node.type == "link" then entry.link = node.link
  elseif NODES[node.type] then entry.node = { NODES[node.type], node.major or 0, node.minor or 0 }
  elseif node.bytes then entry.content = node.bytes
  else entry.from = node.content end
  return entry
end

--- Writes a tree as an archive that a kernel unpacks.
---@param tree vmctl.CcTree
---@param path string
---@return integer|nil bytes, string?, string?
function M.write(tree, path)
  local entries = {}
  tree:each(function(at, node)
    entries[at] = entry_of(node)
    return true
  end)
  local out, err = io.open(path, "wb")
  if not out then return nil, err, "EIO" end
  local ok, code
  ok, err, code = cpio.pack(entries, function(bytes)
    local written, why = out:write(bytes)
    if not written then return nil, why, "EIO" end
    return true
  end, slice.open)
  local size = out:seek "cur"
  local closed, why = out:close()
  if not ok then return nil, err, code end
  if not closed then return nil, why, "EIO" end
  return size
end

return M
