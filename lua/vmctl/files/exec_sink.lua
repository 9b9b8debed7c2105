--- Copies into a guest through its tar. The archive is unpacked into a staging folder on the destination's file system; then each file
--- is renamed to its path. After a failure the staged files are removed, and the old files are still there.
local content = require "vmctl.files.content"
local errors = require "vmctl.errors"
local scripts = require "vmctl.files.exec_scripts"
local task = require "vmctl.base.task"
local writer = require "vmctl.tar.write"

local M = {}

local CLEANUP = 10 -- seconds
local PRIVILEGES = content.PRIVILEGES
local KEPT = { ["security.capability"] = true, ["system.posix_acl_access"] = true, ["system.posix_acl_default"] = true }
local MOST_OCTAL = 0x1fffff -- the largest owner that every tar knows

local sink = { hard = true }
sink.__index = sink

-- Reads tar's messages in a task of its own, because tar would block on a full pipe.
local function listen(self, process)
  while true do
    local data, stream, code = process:read(math.huge)
    if not data then return code or "EOF" end
    if stream == "stderr" then self.guest:keep_words(data) end
  end
end

-- The attributes that have the same meaning in the guest. A capability is a privilege, as set-user-id bits are.
local function xattrs_for(self, all)
  local kept = {}
  for name, value in pairs(all) do
    local is_privilege = name == "security.capability" and self._owner == "target"
    if (name:find "^user%." or KEPT[name]) and not is_privilege then kept[name] = value end
  end
  return kept
end

-- The entry as it is sent: below the staging folder, and without set-user-id and set-group-id when the owner changes.
local function staged(self, entry)
  local new = { path = self._prefix .. (entry.path ~= "" and "/" .. entry.path or "") }
  if entry.type == "hard" then new.link = self._prefix .. "/" .. entry.link end
  if entry.type == "directory" then new.mode, new.uid, new.gid = 448, 0, 0 end -- 0700 until it is filled
  if self._owner == "target" then new.mode, new.uid, new.gid = (new.mode or entry.mode) & ~PRIVILEGES, 0, 0 end
  if entry.xattrs then new.xattrs = xattrs_for(self, entry.xattrs) end
  return setmetatable(new, { __index = entry })
end

-- True if the script ended by itself, and so has removed the staged files. A script that was killed has not.
local function has_cleaned(code, record)
  return code == "EREMOTE" and record ~= nil and record.exit_code ~= nil and not record.signal
end

-- The reason of tar's failure.
local function ended(self, path, err, code)
  local heard, late, timeout = self._listener:join(self.guest:left())
  if not heard then return nil, late, timeout end
  local done, why, how, record = self.guest:outcome("write " .. path, self._process)
  self._over = done or has_cleaned(how, record)
  return nil, done and err or why, done and code or how
end

local function send(self, entry, read)
  local ok, err, code = writer.entry(self._write, entry, read, self._knows)
  if ok then return true end
  if code == "EPIPE" or code == "ESRCH" then return ended(self, entry.path, err, code) end
  return nil, err, code
end

