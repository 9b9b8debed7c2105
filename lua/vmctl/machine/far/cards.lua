--- Network cards of a guest on another machine: their frames come to the socket that the card names here, a switch's for instance.
local background = require "vmctl.base.background"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"

local M = {}

--- Describes the cards for the other machine. Does not wait.
---@param nics? vmctl.NetworkCard[]
---@return table[]|nil cards
---@return table<integer, string|table>|string places by the numbers of cards: where their frames shall go here; or a message
---@return string? code ENOTSUP
function M.plan(nics)
  local cards, places = {}, {}
  for i, card in ipairs(nics or {}) do
    if card.listen or card.connect and card.reconnect then
      return errors.fail("ENOTSUP",
        "launch: nics[%d]: of a card on another machine 'connect' is dialled from here, once: no 'listen', no 'reconnect'", i)
    end
    cards[i] = options.merge(card)
    if card.connect then
      places[i] = card.connect
      cards[i].connect, cards[i].backend, cards[i].far = nil, nil, true
    end
  end
  return cards, places
end

-- Opens both ends of a card's wire. A card without a peer is logged, as QEMU's own are.
local function open(ask, number, where, name)
  local near, err = dial.dial(where)
  if not near then return log.error("%s: network card %d has nobody at the other end: %s", name, number, err) end
  local far, why, code = ask { op = "card", card = number }
  if far then return { far, near } end
  near:close()
  return nil, ("launch: network card %d: %s"):format(number, why), code
end

--- Joins each card with the socket that it names. Waits until all are joined.
---@param places table<integer, string|table>
---@param ask fun(request: table, timeout: number?): vmctl.Stream|nil, any, string?
---@param name string of the guest
---@param tasks vmctl.Task[] gets those that carry the frames; their owner must cancel them
---@return true|nil, string?, string?
function M.join(places, ask, name, tasks)
  for number, where in pairs(places) do
    local ends, err, code = open(ask, number, where, name)
    if ends then
      tasks[#tasks + 1] = background.spawn(("network card %d of %s"):format(number, name), dial.relay, ends[1], ends[2])
    elseif code then
      return nil, err, code
    end
  end
  return true
end

return M
