--- The guest's side of a copy through its own tar and sha256sum, which any guest with a shell has. Archives are streamed.
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local exec_sink = require "vmctl.files.exec_sink"
local exec_source = require "vmctl.files.exec_source"
local log = require "vmctl.log"
local scripts = require "vmctl.files.exec_scripts"
local text = require "vmctl.text"

local M = {}

local methods = { has_xattrs = true } -- with a tar that has them
methods.__index = methods

local KEPT = 4096 -- bytes of tar's messages
local MOST_ANSWER = 16384 -- bytes of a script's answer before the files
local AT_A_TIME = 500 -- files in one call of sha256sum

--- Makes the guest's side of a copy.
---@param client vmctl.ExecClient|vmctl.Machine
---@param label string
---@param deadline number
function M.new(client, label, deadline)
  return setmetatable({ _client = client, label = label, _deadline = deadline, _words = {}, _kept = 0 }, methods)
end

--- Seconds until the deadline.
function methods:left()
  return math.max(0, self._deadline - core.now())
end

--- Starts a command.
function methods:start(command)
  return self._client:start(command)
end

--- Runs a small shell command and returns its output. Waits.
function methods:ask(what, script, ...)
  local command = { "sh", "-c", script, "sh", ... }
  command.timeout = self:left()
  local result, err, code = self._client:run(command)
  if not result then return nil, err, code end
  if result.exit_code ~= 0 then
    local why = result.error or log.one_line(text.trim_end(result.stderr), KEPT)
    return errors.fail("EREMOTE", "%s on %s: %s", what, self.label, why ~= "" and why or "failed")
  end
  return result.stdout
end

--- Reads a command's output up to a mark. Waits.
---@param process vmctl.ExecProcess
---@param mark string of one byte
---@return string|nil bytes without the mark, string? rest; or nil, message, code: EOF when the command ended before, string? said
function methods:read_to(process, mark)
  local said = ""
  while #said <= MOST_ANSWER do
    local data, stream, code = process:read(self:left())
    if not data then return nil, stream, code, said end
    if stream == "stderr" then
      self:keep_words(data)
    else
      said = said .. data
      local at = said:find(mark, 1, true)
      if at then return said:sub(1, at - 1), said:sub(at + 1) end
    end
  end
  return errors.fail("EPROTO", "%s: an answer of more than %d bytes", self.label, MOST_ANSWER)
end

--- The agent that runs commands in the guest, if it is one of the exec protocol. Waits.
---@return vmctl.ExecClient|nil client, "vmctl"|"0.2"|"0.1.9"|nil revision
function methods:agent()
  local client = self._client
  if type(client._client) == "function" then client = client:_client() end -- of a machine
  if not client or not client.probe then return nil end
  return client, (client:probe(self:left()))
end

--- Tells if there is an agent of ours whose own program packs or unpacks files. Waits.
---@param what "pack"|"unpack"
---@return boolean
function methods:can(what)
  local client, revision = self:agent()
  return revision == "vmctl" and client.agent ~= nil and client.agent[what] == 1
end

--- The end of tar's messages, in one line.
---@return string
function methods:words()
  return log.one_line(text.trim_end(table.concat(self._words)), KEPT)
end

--- Waits for tar's end, and turns its exit code and last messages into a result.
---@return true|nil, string?, string?, table? record
function methods:outcome(what, process)
  local record, err, code = process:wait(self:left())
  if not record then return nil, err, code end
  if record.exit_code == 0 then return true end
  local words = self:words()
  local how = record.error or record.signal and "killed by signal " .. record.signal or "exit code " .. record.exit_code
  return nil, ("%s on %s: tar: %s: %s"):format(what, self.label, how, words), "EREMOTE", record
end

--- Tells by the record of the agent's own program if it could not be run, so that a shell does its work. What was said of it is dropped.
---@param record? table as from `outcome`
---@return boolean
function methods:could_not_run(record)
  if not record or record.exit_code ~= 126 and record.exit_code ~= 127 then return false end
  self._words, self._kept = {}, 0
  return true
