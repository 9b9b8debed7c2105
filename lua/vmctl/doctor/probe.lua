--- Inspects this machine: programs and their versions, files, devices. Connects to no other machine.
local core = require "vmctl.core"
local process = require "vmctl.process"

local M = {}

local RUN_TIMEOUT = 20   -- seconds for a program to answer
local OUTPUT = 256 << 10 -- bytes of its answer that are read
local FILE = 64 << 10    -- bytes of a file that are read
local EXECUTABLE = 0x49  -- the three x bits

--- Finds a program in a list of directories, as a shell does.
---@param program string
---@param path string directories between colons
---@return string? file
function M.find(program, path)
  for folder in path:gmatch "[^:]+" do
    local file = folder .. "/" .. program
    local found = core.fs.stat(file)
    if found and found.type == "file" and found.mode & EXECUTABLE ~= 0 then return file end
  end
end

--- The first of the paths that exists.
---@param paths string[]
---@return string?
function M.first(paths)
  for _, path in ipairs(paths) do
    if core.fs.stat(path) then return path end
  end
end

--- Reads the beginning of a file, "" when it can not be read.
---@param path string
---@return string
function M.text(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read(FILE) or ""
  file:close()
  return text
end

--- Checks if a device can be used: opens it for reading and writing, and closes it.
---@param path string
---@return "yes"|"absent"|"refused" state
---@return string detail
function M.device(path)
  if not core.fs.stat(path) then return "absent", path .. " is not there" end
  local file, err = io.open(path, "r+b")
  if not file then return "refused", err end
  file:close()
  return "yes", path .. " can be opened"
end

--- Runs a program and returns its output, standard error included. Waits, at most some seconds.
---@param argv string[] argv[1] is a path
---@return string? output nil: it could not be started, or did not end in time
---@return integer? exit_code
function M.output(argv)
  local child = process.spawn {
    argv[1], argv[2], argv[3], argv[4], stdin = "null", stdout = "pipe", stderr = "stdout", death_signal = "KILL", sweep = true,
  }
  if not child then return nil end
  local closing <close> = child -- luacheck: ignore
  local deadline, parts, size = core.now() + RUN_TIMEOUT, {}, 0
  while size < OUTPUT do
    local bytes, _, code = child.stdout:read(OUTPUT - size, deadline - core.now())
    if not bytes then
      if code == "EOF" then break end
      return nil
    end
    parts[#parts + 1], size = bytes, size + #bytes
  end
  local ended = size < OUTPUT and child:wait(math.max(0, deadline - core.now()))
  if not ended then return nil end
  return table.concat(parts), ended.exit_code
end

return M
