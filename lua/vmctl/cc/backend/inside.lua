--- Requests of a helper to its guest's agent beyond the protocol, with types that the protocol does not use: the guest's files
--- as one archive, and a command's output as it comes. And the folders of the guest that a helper uses itself.
local archive = require "vmctl.tar.write"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local failure = require "vmctl.cc.backend.failure"
local glob = require "vmctl.cc.backend.glob"
local tree = require "vmctl.tar.tree"
local wire = require "vmctl.cc.wire"

local M = {}

M.FOLDER = "/.vmctl"
M.IMAGE_FILE = "/.vmctl/image.json"
--- Files of a guest that belong to no image.
M.OURS = { "/.vmctl" }

--- string_slice excludes -> uint64 conn: a connection that delivers a tar archive.
M.ARCHIVE = 0x7F00

--- uint64 cmd -> uint64 conn: starts a command; the connection delivers its output, with its standard error.
M.PIPED = 0x7F01

local SEND_TIMEOUT = 120 -- seconds in which the helper must have taken the next bytes

local function write_archive(b, stream, skip)
  local out <close> = stream
  local function write(bytes) return out:write(bytes, SEND_TIMEOUT) end
  local ok, err = tree.each(b.root, skip, function(entry, read) return archive.entry(write, entry, read, "pax") end)
  if ok then archive.finish(write) else archive.broken(write, err) end
end

local function start_archive(b, excludes)
  local skip, why = glob.compile(excludes)
  if not skip then return failure.argument("%s", why) end
  local ours, theirs, code = core.pair()
  if not ours then return failure.of("snapshot", "", theirs, code) end
  local handle, err, number = b.handles:add("conn", theirs)
  if not handle then
    ours:close()
    return nil, err, number
  end
  background.spawn("cc archive", write_archive, b, ours, skip)
  return string.pack(">I1I8", 0, handle)
end

local function pass_output(cmd, stream)
  local out <close> = stream
  cmd:pass_output(function(bytes) return out:write(bytes, SEND_TIMEOUT) end)
end

local function start_piped(b, cmd)
  local ours, theirs, code = core.pair()
  if not ours then return failure.of("exec", "", theirs, code) end
  local ok, err, number, where = cmd:start("pipe", "stdout")
  local handle
  if ok then handle, err, number = b.handles:add("conn", theirs) else theirs:close() end
  if not handle then
    ours:close()
    return nil, err, number, where
  end
  background.spawn("cc output", pass_output, cmd, ours)
  return string.pack(">I1I8", 0, handle)
end

-- Best effort, as in the protocol: not every guest's console is a terminal.
local function set_console(cols, rows)
  if cols > 0 and rows > 0 and cols < 65536 and rows < 65536 then core.fs.resize_terminal("/dev/console", rows, cols) end
end

--- Registers the handlers.
---@param router vmctl.CcRouter
---@param b vmctl.CcBackend
function M.install(router, b)
  router:handle(M.ARCHIVE, function(d)
    local excludes = d:string_slice()
    if excludes then return start_archive(b, excludes) end
  end)
  router:handle(M.PIPED, function(d)
    local number = d:uint64()
    if not number then return end
    local cmd, err, code = b.handles:get("cmd", number)
    if not cmd then return nil, err, code end
    return start_piped(b, cmd)
  end)
  router:handle(wire.types.INSTANCE_SET_CONSOLE, function(d)
    local cols, rows = d:int32(), d:int32()
    if not d:failed() then return set_console(cols, rows) end
  end)
end

return M