end

--- Keeps the end of tar's messages, for a failure.
function methods:keep_words(data)
  if self._kept >= KEPT then return end
  self._kept = self._kept + #data
  table.insert(self._words, data:sub(1, KEPT))
end

--- Removes the staged files. Waits for that; a caller without time left has it done in the background.
function methods:clean(base, stage, timeout)
  background.spawn("files", function()
    self._client:run { "sh", "-c", scripts.CLEAN, "sh", base, stage, timeout = timeout }
  end):join(timeout)
end

--- A sink for files in the guest. See vmctl.files.exec_sink.
function methods:sink(aims, how, scope)
  return exec_sink.new(self, aims, how, scope)
end

--- Files and folders of the guest. See vmctl.files.exec_source.
function methods:source(path, folder, name, xattrs)
  return exec_source.new(self, path, folder, name, xattrs)
end

-- Check sums

local function full(top, path)
  return top .. (path ~= "" and "/" .. path or "")
end

-- sha256sum escapes names with line breaks or backslashes. Each of those files gets a call of its own.
local function hash_one(self, top, path)
  local out, err, code = self:ask("read " .. path, '[ -e "$1" ] || { echo -; exit 0; }; sha256sum < "$1"', full(top, path))
  if not out then return nil, err, code end
  return out:match "^%x+" or false
end

-- The result is false for files that no longer exist.
local function hash_many(self, top, paths, from, to)
  local names = {}
  for i = from, to do names[#names + 1] = full(top, paths[i]) .. "\0" end
  local result, err, code = self._client:run { "xargs", "-0", "sha256sum", "--", stdin = table.concat(names), timeout = self:left(),
    max_output = math.maxinteger }
  if not result then return nil, err, code end
  local found = {}
  for line in result.stdout:gmatch "[^\n]+" do
    local sum = line:match "^%x+"
    if sum and #sum == 64 then found[line:sub(67)] = sum end
  end
  local list, missing = {}, false
  for i = from, to do
    list[#list + 1] = found[full(top, paths[i])] or false
    missing = missing or not list[#list]
  end
  local gone = result.stderr:find("No such file", 1, true) or result.stderr:find("No such process", 1, true)
  if missing and not gone then
    return errors.fail("EREMOTE", "check sums on %s: %s", self.label, log.one_line(text.trim_end(result.stderr), KEPT))
  end
  return list
end

local function is_plain(path)
  return not path:find "[\n\\\r]"
end

--- The SHA-256 sums of files below `top`, in hexadecimal, in the order of the paths; false for a file that no longer exists. Waits.
---@return (string|false)[]|nil, string?, string?
function methods:hashes(top, paths)
  local all, from = {}, 1
  while from <= #paths do
    local to = from
    if is_plain(paths[from]) then
      while to < #paths and to - from + 1 < AT_A_TIME and is_plain(paths[to + 1]) do to = to + 1 end
      local list, err, code = hash_many(self, top, paths, from, to)
      if not list then return nil, err, code end
      table.move(list, 1, #list, from, all)
    else
      local hex, err, code = hash_one(self, top, paths[from])
      if hex == nil then return nil, err, code end
      all[from] = hex
    end
    from = to + 1
  end
  return all
end

--- The current sizes and times of files below `top`. Waits.
---@param files { path: string }[]
---@return { size: integer, mtime: integer }[] by index; nil for a file whose state could not be read
function methods:states(top, files)
  local list = {}
  for i, file in ipairs(files) do
    local out = self:ask("look at " .. file.path, 'stat -c "%s %Y" -- "$1"', full(top, file.path))
    local size, mtime = (out or ""):match "^(%d+) (%-?%d+)"
    list[i] = size and { size = math.tointeger(tonumber(size)), mtime = math.tointeger(tonumber(mtime)) } or false
  end
  return list
end

return M
