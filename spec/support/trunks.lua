--- Shared by the specs of trunks: pairs of switches joined by one, and a peer in a process of its own.
local assert = require "luassert"
local l2s = require "spec.support.l2"
local script = require "spec.support.script"
local vmctl = require "vmctl"

local M = {}

M.KEY = ("0123456789abcdef"):rep(2)
M.LIMIT = 60

--- Joins two switches over a socket pair; both calls wait for each other.
---@return vmctl.L2Trunk|nil, vmctl.L2Trunk|nil, table codes, table messages of both ends
function M.join(a, b, opts_a, opts_b)
  local near, far = assert(vmctl.pair())
  local codes, messages, ends = {}, {}, {}
  vmctl.all { function() ends[1], messages[1], codes[1] = a:trunk(near, opts_a) end,
    function() ends[2], messages[2], codes[2] = b:trunk(far, opts_b or opts_a) end }
  return ends[1], ends[2], codes, messages
end

--- `count` frames from a port, whose texts are numbers in order.
function M.send_numbers(port, count, from)
  local frames = {}
  for i = 1, count do frames[i] = l2s.frame { from = from, text = tostring(i) } end
  assert(port:send_many(frames, M.LIMIT))
end

--- Takes `count` frames of a port, and returns the number of the first that is out of order (nil: none is).
function M.first_out_of_order(port, count)
  for i = 1, count do
    if assert(port:recv(M.LIMIT)):sub(15) ~= tostring(i) then return i end
  end
end

local PEER = [[
local vmctl = require "vmctl"
vmctl.run(function()
  local near, far = vmctl.l2.socketpair()
  local switch = vmctl.l2.switch { name = "lan" }
  assert(switch:add(near, { name = "guest" }))
  assert(switch:listen_trunks(%q, { key = %q }))
  io.stderr:write "ready\n"
  while true do
    local frame = assert(far:recv(math.huge))
    assert(far:send(frame:sub(7, 12) .. "\2\0\0\0\0\99" .. frame:sub(13)))
  end
end)
]]

--- A switch "lan" in a process of its own, which listens for trunks at `where`. Its guest 02:00:00:00:00:63 answers each frame.
---@return vmctl.Process process, vmctl.Stream stderr both to be closed
function M.peer(where)
  local process, stderr = script.start(PEER:format(where, M.KEY))
  assert.equal("ready", stderr:read_line(200, M.LIMIT))
  return process, stderr
end

return M
