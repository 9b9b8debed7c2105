--- The guest's side of the exec protocol: one connection, one request. It avoids the reference agent's faults
--- (docs/wire/exec.md#known-weaknesses-of-the-reference).
local accept = require "vmctl.net.server"
local access = require "vmctl.net.access"
local command = require "vmctl.exec.command"
local fileservice = require "vmctl.exec.fileservice"
local forwardservice = require "vmctl.exec.forwardservice"
local json = require "vmctl.json"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local version = require "vmctl.base.version"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local REQUEST_TIMEOUT = 30 -- seconds that a connection may stay silent before its request
local SEND_TIMEOUT = 30

local known = {
  allow = "function|table", connections = "integer", env = "table", root = "string", request_timeout = "number",
  on_idle = "function", on_ready = "function", packs = "boolean",
}

-- Answers a Ready message with the agent's name and version, and handles the members that hosts of ours send; others send it empty.
local function hello(conn, payload, opts)
  local answer = {}
  if opts.on_ready then
    local request = payload ~= "" and json.decode(payload) or nil
    answer = opts.on_ready(type(request) == "table" and request or {})
  end
  answer.agent, answer.version, answer.exec = "vmctl", version, 1
  if opts.packs then answer.pack, answer.unpack = 1, 1 end
  return conn:write_frame(T.READY, assert(json.encode(json.object(answer))), SEND_TIMEOUT)
end

local handlers = {
  [T.READY] = hello, [T.SIGNAL] = command.signal,
  [T.EXEC] = command.plain, [T.EXEC_STREAM] = command.streamed, [T.EXEC_PIPE] = command.piped, [T.EXEC_TTY] = command.terminal,
  [T.PORT_FORWARD] = forwardservice.forward,
  [T.WRITE_FILE] = fileservice.write, [T.READ_FILE] = fileservice.read, [T.LIST_FILES] = fileservice.list,
}

-- Reads and drops a request over the limit, and refuses it with the answer that the host expects.
local function refuse_large(conn, refused, why, timeout)
  local skipped, err, code = conn:skip_frame(timeout)
  if not skipped then return nil, err, code end
  return command.refuse_request(conn, refused.type, why)
end

local function converse(conn, opts)
  conn:set_format(wire.format)
  local timeout = opts.request_timeout or REQUEST_TIMEOUT
  local type, payload, code, refused = conn:read_frame(timeout)
  if code == "ETOOBIG" and handlers[refused.type] then refuse_large(conn, refused, payload, timeout) end
  if not type then
    if code ~= "EOF" then log.info("exec: %s", payload) end
    return
  end
  local handle = handlers[type]
  if not handle then -- closed without a reply, as the reference does: hosts tell revisions apart by that
    log.info("exec: %s: a first message of type %d", conn:label(), type)
    return
  end
  local ok, err = handle(conn, payload, opts)
  if not ok then log.info("exec: %s: %s", conn:label(), err) end
end

--- Serves one connection: one request. Closes it. Waits.
---@param conn vmctl.Stream
---@param opts table as for serve
function M.converse(conn, opts)
  local guard <close> = conn -- luacheck: ignore
  local ok, err = xpcall(converse, debug.traceback, conn, opts)
  if not ok then log.error("exec: %s: %s", conn:label(), err) end
end

local function serve(listener, opts, handle)
  local how = { allow = access.policy(opts.allow), limit = accept.limit(opts.connections, opts.on_idle) }
  return accept.serve(listener, how, function(conn) handle(conn, opts) end)
end

--- Serves commands, files and port forwards until the listener is closed, and then ends everything that still runs. Waits;
-- run it as a task beside others.
---@param listener vmctl.Listener anything with accept() and close()
---@param opts? { allow?: function|table, connections: integer?, env: table?, root: string?, request_timeout: number?,
--- on_idle: function?, on_ready: function?, packs: boolean? } peers that may connect (see vmctl.net.access), how many at a time (1024),
-- additional environment, the folder that file requests see as "/"; on_idle is called when the last connection has ended;
-- on_ready(request) handles the members of our hosts' Ready message, and returns those of its answer; packs: the program packs and
-- unpacks files with --pack and --unpack (docs/wire/exec.md)
---@return true|nil, string?, string? code ECANCELED
function M.serve(listener, opts)
  opts = options.check(opts or {}, known, "exec.serve")
  return serve(listener, opts, M.converse)
end

--- Serves the readiness port: a completed connection is the message.
function M.serve_ready(listener, opts)
  opts = options.check(opts or {}, known, "exec.serve_ready")
  return serve(listener, opts, function(conn) conn:close() end)
end

return M
