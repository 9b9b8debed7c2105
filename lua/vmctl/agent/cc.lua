--- The agent's part of cc-helper's protocol: files, commands and the network of this guest, for a helper on the host that
--- keeps the guest as its instance. Loaded when the first helper comes.
local backend = require "vmctl.cc.backend"
local core = require "vmctl.core"
local handles = require "vmctl.cc.backend.handles"
local inside = require "vmctl.cc.backend.inside"
local json = require "vmctl.json"
local router = require "vmctl.cc.router"
local server = require "vmctl.cc.server"

local M = {}

-- Reads the helper's file about the image, if this guest is made from one.
local function read_image(root)
  local text = core.fs.read(root .. inside.IMAGE_FILE, 1 << 20)
  local image = text and json.decode(text)
  return type(image) == "table" and image or {}
end

--- Makes the server. Its clients' files and commands end with the last client.
---@param opts { root: string?, allow: table, on_idle: function }
---@return vmctl.CcServer
function M.server(opts)
  local image = read_image(opts.root or "")
  local b = assert(backend.new(handles.new(), {
    root = opts.root or "/", guest = true, image = image, user = image.user, work_dir = image.work_dir,
    environment = image.environment,
  }))
  local m = router.new()
  b:install(m)
  inside.install(m, b)
  return assert(server.new(nil, m, { allow = opts.allow, on_idle = function()
    b:clear()
    opts.on_idle()
  end }))
end

return M
