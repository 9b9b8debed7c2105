--- The steps of building an image: files and commands, whose failures name the step and the path.
local core = require "vmctl.core"
local process = require "vmctl.process"
local texts = require "vmctl.text"

local M = {}

local ERRNO = { [1] = "EPERM", [2] = "ENOENT", [13] = "EACCES", [17] = "EEXIST", [20] = "ENOTDIR", [21] = "EISDIR",
  [28] = "ENOSPC", [30] = "EROFS" }

--- The failure of a step on a path. Lua's io puts the path in front of the reason by itself.
---@param step string
---@param path string
---@param why string
---@param code integer|string|nil
---@return nil, string message, string code
function M.fail(step, path, why, code)
  local prefix = path .. ": "
  if why:sub(1, #prefix) == prefix then why = why:sub(#prefix + 1) end
  return nil, ("image: %s %s: %s"):format(step, path, why), ERRNO[code] or type(code) == "string" and code or "EIO"
end

--- A path, quoted for the shell. A relative one gets "./", so that it is not taken for an option or looked up in PATH.
---@param path string
---@return string
function M.quote(path)
  if path:sub(1, 1) ~= "/" then path = "./" .. path end
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

--- Opens a file; a folder is a failure. Does not wait.
---@param step string
---@param path string
---@param mode string as for io.open
---@return userdata|nil file, string?, string?
function M.open_file(step, path, mode)
  local handle, why, number = io.open(path, mode)
  if not handle then return M.fail(step, path, why, number) end
  if mode == "rb" then why, number = select(2, handle:read(0)) end      -- a folder can be opened, but not read
  if not number then return handle end
  handle:close()
  return M.fail(step, path, why, number)
end

--- The bytes of a file. Does not wait.
---@param step string
---@param path string
---@return string|nil, string?, string?
function M.read_file(step, path)
  local handle, why, code = M.open_file(step, path, "rb")
  if not handle then return nil, why, code end
  local bytes, reason, number = handle:read "a"
  handle:close()
  if not bytes then return M.fail(step, path, reason, number) end
  return bytes
end

local PIECE, LIMIT = 1 << 20, 600 -- bytes that are read at a time; seconds for a command

local function read_all(stream, deadline)
  local parts = {}
  while true do
    local data, err, code = stream:read(PIECE, deadline - core.now())
    if not data and code ~= "EOF" then return nil, err, code end
    if not data then return table.concat(parts) end
    parts[#parts + 1] = data
  end
end

--- The output of a shell command, standard error included, which is the reason if it fails. Waits.
---@param step string
---@param path string
---@param command string
---@return string|nil, string?, string? code EIO: it failed; ETIMEDOUT: it took ten minutes
function M.run(step, path, command)
  local deadline = core.now() + LIMIT
  local child <close>, err, code = process.spawn { "sh", "-c", command, stdout = "pipe", stderr = "stdout", stdin = "null" } -- luacheck: ignore
  if not child then return M.fail(step, path, err, code) end
  local output, record
  output, err, code = read_all(child.stdout, deadline)
  if output then record, err, code = child:wait(deadline - core.now()) end
  if not record then return M.fail(step, path, err, code) end
  if record.exit_code == 0 then return output end
  local how = record.signal and "signal " .. record.signal or "exit status " .. record.exit_code
  return M.fail(step, path, output:find "%S" and texts.last_line(texts.trim_end(output)) or how, "EIO")
end

return M
