--- The selection of the frames that a fault of a switch hits: checks it, and converts it for the C part.
local core = require "vmctl.core"
local options = require "vmctl.base.options"

local M = {}

local WHOLE = "integer>=1<=4294967295"
local known = {
  to = "string", from = "string", mac = "string", ethertype = "integer>=0<=65535", protocol = "integer>=0<=255|string",
  port = "integer>=0<=65535", tcp = "string", nth = WHOLE, first = WHOLE, last = WHOLE, filter = "string",
}

---@class vmctl.L2Match
---@field to? string the hardware address to which it goes: "52:54:00:12:34:56"
---@field from? string that from which it comes
---@field mac? string one of the two
---@field ethertype? integer behind VLAN tags: 0x0806
---@field protocol? integer|"icmp"|"tcp"|"udp"|"icmpv6" of IPv4 or IPv6 (there: of the first header)
---@field port? integer one of the two ports of TCP or UDP
---@field tcp? "syn"|"syn-ack"|"fin"|"rst" segments of that kind; "syn": without ACK
---@field filter? string an expression of libpcap's, as tcpdump has them; libpcap must be there
---@field nth? integer only the so many-th of these frames, since the fault was set
---@field first? integer from the so many-th on
---@field last? integer to the so many-th

local PROTOCOLS = { icmp = 1, tcp = 6, udp = 17, icmpv6 = 58 }
local FIN, SYN, RST, ACK = 1, 2, 4, 16
local SEGMENTS = { syn = { SYN, ACK }, ["syn-ack"] = { SYN | ACK, 0 }, fin = { FIN, 0 }, rst = { RST, 0 } }

local function fail(level, ...)
  error("faults: only: " .. string.format(...), level + 1)
end

local function address(text, level)
  if not text then return nil end
  if not text:find "^%x%x:%x%x:%x%x:%x%x:%x%x:%x%x$" then fail(level + 1, "no hardware address: %s", text) end
  return tonumber((text:gsub(":", "")), 16)
end

--- Adds to a checked fault the numbers of its `only`. Raises at the line that `level` names.
function M.read(full, level)
  if not full.only then return end
  local only = options.check(full.only, known, "faults: only", level + 1)
  local protocol = only.protocol
  if type(protocol) == "string" then
    protocol = PROTOCOLS[protocol] or fail(level, "no protocol is called %s here: give its number", protocol)
  end
  local segment = only.tcp and (SEGMENTS[only.tcp] or fail(level, "no segment is called %s", only.tcp))
  if only.nth and (only.first or only.last) then fail(level, "'nth', or 'first' and 'last' expected") end
  full.match_to, full.match_from = address(only.to, level), address(only.from, level)
  full.match_mac = address(only.mac, level)
  full.match_type = only.ethertype and only.ethertype + 1
  full.match_protocol = protocol and protocol + 1
  full.match_port = only.port and only.port + 1
  if segment then full.match_set, full.match_clear = segment[1], segment[2] end
  if only.filter then
    local ok, err = core.pcap_check(only.filter)
    if not ok then fail(level, "%s", err) end
    full.match_filter = only.filter
  end
  full.match_first, full.match_last = only.nth or only.first, only.nth or only.last
end

return M
