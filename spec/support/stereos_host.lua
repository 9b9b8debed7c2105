--- A host that speaks the control plane's lines by hand, to a stereos server in this process.
local assert = require "luassert"
local cjson = require "cjson"
local log = require "vmctl.log"
local server = require "vmctl.stereos.server"
local support = require "spec.support"
local vmctl = require "vmctl"

local M = {}

local LIMIT = 30 -- seconds until what must come has come

--- Connects to a server; the connection is served until it ends.
---@param guest vmctl.StereosServer|table a server, or the handlers of a new one
---@param opts? table of a new one
---@return vmctl.Stream host, vmctl.Task task, vmctl.StereosServer server
function M.connect(guest, opts)
  if not guest.converse then guest = server.new(guest, opts) end
  local host, far = support.pair()
  return host, vmctl.spawn(guest.converse, guest, far), guest
end

--- The next line, decoded by lua-cjson itself.
---@return table|nil message { type=, payload= }, string?, string?
function M.receive(host, timeout)
  local line, err, code = host:read_line(1 << 20, timeout or LIMIT)
  if not line then return nil, err, code end
  return cjson.decode(line)
end

--- Sends bytes and returns the next line.
function M.ask(host, bytes)
  assert(host:write(bytes))
  return assert(M.receive(host))
end

--- Sends a message and returns the payload of the ack that must come.
function M.request(host, kind, payload)
  local reply = M.ask(host, cjson.encode { type = kind, payload = payload } .. "\n")
  assert.equal("ack", reply.type)
  return reply.payload
end

--- A ping that says that lifecycle lines are welcome.
M.HEAR = '{"type":"ping","lifecycle":true}\n'

--- Asks for lifecycle lines.
function M.hear(host)
  assert.equal("pong", M.ask(host, M.HEAR).type)
end

--- Checks that the connection ends now.
function M.ended(host)
  local line, _, code = host:read_line(1 << 20, LIMIT)
  assert.is_nil(line)
  assert.is_true(code == "EOF" or code == "ECONNRESET", code)
  host:close()
end

--- Handlers that note their calls, as { type, payload }, and say yes.
---@return table handlers, table[] calls
function M.recorder()
  local calls, handlers = {}, {}
  for _, kind in ipairs { "set_config", "inject_secret", "inject_ssh_key", "mount", "shutdown" } do
    handlers[kind] = function(payload)
      calls[#calls + 1] = { kind, payload }
      return true
    end
  end
  return handlers, calls
end

--- Runs `fn` and returns what the log said meanwhile.
---@return string
function M.logged(level, fn)
  local lines, write = {}, log.write
  log.write = function(text) lines[#lines + 1] = text end
  log.set_level(level)
  local ok, err = xpcall(fn, debug.traceback)
  log.set_level "off"
  log.write = write
  if not ok then error(err, 0) end
  return table.concat(lines)
end

return M
