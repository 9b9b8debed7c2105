--- The guest's side of a copy by its own tar and sha256sum, which any guest with a shell has: streams, no copy in between.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local task = require "vmctl.base.task"
local reader = require "vmctl.tar.read"
local writer = require "vmctl.tar.write"

local M = {}

local methods = {}
methods.__index = methods

local KEPT = 4096 -- bytes of what tar says
local PIECE = 256 << 10
local AT_A_TIME = 500 -- files of one sha256sum

--- The guest's side.
---@param client vmctl.ExecClient|vmctl.Machine
---@param label string
---@param deadline number
function M.new(client, label, deadline)
  return setmetatable({ _client = client, label = label, _deadline = deadline }, methods)
end

local function left(self)
  return math.max(0, self._deadline - core.now())
end

-- A small shell command; its output.
local function ask(self, what, script, ...)
  local command = { "sh", "-c", script, "sh", ... }
  command.timeout = left(self)
  local result, err, code = self._client:run(command)
  if not result then return nil, err, code end
  if result.exit_code ~= 0 then
    local why = result.error or result.stderr:gsub("%s+$", "")
    return errors.fail("EREMOTE", "%s on %s: %s", what, self.label, why ~= "" and why or "failed")
  end
  return result.stdout
end

--- What is at a path: "directory", "file" (anything else), or "none".
---@return string|nil, string?, string?
function methods:type(path)
  local out, err, code = ask(self, "look at " .. path,
    'if [ -d "$1" ]; then echo directory; elif [ -e "$1" ] || [ -L "$1" ]; then echo file; else echo none; fi', path)
  return out and out:match "%a+", err, code
end

-- tar's end: its exit code and its last words.
local function outcome(self, what, process)
  local record, err, code = process:wait(left(self))
  if not record then return nil, err, code end
  if record.exit_code == 0 then return true end
  local words = table.concat(self._words or {}):gsub("%s+$", "")
  local how = record.signal and "killed by signal " .. record.signal or "exit code " .. record.exit_code
  return errors.fail("EREMOTE", "%s on %s: tar: %s: %s", what, self.label, how, words)
end

local function keep_words(self, data)
  self._words = self._words or {}
  self._kept = (self._kept or 0) + #data
  if self._kept <= KEPT then table.insert(self._words, data) end
end

-- Into the guest

local sink = {}
sink.__index = sink

-- What tar says is read meanwhile: it would stand still else.
local function listen(self, process)
  while true do
    local data, _, code = process:read(math.huge)
    if not data then return code end
    keep_words(self.guest, data)
  end
end

function sink:put(entry, read)
  local path = self._name .. (entry.path ~= "" and "/" .. entry.path or "")
  local named = setmetatable({ path = path }, { __index = entry })
  local ok, err, code = writer.entry(self._write, named, read)
  if ok then return true end
  if code == "EPIPE" or code == "ESRCH" then -- tar has ended: it says why
    self._listener:join(left(self.guest))
    local done, why, how = outcome(self.guest, "write " .. path, self._process)
    return nil, done and err or why, done and code or how
  end
  return nil, err, code
end

function sink:finish()
  local ok, err, code = writer.finish(self._write)
  if ok then ok, err, code = self._process:close_stdin(left(self.guest)) end
  if not ok then return nil, err, code end
  self._listener:join(left(self.guest))
  return outcome(self.guest, "write", self._process)
end

function sink:close()
  if self._listener then self._listener:cancel() end
  self._process:close()
end

--- A place in the guest that gets files.
---@param folder string made if it is not there
---@param name string of the top there
---@param owner "keep"|"target"
---@param scope vmctl.Scope
---@return table|nil, string?, string?
function methods:sink(folder, name, owner, scope)
  local script = 'mkdir -p -- "$1" && cd -- "$1" && exec tar -x' .. (owner == "keep" and "p" or "o") .. "f -"
  local process, err, code = self._client:start { "sh", "-c", script, "sh", folder }
  if not process then return nil, err, code end
  local made = setmetatable({ guest = self, _process = process, _name = name }, sink)
  made._write = function(data)
    if data == "" then return true end
    return process:write(data, left(self))
  end
  made._listener = task.spawn_in(scope, listen, made, process)
  return made
