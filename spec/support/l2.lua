--- Shared by the specs of Ethernet: frames, and a switch with the far ends of its ports.
local log = require "vmctl.log"
local vmctl = require "vmctl"

local M = {}

local SILENCE = 0.03 -- seconds after which nothing more is expected

--- Tells if all sent frames have been handled. Replaced for switches that have a thread of their own.
function M.is_quiet() return true end

M.BROADCAST = "ff:ff:ff:ff:ff:ff"

--- The six bytes of an address.
function M.mac(text)
  return (text:gsub("(%x%x):?", function(pair) return string.char(tonumber(pair, 16)) end))
end

--- A frame. `to` and `from` are the last bytes of addresses, or whole addresses; text: behind the type; size: with zeros.
---@param fields { to: integer|string?, from: integer|string?, vlan: integer?, text: string?, size: integer? }
function M.frame(fields)
  local function address(value)
    if type(value) == "number" then return ("\2\0\0\0\0%c"):format(value) end
    return M.mac(value)
  end
  local tag = fields.vlan and ("\x81\0" .. (">I2"):pack(fields.vlan)) or ""
  local bytes = address(fields.to or M.BROADCAST) .. address(fields.from or 1) .. tag .. "\x88\xb5" .. (fields.text or "")
  return bytes .. ("\0"):rep((fields.size or 0) - #bytes)
end

--- A switch with a port for each name, and the ports at the other ends of their wires.
---@param names string[]
---@return vmctl.L2Switch, table<string, vmctl.L2Port>
function M.switch(names, opts)
  local sw, far = vmctl.l2.switch(opts), {}
  for _, name in ipairs(names) do
    local near
    near, far[name] = vmctl.l2.socketpair()
    assert(sw:add(near, { name = name }))
  end
  return sw, far
end

--- The payload of each frame that has come to a port by now.
---@return string[]
function M.texts(port, silence)
  local list = {}
  while true do
    local frames = port:recv_many(256, silence or SILENCE)
    if not frames and M.is_quiet() then return list end
    for _, bytes in ipairs(frames or {}) do
      list[#list + 1] = bytes:sub(13, 14) == "\x81\0" and bytes:sub(19) or bytes:sub(15)
    end
  end
end

--- Calls `fn` and returns what was logged meanwhile.
---@return string[]
function M.logged(fn)
  local write, lines = log.write, {}
  log.write = function(text) lines[#lines + 1] = text end
  log.set_level "info"
  local ok, err = pcall(fn)
  log.set_level "off"
  log.write = write
  if not ok then error(err, 0) end
  return lines
end

--- The lines that hold a text.
function M.about(lines, text)
  local list = {}
  for _, line in ipairs(lines) do
    if line:find(text, 1, true) then list[#list + 1] = line end
  end
  return list
end

return M
