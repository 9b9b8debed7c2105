--- Which version a QEMU has: it is asked, once for each program.
local errors = require "vmctl.errors"
local process = require "vmctl.process"

local M = {}

local LINE, LIMIT = 400, 10 -- bytes of its first line; seconds

local known = {}

--- Parses what `--version` prints.
---@param line string "QEMU emulator version 7.2.22 (Debian …)"
---@return number|nil version 7.02 for 7.2, 10.01 for 10.1
function M.parse(line)
  local major, minor = line:match "version (%d+)%.(%d+)"
  return major and tonumber(major) + tonumber(minor) / 100
end

--- The version of a QEMU, as a number that can be compared: 7.02 for 7.2. Waits for the program at the first call.
---@param program string
---@return number|nil version, string?, string? code ENOENT, EPROTO …
function M.of(program)
  if known[program] then return known[program] end
  local child <close>, err, code = process.spawn { program, "--version", stdout = "pipe", stderr = "null", stdin = "null" } -- luacheck: ignore
  if not child then return nil, err, code end
  local line = child.stdout:read_line(LINE, LIMIT) or ""
  known[program] = M.parse(line)
  if known[program] then return known[program] end
  return errors.fail("EPROTO", "%s --version says no version, but: %s", program, line)
end

return M
