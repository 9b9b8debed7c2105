--- Reads files out of a guest through its tar: the archive, and tar's messages about changed and vanished files.
local errors = require "vmctl.errors"
local reader = require "vmctl.tar.read"
local scripts = require "vmctl.files.exec_scripts"
local text = require "vmctl.text"

local M = {}

local MOST_LINE = 16384 -- bytes of a line of tar's messages

local source = {}
source.__index = source

-- Turns "./name/a/b", as tar prints it, into "a/b".
local function relative(name, path)
  if path:sub(1, 2) == "./" then path = path:sub(3) end
  path = text.strip_slashes(path):match "^/*(.*)$"
  if path == name then return "" end
  if path:sub(1, #name + 1) == name .. "/" then return path:sub(#name + 2) end
  return path
end

local CHANGED = { ": file changed as we read it", "; padding with zeros" }
local VANISHED = { ": File removed before we read it", ": Cannot stat: No such file or directory",
  ": Cannot open: No such file or directory", ": Cannot open: No such process", ": Cannot savedir: No such file or directory",
  ": No such file or directory" }

local function behind(line, endings)
  for _, ending in ipairs(endings) do
    if #line > #ending and line:sub(-#ending) == ending then return line:sub(1, -#ending - 1) end
  end
end

-- Parses a line of tar's messages: about an entry that has changed or vanished, or something else.
local function take_line(self, job, line)
  local said = line:sub(1, 5) == "tar: " and line:sub(6) or line
  local path = behind(said, CHANGED)
  local list = path and "changed" or "vanished"
  if path then
    local shrunk = path:find(": File shrank by ", 1, true)
    if shrunk then path = path:sub(1, shrunk - 1) end
  else
    path = behind(said, VANISHED)
    if path and path:sub(1, 12) == "can't open '" and path:sub(-1) == "'" then path = path:sub(13, -2) end -- busybox
  end
  if path then
    path = relative(self._name, path)
    if path ~= "" or list == "changed" then
      self._live = true
      return job.note(list, path)
    end
  end
  if said:sub(1, 31) == "Exiting with failure status due" or said:sub(1, 18) == "error exit delayed" then return end
  self._failed = true
  self.guest:keep_words(line .. "\n")
end

local function take_words(self, job, data)
  local at = 1
  while true do
    local feed = data:find("\n", at, true)
    if not feed then break end
    self._line = self._line .. data:sub(at, feed - 1)
    take_line(self, job, self._line)
    self._line, at = "", feed + 1
  end
  self._line = (self._line .. data:sub(at)):sub(1, MOST_LINE)
end

-- tar's standard output, in the form that the archive reader takes.
local function output(self, job)
  local process, rest, from = self._process, self._rest, 1
  local function more()
    while from > #rest do
      local data, stream, code = process:read(self.guest:left())
      if not data then return nil, stream, code end
      if stream == "stdout" then rest, from = data, 1 else take_words(self, job, data) end
    end
    return true
  end
  local function read(_, n)
    local ok, err, code = more()
    if not ok then return nil, err, code end
    local data = rest:sub(from, from + n - 1)
    from = from + #data
    return data
  end
  local function skip(_, n)
    while n > 0 do
      local data = read(nil, math.min(n, scripts.PIECE))
      if not data then return false end
      n = n - #data
    end
    return true
  end
  return { read = read, skip = skip, drain = function() while more() do from = #rest + 1 end end }
end

-- After a failure of tar: true if all its messages are about entries that have changed or vanished.
local function is_live(self, record)
  return self._live and not self._failed and record ~= nil and (record.exit_code == 1 or record.exit_code == 2)
end

local function close(self)
  if self._process then self._process:close() end
end

-- Starts the packing command, and reads its first line. Uses a shell if the agent's own program cannot be run after all.
local function begin(self, packer)
  local guest = self.guest
  local command = { self._path, self._folder, self._name, self._xattrs, stdin = false }
  table.move(command, 1, 4, #packer + 1)
  table.move(packer, 1, #packer, 1, command)
  local process, err, code = guest:start(command)
  if not process then return nil, err, code end
  self._process = process
  local kind
  kind, self._rest, code = guest:read_to(process, "\n")
  if kind then return kind end
  if code ~= "EOF" then return nil, self._rest, code end
  local ended, why, how, record = guest:outcome("look at " .. self._path, process)
  if ended then return errors.fail("EPROTO", "look at %s on %s: not an answer", self._path, guest.label) end
  if packer == scripts.PACKER and guest:could_not_run(record) then
    close(self)
    return begin(self, scripts.SHELL_PACKER)
  end
  return nil, why, how
end

--- Starts to read. Returns the type: "directory", "file", "link", "other" (a FIFO, a device), or "none". Waits.
---@return string|nil, string?, string?
function source:type()
  return begin(self, self.guest:can "pack" and scripts.PACKER or scripts.SHELL_PACKER)
end

--- Visits all entries, once the type is known. See vmctl.files.copy.
function source:each(visit, job)
  local guest, name = self.guest, self._name
  self._line = ""
  local stream = output(self, job)
  local ok, err, code = reader.each(stream, function(entry, read)
    entry.path = relative(name, entry.path)
    return visit(entry, read)
  end, job.max_entries)
  if not ok and code ~= "EPROTO" then return nil, err, code end
  stream.drain()
  if self._line ~= "" then take_line(self, job, self._line) end
  local ended, why, how, record = guest:outcome("read " .. name, self._process)
  if not ended and not (ok and is_live(self, record)) then return nil, why, how end
  return ok, err, code
end

--- The target of a hard link in the archive, as a path below the top.
function source:relative(path)
  return relative(self._name, path)
end

--- Ends the packing command if it still runs. Idempotent, never waits.
source.close = close

--- Makes a source of files and folders of the guest.
---@param guest table vmctl.files.exec
---@param path string as the user has it
---@param folder string the same path, its folder
---@param name string and the name in it
---@param xattrs? boolean extended attributes are to come as well: those of users
function M.new(guest, path, folder, name, xattrs)
  return setmetatable({ guest = guest, _path = path, _folder = folder, _name = name, _xattrs = xattrs and "x" or "", guess = true },
    source)
end

return M
