--- The bytes of a layer, unpacked: a program unpacks them, and a worker reads its output.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local packing = require "vmctl.rootfs.packing"
local process = require "vmctl.process"
local said = require "vmctl.rootfs.said"
local slice = require "vmctl.rootfs.slice"

local M = {}

local LIMIT = 3600   -- seconds for one layer
local LOOK = 0.25    -- seconds between two words about the progress

-- Waits for a step, and reports its progress meanwhile.
local function wait_step(build, deadline, on_progress)
  while true do
    local result, err, code = build:wait(math.min(LOOK, math.max(0, deadline - core.now())))
    if result or code ~= "ETIMEDOUT" then return result, err, code end
    if core.now() >= deadline then return errors.fail("ETIMEDOUT", "read a layer: not done within %d s", LIMIT) end
    if on_progress then on_progress { bytes = build:bytes() } end
  end
end

--- Reads the output of a command as the next layer. Waits.
---@param build userdata a vmctl.RootfsBuild
---@param command string[] and options of vmctl.process.spawn
---@return string|nil digest of the bytes, string?, string?
function M.from_command(build, command, on_progress)
  command.stdout, command.stderr, command.death_signal, command.sweep = "pipe", "pipe", "KILL", true
  local child, err, code = process.spawn(command)
  if not child then return nil, err, code end
  local guard <close> = child -- luacheck: ignore
  return said.listen(child, function(words)
    local ok, why, how = build:layer(child.stdout:fileno())
    if not ok then return nil, why, how end
    child.stdout:close()
    local digest, record
    digest, why, how = wait_step(build, core.now() + LIMIT, on_progress)
    if not digest then return nil, why, how end
    record, why, how = child:wait(LIMIT)
    if not record then return nil, why, how end
    if record.exit_code == 0 then return digest end
    return errors.fail("EPROTO", "%s: %s %s", command[1], record.signal or "exit code " .. record.exit_code, words())
  end)
end

-- The bytes behind a part of an archive are not for the program that unpacks it.
local PART = 'head -c "$1" | "$2" -dc'

local function unpack(build, reader, program, is_whole, on_progress)
  local ok, err, code = reader.file:seek(reader.offset, 0)
  if not ok then return nil, err, code end
  local command = is_whole and { program, "-dc" } or { "sh", "-c", PART, program, ("%d"):format(reader.size), program }
  command.stdin = reader.file:fileno()
  return M.from_command(build, command, on_progress)
end

--- Reads a part of a file as the next layer, packed or not. Waits.
---@param build userdata a vmctl.RootfsBuild
---@param part { path: string, offset: integer, size: integer? }
---@param on_progress? fun(state: { bytes: integer })
---@return string|nil digest of the layer unpacked, string?, string? code ENOENT, EINVAL: no regular file, EPROTO, ETOOBIG …
function M.from_part(build, part, on_progress)
  local reader <close>, err, code = slice.open(part)
  if not reader then return nil, err, code end
  local head
  head, err, code = reader.file:read(packing.HEAD, reader.offset)
  if not head then return nil, err, code end
  local program, foreign = packing.program(head), packing.foreign(head)
  if foreign then return errors.fail("EPROTO", "packed by %s: gzip, zstd, xz, bzip2 or nothing expected", foreign) end
  if program then return unpack(build, reader, program, part.whole or not part.size, on_progress) end
  local ok
  ok, err, code = build:layer(reader.file:fileno(), reader.offset, reader.size)
  if not ok then return nil, err, code end
  return wait_step(build, core.now() + LIMIT, on_progress)
end

--- Reads a file as the next layer, packed or not. Waits.
---@return string|nil digest of the layer unpacked, string?, string?
function M.from_file(build, path, on_progress) return M.from_part(build, { path = path, offset = 0 }, on_progress) end

--- The digest of a part of a file as it stands. Waits.
---@param part { path: string, offset: integer, size: integer? }
---@return string|nil digest, string?, string?
function M.digest(build, part)
  local reader <close>, err, code = slice.open(part)
  if not reader then return nil, err, code end
  local ok
  ok, err, code = build:digest(reader.file:fileno(), reader.offset, reader.size)
  if not ok then return nil, err, code end
  return wait_step(build, core.now() + LIMIT)
end

--- Waits for the end of the image. Waits.
---@return integer|nil size, string?, string?
function M.finish(build)
  local ok, err, code = build:finish()
  if not ok then return nil, err, code end
  return wait_step(build, core.now() + LIMIT)
end

return M
