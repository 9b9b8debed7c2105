--- The bytes of a layer, unpacked: a program that keeps the format does it, and a worker reads what it writes.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local process = require "vmctl.process"
local said = require "vmctl.rootfs.said"

local M = {}

local LIMIT = 3600   -- seconds for one layer
local LOOK = 0.25    -- seconds between two words about the progress

local MAGICS = {
  { "\x1f\x8b", "gzip" }, { "\x28\xb5\x2f\xfd", "zstd" }, { "\xfd7zXZ\0", "xz" }, { "BZh", "bzip2" },
}

--- The program that unpacks a file, by its first bytes; false: none is needed. Does not wait.
---@param path string
---@return string|false|nil program, string?, string? code ENOENT, EISDIR, EAGAIN: nothing is there to be read …
function M.program(path)
  local file, err, code = core.fs.open(path) -- which does not wait for somebody to write to a FIFO
  if not file then return nil, err, code end
  local head
  head, err, code = file:read(8)
  file:close()
  if not head then return nil, err, code end
  for _, each in ipairs(MAGICS) do
    if head:sub(1, #each[1]) == each[1] then return each[2] end
  end
  return false
end

-- Waits for a step; tells meanwhile how far it is.
local function wait_step(build, deadline, on_progress)
  while true do
    local result, err, code = build:wait(math.min(LOOK, math.max(0, deadline - core.now())))
    if result or code ~= "ETIMEDOUT" then return result, err, code end
    if core.now() >= deadline then return errors.fail("ETIMEDOUT", "read a layer: not done within %d s", LIMIT) end
    if on_progress then on_progress { bytes = build:bytes() } end
  end
end

--- Reads what a command writes as the next layer. Waits.
---@param build userdata a vmctl.RootfsBuild
---@param command string[] and options of vmctl.process.spawn
---@return string|nil digest of what was read, string?, string?
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

local function from_file(build, path, on_progress)
  local file, err, code = core.fs.open(path)
  if not file then return nil, err, code end
  local guard <close> = file -- luacheck: ignore
  local info
  info, err, code = file:stat()
  if not info then return nil, err, code end
  if info.type ~= "file" then return errors.fail("EINVAL", "%s: not a regular file", path) end
  local ok
  ok, err, code = build:layer(file:fileno(), 0, info.size)
  if not ok then return nil, err, code end
  return wait_step(build, core.now() + LIMIT, on_progress)
end

--- Reads a file as the next layer, packed or not. Waits.
---@return string|nil digest of the layer unpacked, string?, string?
function M.from_file(build, path, on_progress)
  local program, err, code = M.program(path)
  if program == nil then return nil, err, code end
  if not program then return from_file(build, path, on_progress) end
  local file <close> = core.fs.open(path)
  if not file then return errors.fail("ENOENT", "%s: it is gone", path) end
  return M.from_command(build, { program, "-dc", stdin = file:fileno() }, on_progress)
end

--- The digest of a file. Waits.
---@return string|nil digest, string?, string?
function M.digest(build, path)
  local file, err, code = core.fs.open(path)
  if not file then return nil, err, code end
  local guard <close> = file -- luacheck: ignore
  local info
  info, err, code = file:stat()
  if not info then return nil, err, code end
  if info.type ~= "file" then return errors.fail("EINVAL", "%s: not a regular file", path) end
  local ok
  ok, err, code = build:digest(file:fileno(), 0, info.size)
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
