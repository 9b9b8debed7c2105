--- set_config: writes the guest's configuration file, /etc/stereos/jcard.toml. StereOS' agentd reads it at any time, so it is replaced
--- atomically (docs/wire/stereos.md#guest-actions).
local safe_file = require "vmctl.base.safe_file"

local M = {}

--- The path of the file.
M.PATH = "/etc/stereos/jcard.toml"

local MODE = 420 -- 0644

--- The handler of set_config.
---@param opts { root: string, config_path: string? }
---@return fun(payload: table): true|nil, table|string, string?
function M.handler(opts)
  local path = opts.root .. (opts.config_path or M.PATH)
  return function(payload)
    local ok, changed, code = safe_file.file(path, payload.content, { mode = MODE })
    if not ok then return nil, changed, code end
    return true, { changed = changed }
  end
end

return M
