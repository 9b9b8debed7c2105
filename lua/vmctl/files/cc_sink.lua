--- Writes a copy into the guest through the file calls of a cc helper. The protocol has no hard links (they become separate files),
--- no fractions of seconds, and no times of links.
local content = require "vmctl.files.content"
local errors = require "vmctl.errors"
local text = require "vmctl.text"

local M = {}

local MOST_OWNER = 0x7fffffff
local CLEANUP = 10 -- seconds

local sink = { holes = true, hard = false }
sink.__index = sink

local function set_attributes(self, path, entry)
  local guest = self.guest
  local ok, err, code = true, nil, nil
  if self._owner == "keep" then ok, err, code = guest.fs:chown(path, entry.uid, entry.gid, guest:left()) end
  local mode = entry.mode & (self._owner == "keep" and 4095 or 1023) -- without set-user-id and set-group-id when the owner changes
  if ok then ok, err, code = guest.fs:chmod(path, mode, guest:left()) end
  if ok then ok, err, code = guest.fs:chtimes(path, entry.mtime, entry.mtime, guest:left()) end
  return ok, err, code
end

-- Makes an entry under a temporary name, and renames it when it is complete. A device, a FIFO or a socket is not replaced.
local function stage(self, path, make)
  local guest = self.guest
  local folder = text.split(path)
  local unfinished = ("%s/.vmctl-%08x"):format(folder, math.random(0) & 0xffffffff)
  local there, err, code = guest:type(path)
  if not there then return nil, err, code end
  if there == "other" then return errors.fail("EEXIST", "%s is there, and no regular file", path) end
  local ok
  ok, err, code = make(unfinished)
  if ok then ok, err, code = guest.fs:rename(unfinished, path, guest:left()) end
  if not ok then guest.fs:remove(unfinished, math.max(guest:left(), CLEANUP)) end
  return ok, err, code
end

local put = {}

function put.file(self, path, entry, read)
  local guest = self.guest
  return stage(self, path, function(unfinished)
    local ok, err, code = guest.fs:write_file(unfinished, "", 384, guest:left()) -- 0600; not every helper's `create` makes the file
    if not ok then return nil, err, code end
    local file
    file, err, code = guest.fs:open_file(unfinished, "w", 384, guest:left())
    if not file then return nil, err, code end
    ok, err, code = content.write({
      write = function(data) return file:write(data, guest:left()) end,
      seek = function(at) return file:seek("set", at, guest:left()) end,
      truncate = function(size) return file:truncate(size, guest:left()) end,
    }, entry, read)
    local closed, why, how = file:close(guest:left())
    if ok and not closed then ok, err, code = nil, why, how end
    if ok then ok, err, code = set_attributes(self, unfinished, entry) end
    return ok, err, code
  end)
end

function put.directory(self, path, entry)
  local ok, err, code = self.guest.fs:mkdir_all(path, 448, self.guest:left()) -- 0700 until it is filled
  if not ok then return nil, err, code end
  table.insert(self._folders, { path = path, entry = entry })
  return true
end

function put.link(self, path, entry)
  local guest = self.guest
  return stage(self, path, function(unfinished) return guest.fs:symlink(entry.link, unfinished, guest:left()) end)
end

function sink:put(entry, read)
  if self._owner == "keep" and (entry.uid > MOST_OWNER or entry.gid > MOST_OWNER) then
    return errors.fail("EOVERFLOW", "%s: the protocol has no room for the owner %d:%d", entry.path, entry.uid, entry.gid)
  end
  return put[entry.type](self, text.below(self._top, entry.path), entry, read)
end

function sink:finish()
  for i = #self._folders, 1, -1 do
    local ok, err, code = set_attributes(self, self._folders[i].path, self._folders[i].entry)
    if not ok then return nil, err, code end
  end
  return true
end

function sink:close() end

--- Makes the sink. Does not wait.
---@param guest table of vmctl.files.cc
---@param top string the path of the copy
---@param owner? "keep"
function M.new(guest, top, owner)
  return setmetatable({ guest = guest, _top = top, _owner = owner, _folders = {} }, sink)
end

return M
