--- The protocol of cc-helper, both ends: a machine in a process of its own, driven over a Unix socket
--- (docs/wire/cc-ipc.md#framing). Each function is described in its own module.
local decoder = require "vmctl.cc.decoder"
local encoder = require "vmctl.cc.encoder"
local mode = require "vmctl.base.go_mode"
local router = require "vmctl.cc.router"
local response = require "vmctl.cc.response"
local wire = require "vmctl.cc.wire"

-- `mux` is the reference's name of its router.
local M = {
  HEADER_SIZE = wire.HEADER_SIZE, MAX = wire.MAX, types = wire.types, names = wire.names, codes = wire.codes,
  sources = wire.sources, may_block = wire.may_block, format = wire.format, mode = mode,
  encoder = encoder.new, decoder = decoder.new, response = response.new, mux = router.new,
}

--- A server on a Unix socket. See vmctl.cc.server.
function M.server(...)
  return require("vmctl.cc.server").new(...)
end

--- A client of a connected stream. See vmctl.cc.client.
function M.client(...)
  return require("vmctl.cc.client").new(...)
end

--- A client that connects to a helper's socket. Waits. See vmctl.cc.client.
function M.connect(...)
  return require("vmctl.cc.client").connect(...)
end

--- Starts a helper and connects to it. Waits. See vmctl.cc.spawn.
function M.spawn(...)
  return require("vmctl.cc.spawn").spawn(...)
end

--- Finds the helper. See vmctl.cc.find.
function M.find_helper(...)
  return require("vmctl.cc.find").helper(...)
end

--- A unique path for a helper's socket. See vmctl.cc.find.
function M.socket_path(...)
  return require("vmctl.cc.find").socket_path(...)
end

--- Tells if the environment asks for a helper. See vmctl.cc.find.
function M.use_helper()
  return require("vmctl.cc.find").use_helper()
end

--- Lets use_helper read the environment again; returns nothing.
function M.reset_use_helper()
  return require("vmctl.cc.find").reset_use_helper()
end

return M
