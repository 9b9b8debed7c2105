--- The agent's file messages: one request, one FileResult.
local core = require "vmctl.core"
local json = require "vmctl.json"
local wire = require "vmctl.protocol.exec.wire"

local M = {}

local T = wire.types
local SEND_TIMEOUT = 30
local READ_MAX = 16 << 20 -- as the reference; larger files are read by a command

local function reply(conn, result)
  local ok, err, code = conn:write_frame(T.FILE_RESULT, assert(json.encode(json.object(result))), SEND_TIMEOUT)
  if ok then conn:shutdown(SEND_TIMEOUT) end
  return ok, err, code
end

local function refuse(conn, err)
  return reply(conn, { error = wire.text(err) })
end

-- The request's path below the agent's root folder.
local function decode(payload, opts)
  local request, err = json.decode(payload)
  if type(request) ~= "table" then return nil, err or "request: not a JSON object" end
  local path = request.path
  if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then return nil, "request: no usable 'path'" end
  return request, (opts.root or "") .. path
end

local function make_folders(path)
  local at = path:match "^(.+)/[^/]+$"
  if not at or core.fs.stat(at) then return end
  make_folders(at)
  core.fs.mkdir(at, 493)
end

--- WriteFile: parents are created, the new content takes the old one's place at once.
function M.write(conn, payload, opts)
  local request, path = decode(payload, opts)
  if not request then return refuse(conn, path) end
  local content, bad = core.base64_decode(request.content or "")
  if not content then return refuse(conn, bad) end
  local mode = request.mode
  if mode ~= nil and (math.type(mode) ~= "integer" or mode < 0 or mode > 4095) then
    return refuse(conn, "request: 'mode' is no file mode")
  end
  make_folders(path)
  local ok, err = core.fs.replace(path, content, (mode and mode ~= 0) and mode or 420)
  if not ok then return refuse(conn, err) end
  return reply(conn, {})
end

--- ReadFile: regular files of up to 16 MiB.
function M.read(conn, payload, opts)
  local request, path = decode(payload, opts)
  if not request then return refuse(conn, path) end
  local info, err = core.fs.stat(path)
  if not info then return refuse(conn, err) end
  if info.type ~= "file" then return refuse(conn, ("read %s: not a regular file"):format(path)) end
  if info.size > READ_MAX then return refuse(conn, ("read %s: file too large (%d bytes)"):format(path, info.size)) end
  local file
  file, err = io.open(path, "rb")
  if not file then return refuse(conn, err) end
  local content = file:read(READ_MAX + 1) or "" -- a file of /proc says that it has 0 bytes
  file:close()
  if #content > READ_MAX then return refuse(conn, ("read %s: file too large"):format(path)) end
  return reply(conn, { content = content ~= "" and core.base64_encode(content) or nil })
end

--- ListFiles: a folder's entries; links are what they are, not what they point to.
function M.list(conn, payload, opts)
  local request, path = decode(payload, opts)
  if not request then return refuse(conn, path) end
  local names, err = core.fs.list(path)
  if not names then return refuse(conn, err) end
  table.sort(names)
  local files = {}
  for _, name in ipairs(names) do
    local info = core.fs.stat(path .. "/" .. name, true)
    if info and utf8.len(name) then
      files[#files + 1] = { name = name, size = info.size, mode = info.mode, is_dir = info.type == "directory" }
    end
  end
  return reply(conn, { files = #files > 0 and files or nil })
end

return M
