--- The agent's file messages: one request, one FileResult.
local core = require "vmctl.core"
local fs = require "vmctl.base.fs"
local go_mode = require "vmctl.base.go_mode"
local json = require "vmctl.json"
local process = require "vmctl.process"
local text = require "vmctl.text"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local SEND_TIMEOUT = 30
local MOST_PATH = 4096 -- bytes: the kernel's limit
local MOST_LINKS = 40     -- as the kernel
local MOST_STATUS = 64 << 10
local READ_TIMEOUT = 10
local PIECE = 1 << 20     -- bytes of a file that are read at a time
local READ_MAX = 16 << 20 -- as the reference; larger files are read by a command

local function send(conn, body)
  local ok, err, code = conn:write_frame(T.FILE_RESULT, body, SEND_TIMEOUT)
  if ok then conn:shutdown(SEND_TIMEOUT) end
  return ok, err, code
end

local function reply(conn, result)
  return send(conn, assert(json.encode(json.object(result))))
end

local function refuse(conn, err, too_large)
  return reply(conn, { error = wire.text(err), too_large = too_large }) -- a member of our own
end

-- Refuses a ".." that leads out of the root folder. (A link may lead out: the folder belongs to its owner.)
local function below_root(root, path)
  local parts = {}
  for part in path:gmatch "[^/]+" do
    if part == ".." then parts[#parts] = nil elseif part ~= "." then parts[#parts + 1] = part end
  end
  return root .. "/" .. table.concat(parts, "/")
end

-- The request's path below the agent's root folder.
local function decode(payload, opts)
  local request, err = json.decode(payload)
  if type(request) ~= "table" then return nil, err or "request: not a JSON object" end
  local path = request.path
  if type(path) ~= "string" or path == "" or #path > MOST_PATH or path:find("\0", 1, true) then
    return nil, "request: no usable 'path'"
  end
  return request, opts.root and below_root(opts.root, path) or path
end

local function make_folders(path)
  local at = text.split(path)
  if not at or at == "" or fs.stat(at) then return end
  make_folders(at)
  fs.mkdir(at, 493)
end

local function is_made_up(path)
  return path:find "^/proc/" or path:find "^/sys/"
end

-- Writes to devices and to files of the kernel (/proc, /sys), which cannot be replaced by a new file.
local function write_in_place(path, content)
  local root <close>, err = fs.root "/"
  if not root then return nil, err end
  local file <close>, why = root:open(path, "wt") -- luacheck: ignore
  if not file then return nil, why end
  local ok
  ok, err = file:write(content)
  if not ok then return nil, err end
  return file:close()
end

-- The file that a path with links at its end leads to; it need not exist.
local function follow(path)
  local root <close>, err = fs.root "/"
  if not root then return nil, err end
  for _ = 1, MOST_LINKS do
    local info = fs.stat(path, true)
    if not info or info.type ~= "link" then return path end
    local target, why = root:readlink(path)
    if not target then return nil, why end
    path = target:sub(1, 1) == "/" and target or (text.split(path) or ".") .. "/" .. target
  end
  return nil, ("write %s: too many links"):format(path)
end

-- The mode of a file that a caller of the reference's wants: an old one keeps its own, and of a new one the umask is taken off.
local function plain_mode(path, mode)
  if not mode or mode == 0 or fs.stat(path) then return nil end
  local umask = (fs.read("/proc/self/status", MOST_STATUS) or ""):match "\nUmask:%s*([0-7]+)"
  return go_mode.to_posix(mode) & 4095 & ~(tonumber(umask or "22", 8))
end

local function write_file(path, content, request)
  local at, err = follow(path)
  if not at then return nil, err end
  path = at
  local mode = request.mode
  if not request.exact_mode then mode = plain_mode(path, mode) end
  local info = fs.stat(path)
  if info and info.type == "char" or is_made_up(path) then return write_in_place(path, content) end
  if info and info.type ~= "file" then return nil, ("write %s: not a regular file"):format(path) end
  make_folders(path)
  return fs.replace(path, content, mode)
end

--- WriteFile: creates the parents and replaces the file by a rename. A link is followed: its target is replaced. Without a mode an old
--- file keeps its own, and a new one gets 0644. A mode from hosts of ours is set exactly; one from others follows Go, and is for new
--- files alone.
function M.write(conn, payload, opts)
  local request, path = decode(payload, opts)
  if not request then return refuse(conn, path) end
  local content, bad = core.base64_decode(request.content or "")
  if not content then return refuse(conn, bad) end
  local mode = request.mode
  if mode ~= nil and (math.type(mode) ~= "integer" or mode < 0 or mode > (request.exact_mode and 4095 or 0xffffffff)) then
    return refuse(conn, "request: 'mode' is no file mode")
  end
  local ok, err = write_file(path, content, request)
  if not ok then return refuse(conn, err) end
  return reply(conn, {})
end

local function read_whole(path)
  local root <close>, err = fs.root "/"
  if not root then return nil, err end
  local file <close>, why = root:open(path, "r")
  if not file then return nil, why end
  local parts, size = {}, 0
  repeat
    local data, failure = file:read(PIECE)
    if not data then return nil, failure end
    parts[#parts + 1] = data
    size = size + #data
  until data == "" or size > READ_MAX
  return table.concat(parts)
end

-- Reads a file of the kernel in a child: such a read may block for ever (/proc/kmsg), and would block the loop.
local function read_by_child(path)
  local child <close>, why = process.spawn { "cat", "--", path, stdin = "null", stdout = "pipe", stderr = "pipe" }
  if not child then return nil, why end
  local deadline, parts, size = core.now() + READ_TIMEOUT, {}, 0
  repeat
    local data, err, code = child.stdout:read(wire.CHUNK, deadline - core.now())
    if not data and code ~= "EOF" then return nil, ("read %s: %s"):format(path, err) end
    parts[#parts + 1] = data
    size = size + #(data or "")
  until not data or size > READ_MAX
  local said = size == 0 and child.stderr:read(wire.CHUNK, deadline - core.now())
  if said then return nil, text.trim_end((said:gsub("^cat: ", "read "))) end
  return table.concat(parts)
end

--- ReadFile: regular files of up to 16 MiB.
function M.read(conn, payload, opts)
  local request, path = decode(payload, opts)
  if not request then return refuse(conn, path) end
  local info, err = fs.stat(path)
  if not info then return refuse(conn, err) end
  if info.type ~= "file" then return refuse(conn, ("read %s: not a regular file"):format(path)) end
  if info.size > READ_MAX then return refuse(conn, ("read %s: file too large (%d bytes)"):format(path, info.size), true) end
  local content
  content, err = (is_made_up(path) and read_by_child or read_whole)(path)
  if not content then return refuse(conn, err) end
  if #content > READ_MAX then return refuse(conn, ("read %s: file too large"):format(path), true) end
  if content == "" then return reply(conn, {}) end
  -- Not by the JSON library: it allocates six times a string's length, and ends the program if it cannot.
  return send(conn, '{"content":"' .. core.base64_encode(content) .. '"}')
end

--- ListFiles: a folder's entries. Links are listed as links.
function M.list(conn, payload, opts)
  local request, path = decode(payload, opts)
  if not request then return refuse(conn, path) end
  local names, err = fs.list(path)
  if not names then return refuse(conn, err) end
  table.sort(names)
  local files = {}
  for _, name in ipairs(names) do
    local info = fs.stat(path .. "/" .. name, true)
    if info then
      local exact = not utf8.len(name) and core.base64_encode(name) or nil -- a member of our own
      files[#files + 1] = { name = wire.text(name), name_b64 = exact, size = info.size, mode = go_mode.from_posix(info.mode, info.type),
        is_dir = info.type == "directory" }
    end
  end
  return reply(conn, { files = #files > 0 and files or nil })
end

return M
