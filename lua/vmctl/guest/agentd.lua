--- StereOS' agentd, where it runs in the guest: it lists its agents by HTTP on a Unix socket
--- (docs/wire/stereos.md#seen-with-the-real-client-and-a-rebuilt-daemon). It is not trusted: its answers are read with
--- limits, and waited for only a moment.
local core = require "vmctl.core"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local json = require "vmctl.json"
local safe_file = require "vmctl.base.safe_file"
local watch = require "vmctl.guest.watch"

local M = {}

--- The path of its socket.
M.SOCKET = "/run/stereos/agentd.sock"

local TIMEOUT = 2          -- seconds for an answer
local FRESH = 1            -- seconds for which an answer is not asked for again
local POLL = 5             -- seconds between two looks, as in the reference
local MOST = 1 << 20       -- bytes of an answer
-- HTTP/1.0: the answer comes whole, and ends with the connection.
local REQUEST = "GET /v1/agents HTTP/1.0\r\nHost: agentd\r\n\r\n"

---@class vmctl.Agentd
local methods = {}
local mt = { __name = "vmctl.Agentd", __index = methods }

--- Makes the client of an agentd that need not be there. Does not wait.
---@param path string of its socket
function M.new(path)
  return setmetatable({ path = path, _list = {}, _asked = -math.huge, _asking = false }, mt)
end

-- All bytes until the end of the connection.
local function read_all(stream, deadline)
  local parts, size = {}, 0
  while true do
    local bytes, err, code = stream:read(nil, deadline - core.now())
    if not bytes and code == "EOF" then return table.concat(parts) end
    if not bytes then return nil, err, code end
    size = size + #bytes
    if size > MOST then return errors.fail("ETOOBIG", "an answer over %d bytes", MOST) end
    parts[#parts + 1] = bytes
  end
end

-- The list in an answer.
local function parse(answer)
  local at = answer:find("\r\n\r\n", 1, true)
  local status = answer:match "^HTTP/1%.%d (%d%d%d)"
  if not at or not status then return errors.fail("EPROTO", "no answer of HTTP") end
  if status ~= "200" then return errors.fail("EPROTO", "status %s", status) end
  local list, err = json.decode(answer:sub(at + 4))
  if list == nil then return nil, err, "EPROTO" end
  if list == json.null then return {} end -- Go's empty list
  if type(list) ~= "table" or next(list) ~= nil and not json.is_array(list) then
    return errors.fail("EPROTO", "a list of agents expected")
  end
  return list
end

local function ask(path)
  local deadline = core.now() + TIMEOUT
  local stream <close>, err, code = dial.dial({ kind = "unix", path = path }, TIMEOUT) -- luacheck: ignore
  if not stream then return nil, err, code end
  local ok
  ok, err, code = stream:write(REQUEST, deadline - core.now())
  if not ok then return nil, err, code end
  local answer
  answer, err, code = read_all(stream, deadline)
  if not answer then return nil, err, code end
  return parse(answer)
end

local GONE = { ENOENT = true, ECONNREFUSED = true, ENOTDIR = true }

--- Its agents, as they came: an answer of the last second counts, and while there is none the last one. Waits.
---@return table list of anything
function methods:agents()
  if self._asking or core.now() < self._asked + FRESH then return self._list end
  self._asking = true
  local list, _, code = ask(self.path)
  self._asking, self._asked = false, core.now()
  if list or GONE[code] then self._list = list or {} end
  return self._list
end

--- Calls `look` again and again while it is there; while it is not, nothing is done. Waits.
---@param look fun()
---@return nil, string, string ECANCELED
function methods:attend(look)
  local folder = safe_file.split(self.path)
  local ok, err, code
  repeat
    local changes <close> = not fs.stat(self.path) and watch.folder(folder) or nil
    if changes and not fs.stat(self.path) then
      ok, err, code = changes:read(nil, math.huge)
    else
      look()
      ok, err, code = core.sleep(POLL)
    end
  until not ok
  return nil, err, code
end

return M
