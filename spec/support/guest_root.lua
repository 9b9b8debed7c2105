--- A folder that stands for a guest's root, and the handlers that work below it; and scripts that have file systems of their
--- own.
local assert = require "luassert"
local core = require "vmctl.core"
local guest = require "vmctl.guest.stereos"
local script = require "spec.support.script"
local support = require "spec.support"

local fs = core.fs

local M = {}

--- Ids of the user "bob", whose home is there. Who is not root can give nothing to others.
M.UID, M.GID = 1234, 4321
if fs.identity() ~= 0 then M.UID, M.GID = fs.identity() end

local PASSWD = [[
root:x:0:0:root:/root:/bin/sh
bob:x:UID:GID:Bob:/home/bob:/bin/sh
agent:x:UID:GID::/home/agent/:/bin/sh
top:x:UID:GID::/:/bin/sh
nohome:x:7:7::/home/nohome:/bin/sh
odd:x:8:8::relative:/bin/sh
up:x:9:9::/home/../etc:/bin/sh
]]

--- Makes the folder: etc/passwd, home/bob.
---@return string root
function M.make()
  local root = assert(fs.real(support.tmpdir()))
  assert(fs.chmod(root, 493))
  for _, folder in ipairs { "/etc", "/home", "/home/bob" } do assert(fs.mkdir(root .. folder)) end
  assert(fs.chown(root .. "/home/bob", M.UID, M.GID))
  assert(fs.replace(root .. "/etc/passwd", (PASSWD:gsub("[UG]ID", { UID = M.UID, GID = M.GID }))))
  return root
end

--- The handlers for such a folder, with further options.
---@return table handlers, vmctl.GuestService, string root
function M.handlers(opts)
  local all = { root = M.make() }
  for name, value in pairs(opts or {}) do all[name] = value end
  local handlers, service = guest.handlers(all)
  return handlers, service, all.root
end

--- The content of a file; nil if there is none.
function M.content(path)
  local file = io.open(path, "rb")
  local text = file and file:read "a"
  if file then file:close() end
  return text
end

--- That a request was granted, and whether it changed something.
function M.assert_done(changed, ok, result)
  assert.is_true(ok, result)
  assert.equal(changed, result.changed)
end

--- That a request was refused: its code, and a message that has `text` in it.
function M.assert_refused(code, text, ok, message, got)
  assert.is_nil(ok)
  assert.equal(code, got, message)
  assert.truthy(message:find(text, 1, true), message)
end

--- Runs a script in a mount namespace of its own, as root there. Its text ends with "fine" on stderr.
---@return boolean|nil done nil: there are none on this machine
function M.in_namespace(text)
  local command = { "unshare", fs.identity() == 0 and "-m" or "-rm" }
  if script.run("", { command = command }) ~= 0 then return nil end
  local code, _, said = script.run(text, { command = command })
  assert.same({ 0, "fine" }, { code, said })
  return true
end

return M
