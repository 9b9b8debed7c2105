--- Layers and OCI layouts for specs. The archives are written here, by what POSIX says of pax, and not by the module's own writer.
local assert = require "luassert"
local core = require "vmctl.core"
local json = require "vmctl.json"
local process = require "vmctl.process"

local M = {}

local BLOCK, LIMIT = 512, 120 -- bytes, seconds
local KINDS = { file = "0", hard = "1", link = "2", char = "3", block = "4", folder = "5", fifo = "6" }
local SUFFIXES = { gzip = "+gzip", zstd = "+zstd" }

local function fill(bytes) return bytes .. ("\0"):rep(-#bytes % BLOCK) end

local function header(name, kind, e, size)
  local number = ("%07o\0"):format(0)
  local function octal(value, digits) return ("%0" .. digits .. "o\0"):format(value) end
  local before = name:sub(1, 100) .. ("\0"):rep(100 - #name:sub(1, 100)) .. octal(e.mode or (kind == "5" and 493 or 420), 7)
    .. number .. number .. octal(size, 11) .. octal(0, 11)
  local after = kind .. ("\0"):rep(100) .. "ustar\00000" .. ("\0"):rep(64) .. octal(e.major or 0, 7) .. octal(e.minor or 0, 7)
  local whole, sum = fill(before .. "        " .. after), 0
  for i = 1, BLOCK do sum = sum + whole:byte(i) end
  return fill(before .. ("%06o\0 "):format(sum) .. after)
end

-- "LENGTH KEY=VALUE\n", where the length counts itself.
local function record(key, value)
  local rest, size = (" %s=%s\n"):format(key, value), 0
  while size ~= #rest + #tostring(#rest + #tostring(size)) do size = #rest + #tostring(#rest + #tostring(size)) end
  return size .. rest
end

local function entry(e)
  local kind = KINDS[e.type or e.content and "file" or e.link and "link" or "folder"]
  local records = { record("path", e.path), record("uid", e.uid or 0), record("gid", e.gid or 0), record("mtime", e.mtime or 0) }
  if e.link then records[#records + 1] = record("linkpath", e.link) end
  local names = {}
  for name in pairs(e.xattrs or {}) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do records[#records + 1] = record("SCHILY.xattr." .. name, e.xattrs[name]) end
  local told, content = table.concat(records), kind == "0" and e.content or ""
  return header("pax", "x", {}, #told) .. fill(told) .. header("entry", kind, e, #content) .. fill(content)
end

--- A layer's archive of entries { path =, type =, mode =, uid =, gid =, mtime = seconds as text or number, xattrs =, content =, link =,
--- major =, minor = }; type: file, hard, link, char, block, folder, fifo, told by what there is else.
---@return string bytes
function M.tar(entries)
  local parts = {}
  for i, each in ipairs(entries) do parts[i] = entry(each) end
  return table.concat(parts) .. ("\0"):rep(2 * BLOCK)
end

--- Runs a shell command in a folder; it must succeed.
---@return string output
function M.run(folder, command)
  local child <close> = assert(process.spawn { "sh", "-ec", command, stdout = "pipe", stderr = "stdout", stdin = "null", cwd = folder })
  local parts = {}
  for data in function() return child.stdout:read(1 << 16, LIMIT) end do parts[#parts + 1] = data end
  local ended = assert(child:wait(LIMIT))
  assert.equal(0, ended.exit_code, command .. ": " .. table.concat(parts))
  return table.concat(parts)
end

local function save(path, bytes)
  assert(core.fs.replace(path, bytes))
  return path
end

--- An OCI layout, a folder "oci" in a folder.
---@param folder string
---@param layers table[] each a list of entries, or { bytes = }; pack = the program that packs it
---@param config? table what the image says of how it is run
---@param change? fun(layers: table[], config: table) spoils it
---@return string root "oci:…"
function M.layout(folder, layers, config, change)
  local oci = folder .. "/oci"
  M.run(folder, "rm -rf oci && mkdir -p oci/blobs/sha256")
  local function blob(bytes)
    local hex = core.sha256(bytes):hex()
    save(oci .. "/blobs/sha256/" .. hex, bytes)
    return { digest = "sha256:" .. hex, size = #bytes }
  end
  local list, ids = {}, {}
  for i, each in ipairs(layers) do
    local bytes = each.bytes or M.tar(each)
    ids[i] = "sha256:" .. core.sha256(bytes):hex()
    if each.pack then
      save(folder .. "/packed", bytes)
      bytes = M.run(folder, each.pack .. " -c packed")
    end
    list[i] = blob(bytes)
    list[i].mediaType = "application/vnd.oci.image.layer.v1.tar" .. (SUFFIXES[each.pack] or "")
  end
  local whole = { architecture = "amd64", os = "linux", rootfs = { type = "layers", diff_ids = ids }, config = config or {} }
  if change then change(list, whole) end
  local about = blob(assert(json.encode(whole)))
  about.mediaType = "application/vnd.oci.image.config.v1+json"
  local manifest = blob(assert(json.encode { schemaVersion = 2, config = about, layers = list }))
  manifest.mediaType = "application/vnd.oci.image.manifest.v1+json"
  manifest.annotations = { ["org.opencontainers.image.ref.name"] = "t" }
  save(oci .. "/index.json", assert(json.encode { schemaVersion = 2, manifests = { manifest } }))
  save(oci .. "/oci-layout", '{"imageLayoutVersion":"1.0.0"}')
  return "oci:" .. oci
end

--- A registry of a folder, on a port that it takes itself.
---@return vmctl.Child, string host
function M.registry(folder)
  assert(core.fs.replace(folder .. "/registry.yml", ([[
version: 0.1
log: { level: info, formatter: text }
storage: { filesystem: { rootdirectory: %s/registry } }
http: { addr: "127.0.0.1:0", secret: "of this test" }
]]):format(folder)))
  local child = assert(process.spawn { "docker-registry", "serve", folder .. "/registry.yml", stdin = "null", stdout = "null",
    stderr = "pipe", death_signal = "KILL", env = { OTEL_TRACES_EXPORTER = "none" } })
  while true do
    local line = assert(child.stderr:read_line(1 << 16, LIMIT))
    local port = line:match "listening on 127%.0%.0%.1:(%d+)"
    if port then return child, "localhost:" .. port end
  end
end

--- Compiles the lister of trees (spec/support/lister.c), a static program.
---@return string path
function M.lister(folder)
  local here = debug.getinfo(1, "S").source:match "^@(.-)spec/support/[^/]*$"
  local path = folder .. "/lister"
  M.run(here == "" and "." or here,
    ("cc -static -O1 -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -Wall -Wextra -Isrc " ..
      "spec/support/lister.c src/wire/sha256.c src/wire/sha256_x86.c -o '%s'"):format(path))
  return path
end

return M
