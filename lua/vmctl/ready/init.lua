--- Readiness: waiting until a guest, or anything else, is ready. A probe that fails while a guest boots is repeated with growing pauses,
-- up to a deadline. A final failure ends the wait at once, and so does a machine's end.
local core = require "vmctl.core"
local options = require "vmctl.base.options"
local probes = require "vmctl.ready.probes"
local waiting = require "vmctl.ready.waiting"

local M = {
  stereos = probes.stereos, exec = probes.exec, port = probes.port, console = probes.console, file = probes.file,
  command = probes.command, system = probes.system, fn = probes.fn,
}

local DEFAULTS = { timeout = 60, interval = 0.2, attempt_timeout = 5 } -- seconds

local known = { timeout = "number", interval = "number>=0", attempt_timeout = "number>0", on_attempt = "callable" }

local function as_probe(probe, level)
  if type(probe) == "function" then return probes.fn(probe) end
  if probes.is_probe(probe) then return probe end
  error(("ready: a probe or a function expected, got %s"):format(type(probe)), level + 1)
end

--- Waits until a probe succeeds.
---@param probe vmctl.Probe|function one of vmctl.ready's probes, or a function (see `fn`)
---@param opts? { timeout: number?, interval: number?, attempt_timeout: number?, on_attempt: function? }|number seconds for all of
-- it (60), longest pause between two attempts (0.2; the first is 10 ms), limit of one attempt (5); on_attempt(number, message,
--- code) is called after each, without a message when it succeeded
---@return number|nil seconds since the call, any message or the probe's value
---@return string? code ETIMEDOUT; ERESET: the machine's QEMU has ended; else that of the failure that no waiting mends
function M.wait(probe, opts)
  opts = options.merge(DEFAULTS, options.check(opts, known, "ready.wait"))
  local state = waiting.new(as_probe(probe, 2), opts, core.now() + opts.timeout)
  local value, err, code = state:run()
  if value == nil then return nil, err, code end
  return state:seconds(), value
end

--- Waits until all probes succeed, side by side, under one deadline. A final failure of one cancels the others. See
-- vmctl.ready.all.
---@param list table probes or functions, by number or by name; options as for `wait`, and concurrency: how many may ask at a
-- time (64); on_attempt(key, number, message, code)
---@return table<any, { ready: true, seconds: number, value: any, attempts: integer }>|nil results by the same keys
---@return string? message which were not ready, and why
---@return string? code ETIMEDOUT, or that of the failure that no waiting mends
---@return table? results of all, those not ready as { ready = false, message, code, seconds, attempts }
function M.all(list)
  if type(list) ~= "table" then error("ready.all: a table of probes expected, got " .. type(list), 2) end
  local opts, given = {}, {}
  for key, value in pairs(list) do
    if known[key] or key == "concurrency" then opts[key] = value else given[key] = as_probe(value, 2) end
  end
  options.check(opts, options.merge(known, { concurrency = "integer>=1" }), "ready.all")
  return require("vmctl.ready.all")(given, options.merge(DEFAULTS, opts))
end

return M
