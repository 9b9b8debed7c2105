--- FileClose to FileName: open files. Worker threads make calls that may block. In the reference some do nothing (write, truncate, sync)
--- or hide a failure (read); here each does its work.
local failure = require "vmctl.cc.backend.failure"
local fields = require "vmctl.cc.backend.fields"
local mode = require "vmctl.base.go_mode"
local response = require "vmctl.cc.response"
local text = require "vmctl.text"
local wire = require "vmctl.cc.wire"

local M = {}

local pack = string.pack

local SPLICED = 128 << 10 -- bytes: a longer read may go from the file to the client past this process

---@class vmctl.CcOpenFile
local methods = {}
local mt = { __name = "vmctl.CcOpenFile", __index = methods }

--- An open file with its path.
---@param opened vmctl.File
---@param path string
function M.new(opened, path)
  return setmetatable({ opened = opened, path = path }, mt)
end

function methods:close()
  return self.opened:close()
end

--- Closes it without waiting for that.
function methods:drop()
  self.opened:drop()
end

--- An answer that holds a FileInfo.
---@param path string its last name goes into the answer
---@param info table as from core.fs.stat
---@return string payload
function M.info(path, info)
  local name = text.base(text.strip_slashes(path))
  if name == "" then name = "/" end
  return pack(">I1s4i8I4i8I1I1", 0, name, info.size, mode.from_posix(info.mode, info.type), info.mtime,
    info.type == "directory" and 1 or 0, info.type == "link" and 1 or 0)
end

local requests = {}

local function read(f, most)
  local answer, err, code = f.opened:read_counted(most)
  if not answer then return failure.of("read", f.path, err, code) end
  return answer
end

function requests.FILE_READ(f, most)
  if most < SPLICED then return read(f, most) end
  most = most < wire.PIECE and most or wire.PIECE
  return response.file(f.opened, most, function() return read(f, most) end)
end

function requests.FILE_WRITE(f, data)
  local ok, err, code = f.opened:write(data)
  if not ok then return failure.of("write", f.path, err, code) end
  return pack(">I1I4", 0, #data)
end

function requests.FILE_SEEK(f, offset, whence)
  local at, err, code = f.opened:seek(offset, whence)
  if not at then return failure.of("seek", f.path, err, code) end
  return pack(">I1i8", 0, at)
end

function requests.FILE_SYNC(f)
  local ok, err, code = f.opened:sync()
  if not ok then return failure.of("sync", f.path, err, code) end
end

function requests.FILE_TRUNCATE(f, size)
  local ok, err, code = f.opened:truncate(size)
  if not ok then return failure.of("truncate", f.path, err, code) end
end

function requests.FILE_STAT(f)
  local info, err, code = f.opened:stat()
  if not info then return failure.of("stat", f.path, err, code) end
  return M.info(f.path, info)
end

function requests.FILE_NAME(f)
  return pack(">I1s4", 0, f.path)
end

local function close(f)
  local ok, err, code = f:close()
  if not ok then return failure.of("close", f.path, err, code) end
end

--- Registers the handlers.
---@param router vmctl.CcRouter
---@param b vmctl.CcBackend
function M.install(router, b)
  for kind, fn in pairs(requests) do fields.on(router, kind, b.handles:getter "file", fn) end
  fields.on(router, "FILE_CLOSE", b.handles:taker "file", close)
end

return M
