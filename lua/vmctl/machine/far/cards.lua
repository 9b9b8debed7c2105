--- Network cards of a guest on another machine: their frames come to the socket that the card names here, a switch's for instance.
local background = require "vmctl.base.background"
local dial = require "vmctl.net.dial"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"

local M = {}

--- The cards as they are told the other machine. Does not wait.
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

local function join(ask, number, where, name)
  local far, answer = ask { op = "card", card = number }
  if not far then return log.error("%s: network card %d: %s", name, number, answer) end
  local near, err = dial.dial(where)
  if not near then
    log.error("%s: network card %d has nobody at the other end: %s", name, number, err)
    return far:close()
  end
  dial.relay(far, near)
end

--- Joins each card with its place, in the background. Does not wait.
---@param places table<integer, string|table>
---@param ask fun(request: table, timeout: number?): vmctl.Stream|nil, any, string?
---@param name string of the guest
---@return vmctl.Task[] whose owner must cancel them
function M.join(places, ask, name)
  local tasks = {}
  for number, where in pairs(places) do
    tasks[#tasks + 1] = background.spawn(("network card %d of %s"):format(number, name), join, ask, number, where, name)
  end
  return tasks
end

return M
