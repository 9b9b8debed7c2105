--- vmctl ps: lists the instances.
local instance = require "vmctl.instance"
local json = require "vmctl.json"
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local units = require "vmctl.cli.units"

local M = {}

local SHOWN = 100 -- bytes of the reason of a failure; --json has all of it

function M.describe(command)
  command:summary "List the instances."
  command:description("Lists the instances that vmctl create has made: created, starting, running, stopped, or failed with the reason.\n" ..
    "vmctl list shows all guests that run, those of vmctl run as well.")
  command:flag("-q --names", "Only their names, one a line.")
end

local function row(each)
  local age = each.since and each.since > 0 and units.age(each.since) or ""
  local state = each.state .. (age ~= "" and " " .. age or "")
  local why = each.error and (" (%s)"):format(log.one_line(each.error:match "^[^\n]*", SHOWN)) or ""
  return { each.name, state, units.age(each.created), log.one_line(each.root) .. why }
end

function M.run(opts)
  local list, rows = json.array(instance.list()), {}
  for i, each in ipairs(list) do rows[i] = row(each) end
  if opts.names and not opts.json then
    for _, each in ipairs(list) do output.write(each.name, "\n") end
    return 0
  end
  local none = "there are no instances (vmctl create makes one)"
  output.result(opts, { instances = list }, #rows > 0 and output.table({ "NAME", "STATE", "CREATED", "ROOT" }, rows) or none)
  return 0
end

return M
