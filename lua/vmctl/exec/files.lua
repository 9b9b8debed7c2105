--- Files through the exec protocol: by its file messages if the agent knows them, else by shell commands.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local go_mode = require "vmctl.base.go_mode"
local json = require "vmctl.json"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local runner = require "vmctl.process.collect"
local shape = require "vmctl.json.shape"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local SAID = 1000        -- bytes of the agent's reason in a message
local MESSAGE = 16 << 20 -- bytes of content that one message carries: the reference reads no larger file
local MOST_VALUES = 1 << 20 -- of an answer: a folder of 200,000 files
local AS_IT_IS = 97      -- exit code of READ_LARGE: the agent's refusal stands

local ANSWER = { error = "string?", too_large = "boolean?", content = "string?", files = { optional = true,
  each = { name = "string?", name_b64 = "string?", size = "integer?", mode = "integer?", is_dir = "boolean?" } } }

local function ask_file(self, what, type, body, timeout)
  local deadline = core.now() + (timeout or self._timeout)
  local text, bad, code = json.encode(body)
  if not text then return nil, ("%s: %s"):format(what, bad), code end
  local answer, payload
  answer, payload, code = self:_ask(type, text, deadline)
  if not answer then return nil, ("%s: %s"):format(what, payload), code end
  if json.is_crowded(payload, MOST_VALUES) then return errors.fail("ETOOBIG", "%s: over %d values in an answer", what, MOST_VALUES) end
  local result = answer == T.FILE_RESULT and json.decode(payload)
  local why = shape.wrong(result, ANSWER, "it")
  if why then return errors.fail("EPROTO", "%s: not an answer of the file service: %s", what, why) end
  if result.error and result.error ~= "" then
    return nil, ("%s: %s"):format(what, log.one_line(result.error, SAID)), "EREMOTE", result.error, result.too_large
  end
  return result
end

local function has_messages(self, path, timeout)
  local revision, err, code = self:probe(timeout)
  if not revision then return nil, err, code end
  if revision == "vmctl" or not self._no_files then return revision ~= "0.1.9" and utf8.len(path) ~= nil, revision end
  return false, revision
end

local function run_checked(self, what, command, timeout)
  command.timeout, command.check = timeout, true
  local done, err, code, record = self:run(command)
  if not done then return nil, ("%s: %s"):format(what, err), code == "EEXIT" and "EREMOTE" or code, record end
  return done
end

-- $1: the path, $2: the temporary file beside it, $3: the mode; empty: that of an old file, else 0644.
-- A link is followed: its target is replaced.
local FOLLOW = [[if [ -L "$1" ]; then to=$(readlink -f -- "$1" && echo .); to=${to%??}; set -- "$to" "$to.${2##*.}" "$3"; fi
]]
local BEGIN = "set -e; " .. FOLLOW .. [[if [ -e "$1" ] && [ ! -f "$1" ]; then echo "$1: not a regular file" >&2; exit 1; fi
mkdir -p -- "$(dirname -- "$1")"; trap 'rm -f -- "$2"' EXIT; ]]
local FINISH = FOLLOW .. [[mode=${3:-$(stat -c %a -- "$1" 2>/dev/null || echo 644)}; chmod -- "$mode" "$2"; mv -f -- "$2" "$1"]]

local function temporary_name(path)
  return ("%s.vmctl-%x"):format(path, math.random(1 << 31))
end

local function octal(mode)
  return mode and ("%o"):format(mode) or ""
end

local function write_by_command(self, what, path, content, mode, deadline)
  local p, err, code = self:start { "sh", "-c", BEGIN .. 'cat > "$2"; ' .. FINISH, "sh", path, temporary_name(path), octal(mode),
    stdin = "whole", timeout = deadline - core.now() }
  local done, record
  if p then done, err, code, record = runner.finish(p, { stdin = content, check = true }, deadline) end
  if not done then return nil, ("%s: %s"):format(what, err), code == "EEXIT" and "EREMOTE" or code, record end
  return true
end

--- Writes a file in the guest, and creates its folders. An old file is replaced as a whole (by a rename); of a link, its target. Waits.
---@param path string
---@param content string
---@param opts? { mode: integer?, timeout: number? } without a mode an old file keeps its own, and a new one has 0644
---@return true|nil, string?, string? code EREMOTE with the guest's reason …
function M:write_file(path, content, opts)
  opts = options.check(opts, { mode = "integer>=0<=4095", timeout = "number" }, "write_file")
  local mode, timeout = opts.mode, opts.timeout
  local what = ("write %s on %s"):format(path, self.address)
  local messages, revision, code = has_messages(self, path, timeout)
  if messages == nil then return nil, revision, code end
  if messages and revision == "vmctl" and #content <= MESSAGE then -- the reference's own message does not replace, nor set modes
    local body = json.object { path = path, content = core.base64_encode(content), mode = mode, exact_mode = true }
    local ok, err, why, said = ask_file(self, what, T.WRITE_FILE, body, timeout)
    if not ok then return nil, err, why, said end
    return true
  end
  return write_by_command(self, what, path, content, mode, core.now() + (timeout or self._timeout))
