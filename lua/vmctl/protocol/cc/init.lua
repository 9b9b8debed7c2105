--- The protocol of cc-helper, both ends: a machine in a process of its own, driven over a Unix socket (wire document
--- cc-ipc.md). What each function gives is said in the module that it comes from.
local decoder = require "vmctl.protocol.cc.decoder"
local encoder = require "vmctl.protocol.cc.encoder"
local mode = require "vmctl.protocol.cc.mode"
local mux = require "vmctl.protocol.cc.mux"
local response = require "vmctl.protocol.cc.response"
local wire = require "vmctl.protocol.cc.wire"

local M = {
  HEADER_SIZE = wire.HEADER_SIZE, MAX = wire.MAX, types = wire.types, names = wire.names, codes = wire.codes,
  sources = wire.sources, may_block = wire.may_block, format = wire.format, mode = mode,
  encoder = encoder.new, decoder = decoder.new, response = response.new, mux = mux.new,
}

--- A server on a Unix socket. See vmctl.protocol.cc.server.
function M.server(...)
  return require("vmctl.protocol.cc.server").new(...)
end

--- What answers a server's requests for real: guests, or a folder of this machine. See vmctl.protocol.cc.helper.
function M.helper(...)
  return require("vmctl.protocol.cc.helper").new(...)
end

--- A client of a connected stream. See vmctl.protocol.cc.client.
function M.client(...)
  return require("vmctl.protocol.cc.client").new(...)
end

--- A client that connects to a helper's socket. Waits. See vmctl.protocol.cc.client.
function M.connect(...)
  return require("vmctl.protocol.cc.client").connect(...)
end

--- Starts a helper and connects to it. Waits. See vmctl.protocol.cc.spawn.
function M.spawn(...)
  return require("vmctl.protocol.cc.spawn").spawn(...)
end

--- Where the helper is. See vmctl.protocol.cc.find.
function M.find_helper(...)
  return require("vmctl.protocol.cc.find").helper(...)
end

--- A path for a helper's socket that nobody else has. See vmctl.protocol.cc.find.
function M.socket_path(...)
  return require("vmctl.protocol.cc.find").socket_path(...)
end

--- Whether the environment asks for a helper. See vmctl.protocol.cc.find.
function M.use_helper()
  return require("vmctl.protocol.cc.find").use_helper()
end

--- Has the environment looked at again.
function M.reset_use_helper()
  return require("vmctl.protocol.cc.find").reset_use_helper()
end

return M
