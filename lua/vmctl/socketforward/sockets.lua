--- The listening sockets of forwards in the guest: binds all of a list or none, each with its mode, by a rename.
local address = require "vmctl.net.address"
local background = require "vmctl.base.background"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local log = require "vmctl.log"
local paths = require "vmctl.socketforward.paths"

local M = {}

local MODE = 438    -- 0666: processes of all users may connect; the folder's mode restricts access
local NAME = 10     -- characters of a temporary name, at most the length of the socket's own name, so that its path fits too
local TRIES = 8

local LETTERS = "0123456789abcdefghijklmnopqrstuvwxyz"

local function temporary_name(name)
  local text = { "." }
  for i = 2, math.max(2, math.min(NAME, #name)) do
    local at = math.random(#LETTERS)
    text[i] = LETTERS:sub(at, at)
  end
  return table.concat(text)
end

-- In a share a worker makes the socket's file, and the listener does not remove it.
local function listen_at(bound, path, mode)
  if bound.is_local then return core.listen({ kind = "unix", path = path }, nil, mode) end
  local file, err, code = fs.listen(path, mode)
  if not file then return nil, err, code end
  return core.listener(file)
end

-- Listens at a temporary name in the target's folder, so that it can be renamed.
local function listen_nearby(bound, folder, name, mode)
  local listener, err, code, path
  for _ = 1, TRIES do
    path = ("%s/%s"):format(folder, temporary_name(name))
    if not bound.fs.stat(path, true) then listener, err, code = listen_at(bound, path, mode) end
    if listener or code ~= "EADDRINUSE" and code ~= nil then break end
  end
  if not listener then return nil, err or "no name is free", code or "EADDRINUSE" end
  return listener, path
end

-- Calls of files wait for a worker where the folder is in a share, so that a share whose server is gone delays no other task.
local function open_unix(bound, opts, mode)
  local folder, name, code = paths.prepare(bound.asked.socket_path, opts.folders)
  if not folder and code then return nil, name, code end
  if not folder then return core.listen({ kind = "unix", path = name }, nil, nil) end
  local is_local, err
  is_local, err, code = fs.is_local(folder)
  if is_local == nil then return nil, err, code end
  bound.fs, bound.is_local = is_local and core.fs or fs, is_local
  local path = folder .. "/" .. name
  local there = bound.fs.stat(path, true)
  if there and there.type ~= "socket" then return errors.fail("EEXIST", "there is a %s", there.type) end
  local listener, temporary
  listener, temporary, code = listen_nearby(bound, folder, name, mode)
  if not listener then return nil, temporary, code end
  return listener, path, temporary
end

local function is_loopback(host)
  return host:match "^127%.%d+%.%d+%.%d+$" ~= nil or host == "::1"
end

local function open_tcp(where, opts)
  local at, err, code = address.parse(where)
  if not at then return nil, err, code end
  if at.kind ~= "tcp" then return errors.fail("EINVAL", "a tcp: address expected") end
  if not is_loopback(at.host) and not (opts.tcp == "any" and at.host:match "^[%x.:]+$") then
    return errors.fail("EACCES", "forwards listen on the guest's own loopback, by its number")
  end
  local listener
  listener, err, code = core.listen { kind = "tcp", host = at.host, port = at.port }
  if not listener then return nil, err, code end
  return listener, at.port == 0 and tostring(listener:address()) or nil
end

--- The key of a socket: its path or address.
function M.key(socket)
  local extension = socket.extension
  return extension and extension.address ~= "" and extension.address or socket.socket_path
end

-- Listens, at a temporary name.
local function open(socket, opts)
  local extension = socket.extension or {}
  local bound = { id = socket.forward_id, key = M.key(socket), asked = socket, mode = extension.mode or 0 }
  bound.label = ("%s (%s)"):format(log.one_line(bound.key, 120), log.one_line(bound.id, 80))
  local mode = bound.mode ~= 0 and bound.mode or opts.mode or MODE
  if mode > 511 then return errors.fail("EINVAL", "mode 0%o: permissions alone expected", mode) end
  if bound.key ~= socket.socket_path then
    local code
    bound.listener, bound.address, code = open_tcp(bound.key, opts)
    if not bound.listener then return nil, bound.address, code end
  else
    bound.listener, bound.path, bound.temporary = open_unix(bound, opts, mode)
    if not bound.listener then return nil, bound.path, bound.temporary end
  end
  return bound
end

-- Renames the socket to its path. An existing one is exchanged for it, and keeps the temporary name until all are renamed.
local function put_in_place(bound)
  if not bound.temporary then return true end
  local there = bound.fs.stat(bound.path, true)
  if there and there.type ~= "socket" then return errors.fail("EEXIST", "there is a %s", there.type) end
  local ok, err, code = bound.fs.rename(bound.temporary, bound.path, there ~= nil)
  if not ok then return nil, err, code end
  bound.traded = there ~= nil
  local now = bound.fs.stat(bound.path, true) or {}
  bound.inode, bound.device = now.inode, now.device
  return true
end

local function take_back(bound)
  if bound.inode then bound.fs.rename(bound.path, bound.temporary, bound.traded) end
  bound.listener:close() -- this removes the file at the temporary name
  if bound.temporary and not bound.is_local then bound.fs.remove(bound.temporary) end
end

local function fail(socket, err, code)
  return errors.fail(code, "bind the socket of forward %s at %s: %s", log.one_line(socket.forward_id, 80),
    log.one_line(M.key(socket), 120), err)
end

local function undo(list)
  for i = #list, 1, -1 do take_back(list[i]) end
end

--- Binds all sockets; on a failure none, and the old ones are restored. Waits.
---@param wanted table[] Socket messages
---@param opts { folders: string[]|false, tcp: "any"?, mode: integer? }
---@return table[]|nil bound each with id, key, label, listener, asked, mode, and address where any port was asked for
---@return string?, string? code EINVAL, EACCES, EEXIST (the path is no socket), ENAMETOOLONG, EADDRINUSE, ENOTDIR …
function M.bind(wanted, opts)
  local list = {}
  for _, socket in ipairs(wanted) do
    local bound, err, code = open(socket, opts)
    if not bound then
      undo(list)
      return fail(socket, err, code)
    end
    list[#list + 1] = bound
  end
  for i, bound in ipairs(list) do
    local ok, err, code = put_in_place(bound)
    if not ok then
      undo(list)
      return fail(wanted[i], err, code)
    end
  end
  for _, bound in ipairs(list) do
    if bound.traded then bound.fs.remove(bound.temporary) end
  end
  return list
end

--- Tells if the file at its path is still its own. Waits.
function M.is_in_place(bound)
  if not bound.path then return true end
  local now = bound.fs.stat(bound.path, true)
  return now ~= nil and now.inode == bound.inode and now.device == bound.device
end

local function remove_own(bound, path)
  if M.is_in_place(bound) then bound.fs.remove(path) end
  bound.inode = nil
end

--- Closes a socket, and removes its file unless another one has replaced it; a file in a share is removed in the background.
--- Idempotent, does not wait.
function M.close(bound)
  local path = bound.inode and bound.path
  if path and bound.is_local then remove_own(bound, path) end
  if path and not bound.is_local then
    bound.listener:leave_file()
    background.spawn("socketforward", remove_own, bound, path)
  end
  bound.listener:close()
end

return M
