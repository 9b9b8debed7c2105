--- The private folder in which guests and switches that run share their sockets with other programs of the same user.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local private_folder = require "vmctl.base.private_folder"

local M = { PRIVATE = private_folder.MODE, lstat = private_folder.lstat, check = private_folder.check, make = private_folder.make }

local SWITCHES = ".switches" -- beside the folders of the guests, whose names do not begin with a point

--- The folder: $XDG_RUNTIME_DIR/vmctl, or vmctl-UID among the temporary files.
---@return string
function M.path()
  local runtime = os.getenv "XDG_RUNTIME_DIR"
  if runtime and runtime ~= "" then return runtime .. "/vmctl" end
  return ("%s/vmctl-%d"):format(os.getenv "TMPDIR" or "/tmp", (core.fs.identity()))
end

--- Tells if guests and switches may be called so: a name is that of a folder or a socket.
function M.is_name(name) return #name <= 40 and name:find "^[%w_][%w_.-]*$" ~= nil end

--- The path of the control socket of the switch called `name`. Its folder is made if `make`, else it is checked. Does not wait.
---@param name string
---@param make? boolean
---@return string|nil path, string?, string? code EINVAL: not a valid name; ENOENT: no switch runs; EACCES: the folder is another user's
function M.switch(name, make)
  if not M.is_name(name) then
    return errors.fail("EINVAL", "'%s': a switch's name has letters, digits, '_', '-' and '.', 40 at most", log.one_line(name, 60))
  end
  local folder = M.path() .. "/" .. SWITCHES
  for _, path in ipairs { M.path(), folder } do
    local ok, err, code = (make and M.make or M.check)(path)
    if not ok and code == "ENOENT" then return errors.fail(code, "no switch called '%s' runs here", name) end
    if not ok then return nil, err, code end
  end
  return folder .. "/" .. name
end

return M
