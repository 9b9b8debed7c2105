--- A second name for a file that nobody changes any more: it stays when the first one is removed. On another file system it is a copy.
local core = require "vmctl.core"
local fs = require "vmctl.base.fs"
local staged = require "vmctl.base.staged"

local M = {}

local PIECE = 4 << 20 -- bytes

local function copy(from, to)
  return staged.make(to, function(name)
    local source <close>, err, code = fs.open(from) -- luacheck: ignore
    if not source then return nil, err, code end
    local target <close>, why, how = core.fs.private(name, true) -- luacheck: ignore
    if not target then return nil, why, how end
    local at = 0
    while true do
      local data
      data, err, code = source:read(PIECE, at)
      if not data then return nil, err, code end
      if data == "" then return target:sync() end
      local ok
      ok, err, code = target:write(data, at)
      if not ok then return nil, err, code end
      at = at + #data
    end
  end)
end

--- Gives a file a second name; an existing file of that name stays. Waits if the file has to be copied.
---@param from string absolute
---@param to string absolute
---@return true|nil, string?, string? code ENOENT …
function M.give(from, to)
  local root <close>, err, code = core.fs.root "/" -- luacheck: ignore
  if not root then return nil, err, code end
  local ok
  ok, err, code = root:link(from, to)
  if ok or code == "EEXIST" then return true end
  if code ~= "EXDEV" and code ~= "EMLINK" and code ~= "EPERM" then return nil, err, code end
  ok, err, code = copy(from, to)
  if not ok then return nil, err, code end
  return true
end

return M
