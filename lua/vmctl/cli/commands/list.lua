--- vmctl list: lists the running guests.
local core = require "vmctl.core"
local output = require "vmctl.cli.output"
local share = require "vmctl.machine.share"

local M = {}

function M.describe(command)
  command:summary "List the guests that vmctl run has started."
  command:flag("-q --names", "Only their names, one a line.")
end

function M.run(opts)
  local found, rows = {}, {}
  for _, guest in ipairs(share.list()) do
    if guest.pid and core.fs.stat("/proc/" .. guest.pid) then
      found[#found + 1] = guest
      rows[#rows + 1] = { guest.name, tostring(guest.pid), guest.folder }
    end
  end
  if opts.names and not opts.json then
    for _, guest in ipairs(found) do output.write(guest.name, "\n") end
    return 0
  end
  local text = #rows > 0 and output.table({ "NAME", "PID", "FOLDER" }, rows) or "no guest runs"
  output.result(opts, { guests = require("vmctl.json").array(found) }, text)
  return 0
end

return M