end

-- Out of the guest

local source = {}
source.__index = source

-- tar's standard output as what the reader of archives reads.
local function output(self, process)
  local rest = ""
  local function more()
    while rest == "" do
      local data, stream, code = process:read(left(self))
      if not data then return nil, stream, code end
      if stream == "stdout" then rest = data else keep_words(self, data) end
    end
    return true
  end
  local function read(_, n)
    local ok, err, code = more()
    if not ok then return nil, err, code end
    local data = #rest <= n and rest or rest:sub(1, n)
    rest = #rest <= n and "" or rest:sub(n + 1)
    return data
  end
  local function skip(_, n)
    while n > 0 do
      local data = read(nil, math.min(n, PIECE))
      if not data then return false end
      n = n - #data
    end
    return true
  end
  return { read = read, skip = skip, drain = function() while more() do rest = "" end end }
end

-- From "./name/a/b" as tar says it to "a/b".
local function relative(name, path)
  path = path:gsub("^%./", ""):gsub("^/+", ""):gsub("/+$", "")
  if path == name then return "" end
  if path:sub(1, #name + 1) == name .. "/" then return path:sub(#name + 2) end
  return path
end

function source:each(visit)
  local guest, name = self.guest, self._name
  local process <close>, err, code = guest._client:start { "sh", "-c", 'cd -- "$1" && exec tar -cf - -- "$2"', "sh", self._folder,
    name, stdin = false } -- luacheck: ignore
  if not process then return nil, err, code end
  local stream = output(guest, process)
  local ok
  ok, err, code = reader.each(stream, function(entry, read)
    entry.path = relative(name, entry.path)
    return visit(entry, read)
  end)
  if not ok and code ~= "EPROTO" then return nil, err, code end
  stream.drain()
  local ended, why, how = outcome(guest, "read " .. name, process)
  if not ended then return nil, why, how end
  return ok, err, code
end

--- What a hard link in the archive says, as a path below the top.
function source:relative(path)
  return relative(self._name, path)
end

--- Files and folders of the guest.
---@param folder string
---@param name string in it
function methods:source(folder, name)
  return setmetatable({ guest = self, _folder = folder, _name = name }, source)
end

-- Check sums

-- Names with line breaks or backslashes come out in ways of their own: each of those files is asked for alone.
local function hash_one(self, top, path)
  local out, err, code = ask(self, "read " .. path, 'sha256sum < "$1"', top .. (path ~= "" and "/" .. path or ""))
  if not out then return nil, err, code end
  return out:match "^%x+"
end

local function hash_many(self, top, paths, from, to)
  local names = {}
  for i = from, to do names[#names + 1] = top .. (paths[i] ~= "" and "/" .. paths[i] or "") .. "\0" end
  local result, err, code = self._client:run { "xargs", "-0", "sha256sum", "--", stdin = table.concat(names), timeout = left(self) }
  if not result then return nil, err, code end
  if result.exit_code ~= 0 then
    return errors.fail("EREMOTE", "check sums on %s: %s", self.label, (result.stderr:gsub("%s+$", "")))
  end
  local list = {}
  for line in result.stdout:gmatch "[^\n]+" do list[#list + 1] = line:match "^(%x+) " end
  if #list ~= to - from + 1 then return errors.fail("EPROTO", "check sums on %s: %d of %d came", self.label, #list, to - from + 1) end
  return list
end

local function is_plain(path)
  return not path:find "[\n\\\r]"
end

--- The SHA-256 sums of files below `top`, in hexadecimal, in the order of the paths.
---@return string[]|nil, string?, string?
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
      if not hex then return nil, err, code end
      all[from] = hex
    end
    from = to + 1
  end
  return all
end

return M
