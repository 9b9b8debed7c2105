--- Images for specs, as archives: what `docker save` writes, and an OCI layout.
local archive = require "vmctl.tar.write"
local core = require "vmctl.core"
local json = require "vmctl.json"

local M = {}

--- The static busybox of this machine.
function M.busybox()
  local file = io.open "/bin/busybox" or assert(io.open "/usr/bin/busybox")
  local bytes = file:read "a"
  file:close()
  return bytes
end

local function entry_of(path, what)
  if type(what) == "string" then what = { content = what } end
  return { path = "/" .. path, type = what.type or what.link and "link" or what.content and "file" or "directory",
    mode = what.mode or 493, uid = what.uid or 0, gid = what.gid or 0, mtime = what.mtime or 0,
    size = what.content and #what.content or 0, link = what.link }, what.content
end

--- An archive of files: path -> content, or { link =, content =, mode =, … }; an empty table is a folder.
---@return string bytes
function M.tar(files)
  local parts, names = {}, {}
  local function write(bytes) parts[#parts + 1] = bytes return true end
  for name in pairs(files) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local entry, content = entry_of(name, files[name])
    archive.entry(write, entry, function(n)
      local data = content:sub(1, n)
      content = content:sub(n + 1)
      return data
    end)
  end
  archive.finish(write)
  return table.concat(parts)
end

local function save(folder, bytes)
  local path = folder .. "/image.tar"
  assert(core.fs.replace(path, bytes))
  return path
end

local function digest(bytes)
  return core.sha256(bytes):hex()
end

--- An archive as `docker save` writes it.
---@param folder string where to
---@param layers table[] of files, as for `tar`
---@param run? table the image's configuration
---@return string path
function M.docker(folder, layers, run)
  local files, names, ids = {}, {}, {}
  for i, layer in ipairs(layers) do
    local bytes = type(layer) == "string" and layer or M.tar(layer)
    names[i], ids[i] = i .. "/layer.tar", "sha256:" .. digest(bytes)
    files[names[i]] = bytes
  end
  files["config.json"] = assert(json.encode { config = run or {}, rootfs = { diff_ids = ids } })
  files["manifest.json"] = assert(json.encode { { Config = "config.json", Layers = names } })
  return save(folder, M.tar(files))
end

--- An OCI layout.
---@param layers string[] their bytes, packed or not
---@param change? fun(files: table) spoils it
---@return string path
function M.oci(folder, layers, run, change)
  local files, list = {}, {}
  local function blob(bytes)
    files["blobs/sha256/" .. digest(bytes)] = bytes
    return { digest = "sha256:" .. digest(bytes), size = #bytes }
  end
  for i, bytes in ipairs(layers) do list[i] = blob(bytes) end
  local config = blob(assert(json.encode { config = run or {} }))
  local manifest = blob(assert(json.encode { config = config, layers = list }))
  files["index.json"] = assert(json.encode { manifests = { manifest } })
  files["oci-layout"] = '{"imageLayoutVersion":"1.0.0"}'
  if change then change(files) end
  return save(folder, M.tar(files))
end

return M