end

-- Only large files: others were refused for another reason, and reading them may never end.
local READ_LARGE = ('if [ -f "$1" ] && [ "$(stat -L -c %%s -- "$1")" -gt %d ]; then exec cat -- "$1"; fi; exit %d')
  :format(MESSAGE, AS_IT_IS)

-- Reads a file by a command, which no agent limits. `refused`: the agent's refusal.
local function read_by_command(self, what, path, timeout, refused)
  local command = refused and { "sh", "-c", READ_LARGE, "sh", path } or { "cat", "--", path }
  command.max_output = math.maxinteger
  local done, err, code, said = run_checked(self, what, command, timeout)
  if done then return done.stdout end
  if not refused or code == "EREMOTE" and said.exit_code ~= AS_IT_IS then return nil, err, code, said end
  return nil, table.unpack(refused)
end

--- Reads a file of the guest, of any size. Waits.
---@param path string
---@param opts? { timeout: number? }
---@return string|nil content, string?, string? code EREMOTE with the guest's reason …
function M:read_file(path, opts)
  local timeout = options.check(opts, { timeout = "number" }, "read_file").timeout
  local what = ("read %s on %s"):format(path, self.address)
  local messages, revision, code = has_messages(self, path, timeout)
  if messages == nil then return nil, revision, code end
  if messages then
    local result, err, why, said, too_large = ask_file(self, what, T.READ_FILE, { path = path }, timeout)
    local content = result and core.base64_decode(result.content or "")
    if content then return content end
    if result then return errors.fail("EPROTO", "%s: a content that is no base64", what) end
    if why == "EREMOTE" and not too_large then
      if revision == "vmctl" then return nil, err, why, said end
      return read_by_command(self, what, path, timeout, { err, why, said }) -- agents word "too large" differently
    end
    if why ~= "EREMOTE" and why ~= "ETOOBIG" and why ~= "EOF" and why ~= "ECONNRESET" then return nil, err, why, said end
  end
  return read_by_command(self, what, path, timeout)
end

-- The types by the names that `stat -c %F` has for them.
local TYPES = { directory = "directory", ["symbolic link"] = "link", fifo = "fifo", socket = "socket",
  ["character special file"] = "char", ["block special file"] = "block" }

local function list_by_shell(self, what, path, timeout)
  local script = [[cd -- "$1" && for f in * .*; do case "$f" in .|..) continue;; esac; [ -e "$f" ] || [ -L "$f" ] || continue
stat -c '%s %a %F/%n' -- "$f"; done]]
  local done, err, code = run_checked(self, what, { "sh", "-c", script, "sh", path }, timeout)
  if not done then return nil, err, code end
  local files = {}
  for line in done.stdout:gmatch "[^\n]+" do
    local size, mode, kind, name = line:match "^(%d+) ([0-7]+) ([^/]*)/(.*)$"
    if name and (name == "" or name:find("[/\0]")) then return errors.fail("EPROTO", "%s: a name that is none", what) end
    if size and #size < 19 and #mode < 8 then
      files[#files + 1] = { name = name, size = math.tointeger(tonumber(size)), mode = tonumber(mode, 8),
        type = TYPES[kind] or "file", is_dir = kind == "directory" }
    end
  end
  return files
end

--- Lists a folder of the guest. Waits.
---@param path string
---@param opts? { timeout: number? }
---@return { name: string, size: integer, mode: integer, type: string, is_dir: boolean }[]|nil files mode: the permissions with the
--- bits above them; type: "file", "directory", "link", "fifo", "socket", "char", "block"
---@return string?, string?
function M:list_files(path, opts)
  local timeout = options.check(opts, { timeout = "number" }, "list_files").timeout
  local what = ("list %s on %s"):format(path, self.address)
  local messages, revision, code = has_messages(self, path, timeout)
  if messages == nil then return nil, revision, code end
  if not messages then return list_by_shell(self, what, path, timeout) end
  local result, err, why, said = ask_file(self, what, T.LIST_FILES, { path = path }, timeout)
  if revision == "0.2" and (why == "EOF" or why == "ECONNRESET") then
    self._no_files = true -- of the revisions between
    return list_by_shell(self, what, path, timeout)
  end
  if not result then return nil, err, why, said end
  local files = {}
  for i, file in ipairs(result.files or {}) do
    local name = file.name_b64 and core.base64_decode(file.name_b64) or file.name
    if not name or name == "" or name:find("[/\0]") then return errors.fail("EPROTO", "%s: a name that is none", what) end
    local mode, kind = go_mode.to_posix((file.mode or 0) & 0xffffffff)
    files[i] = { name = name, size = file.size or 0, mode = mode & 4095, type = file.is_dir and "directory" or kind,
      is_dir = file.is_dir or false }
  end
  return files
end

return M