-- A short file is read before its header is sent, so the header has its actual size also on file systems that report none.
local function read_ahead(entry, read)
  local parts, size = {}, 0
  repeat
    local data, err, code = read(scripts.PIECE)
    if not data and err then return nil, err, code end
    parts[#parts + 1] = data
    size = size + #(data or "")
    if not data or data == "" then return table.concat(parts), true end
  until size >= scripts.PIECE and size >= entry.size
  return table.concat(parts), false
end

local function put_file(self, entry, read)
  if entry.map or entry.size > scripts.PIECE then return send(self, staged(self, entry), read) end
  local head, whole, code = read_ahead(entry, read)
  if not head then return nil, whole, code end
  local new = staged(self, entry)
  new.size = #head
  local rest = head
  return send(self, new, function(n)
    local data = rest:sub(1, n)
    rest = rest:sub(n + 1)
    return data
  end)
end

function sink:put(entry, read)
  if self._owner == "keep" and (entry.uid > MOST_OCTAL or entry.gid > MOST_OCTAL) and not self._odd then self._odd = entry end
  if entry.type == "directory" then table.insert(self._folders, entry) end
  if entry.type == "file" then return put_file(self, entry, read) end
  return send(self, staged(self, entry))
end

local function send_text(self, name, text, like)
  local entry = { path = name, type = "file", mode = 384, uid = like and like.uid or 0, gid = like and like.gid or 0, mtime = 0,
    size = #text }
  return send(self, entry, function() return text end)
end

-- Sends the folders again in an archive of their own, inner ones first. It sets their modes, owners and times after all files have
-- been moved.
local function send_folders(self)
  if #self._folders == 0 then return true end
  local parts = {}
  local function write(bytes)
    parts[#parts + 1] = bytes
    return true
  end
  for i = #self._folders, 1, -1 do
    local entry = self._folders[i]
    local new = { path = entry.path == "" and "." or "./" .. entry.path }
    if self._owner == "target" then new.mode, new.uid, new.gid = entry.mode & ~PRIVILEGES, 0, 0 end
    if entry.xattrs then new.xattrs = xattrs_for(self, entry.xattrs) end
    writer.entry(write, setmetatable(new, { __index = entry }), nil, self._knows)
  end
  writer.finish(write)
  return send_text(self, "folders", table.concat(parts))
end

--- Ends the archive, and moves the staged files to their paths.
function sink:finish()
  local ok, err, code = true, nil, nil
  if self._odd then ok, err, code = send_text(self, "owner", ("%d:%d"):format(self._odd.uid, self._odd.gid), self._odd) end
  if ok then ok, err, code = send_folders(self) end
  if ok then ok, err, code = writer.finish(self._write) end
  if ok then ok, err, code = self._process:close_stdin(self.guest:left()) end
  if not ok then
    if code == "EPIPE" or code == "ESRCH" then return ended(self, "", err, code) end
    return nil, err, code
  end
  ok, err, code = self._listener:join(self.guest:left())
  if not ok then return nil, err, code end
  local record
  ok, err, code, record = self.guest:outcome("write", self._process)
  self._over = ok or has_cleaned(code, record)
  return ok, err, code
end

--- Closes the sink. After a failure that tar did not notice, removes the staged files.
function sink:close()
  if self._listener then self._listener:cancel() end
  self._process:close()
  if self._over or not self._base then return end -- without its answer the script has staged nothing
  self._over = true
  self.guest:clean(self._base, self._stage, CLEANUP)
end

-- Takes the script's answer: the type of the destination; unless that is a device or there is no name, the kind of tar, if the name is a
-- folder, and where files are staged.
local function take_answer(self, answer, aims)
  local there, rest = answer:match "^(%a+)\n(.*)$"
  local aim = there == "directory" and aims.inside or aims.itself
  if there == "other" then return errors.fail("EEXIST", "it is there, and no regular file") end
  if there and aim.name == "" then return errors.fail("EINVAL", "the copy needs a name") end
  self.folder, self.name, self._prefix = aim.folder, aim.name, "t/" .. aim.name
  local kind, place, base = (rest or ""):match "^(%a+)\n(%a+)\n(.*)$"
  if not kind or place ~= "folder" and place ~= "other" then
    return errors.fail("EPROTO", "prepare %s on %s: not an answer", aim.folder, self.guest.label)
  end
  local has_all = kind == "gnu" or kind == "vmctl"
  if self._wants_xattrs and not has_all then
    return errors.fail("ENOTSUP", "extended attributes need a guest with an agent of ours or with GNU tar")
  end
  self._base, self.holes = base, has_all
  self._knows = kind == "vmctl" and kind or kind ~= "plain" and "pax" or nil
  return true
end

-- The script has ended before its answer was whole.
local function refused(self, said, aims)
  local done, err, code, record = self.guest:outcome("prepare", self._process)
  if not done and not record then return nil, err, code end
  self._over = true -- nothing was staged
  local ok, why, how = take_answer(self, said, aims)
  if done or how ~= "EPROTO" then return ok, why, how end
  local words = self.guest:words()
  return nil, ("prepare %s on %s: %s"):format(self.folder or aims.itself.folder, self.guest.label,
    record.error or words ~= "" and words or "failed"), "EREMOTE", record
end

local function await_answer(self, aims)
  local answer, rest, code, said = self.guest:read_to(self._process, "\0")
  if answer then return take_answer(self, answer, aims) end
  if code ~= "EOF" then return nil, rest, code end
  return refused(self, said, aims)
end

-- A command that begins when it has all of its input gives no answer before. So it is run once for the answer alone, and again for the
-- files.
local function ask_before(self, script_arguments, aims)
  local out, err, code = self.guest:ask("prepare " .. aims.itself.folder, scripts.PREPARE, table.unpack(script_arguments))
  if not out then return nil, err, code end
  return take_answer(self, out:match "^(.*)%z$" or out, aims)
end

-- Starts the unpacking command, and waits for its answer. Uses a shell and tar if the agent's own program cannot be run after all.
local function begin(self, unpacker, words, aims, is_late)
  local command = table.move(unpacker, 1, #unpacker, 1, { stdin = "whole" })
  table.move(words, 1, #words, #command + 1, command)
  command[#command + 1] = unpacker.last
  local process, err, code = self.guest:start(command)
  if not process then return nil, err, code end
  self._process = process
  if is_late then return true end
  local ok, record
  ok, err, code, record = await_answer(self, aims)
  if not ok and unpacker == scripts.UNPACKER and self.guest:could_not_run(record) then
    process:close()
    self._over = nil
    return begin(self, scripts.SHELL_UNPACKER, words, aims)
  end
  return ok, err, code
end

--- Makes a sink for files in the guest: starts the one command that unpacks them, and learns from it where they go. Waits.
---@param guest table vmctl.files.exec
---@param aims { path: string, inside: { folder: string, name: string }, itself: { folder: string, name: string } } folder and name of the
-- copy if the path is a folder, and if not
---@param how { owner: "keep"|"target", xattrs: boolean? }
---@param scope vmctl.Scope
---@return table|nil sink with the `folder` and `name` of the copy, string?, string?
function M.new(guest, aims, how, scope)
  local stage = (".vmctl-%08x%08x"):format(math.random(0) & 0xffffffff, math.random(0) & 0xffffffff)
  local self = setmetatable({ guest = guest, _folders = {}, _owner = how.owner, _wants_xattrs = how.xattrs, _stage = stage }, sink)
  local words = { aims.path, aims.inside.folder, aims.inside.name, aims.itself.folder, aims.itself.name, stage,
    how.owner == "keep" and "p" or "o", how.xattrs and "x" or "" }
  local ok, err, code = true, nil, nil
  local _, revision = guest:agent()
  local is_late = revision == "0.1.9"
  if is_late then ok, err, code = ask_before(self, table.pack(table.unpack(words, 1, 5)), aims) end
  if not ok then return nil, err, code end
  ok, err, code = begin(self, guest:can "unpack" and scripts.UNPACKER or scripts.SHELL_UNPACKER, words, aims, is_late)
  if not ok then
    if self._process then self:close() end
    return nil, err, code
  end
  self._write = function(data)
    if data == "" then return true end
    return self._process:write(data, guest:left())
  end
  self._listener = task.spawn_in(scope, listen, self, self._process)
  return self
end

return M
