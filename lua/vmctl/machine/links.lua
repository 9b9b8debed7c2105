--- Tells which network cards of a guest have a peer: QEMU itself says nothing of it.
local log = require "vmctl.log"

local M = {}

-- QEMU's words for a wire without a peer: nothing yet, or any more; or why.
local function is_alone(info)
  return info == "" or info:find("error", 1, true) ~= nil or info:find "^listening" ~= nil or info:find "^disconnected" ~= nil
end

--- Parses the monitor's "info network" about the cards' wires.
---@param text string
---@return { card: integer, type: string, info: string, connected: boolean }[] of those that are sockets
function M.parse(text)
  local list = {}
  for number, kind, info in text:gmatch "\\ nic(%d+): index=%d+,type=([%w-]+),?([^\r\n]*)" do
    if kind == "stream" then
      list[#list + 1] = { card = tonumber(number) + 1, type = kind, info = info, connected = not is_alone(info) }
    end
  end
  return list
end

--- Asks a machine's monitor. Waits.
---@return table[]|nil, string?, string?
function M.ask(control)
  local text, err, code = control:execute("human-monitor-command", { ["command-line"] = "info network" })
  if not text then return nil, err, code end
  return M.parse(text)
end

--- Logs which cards of a machine have no peer. Waits.
function M.tell(name, control)
  for _, link in ipairs(M.ask(control) or {}) do
    if not link.connected then
      log.error("machine %s: network card %d has nobody at the other end%s", name, link.card,
        link.info ~= "" and (" (%s)"):format(log.one_line(link.info, 80)) or "")
    end
  end
end

return M
