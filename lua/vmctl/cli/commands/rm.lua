--- vmctl rm: removes instances.
local instance = require "vmctl.instance"
local json = require "vmctl.json"
local output = require "vmctl.cli.output"

local M = {}

function M.describe(command)
  command:summary "Remove instances."
  command:description "Removes instances that do not run, and all that they have written. The images that they were made of stay."
  command:argument("name", "Instances' names."):argname("NAME"):args "+"
  command:flag("-f --force", "Stop them before that.")
end

function M.run(opts)
  local removed = json.array {}
  for _, name in ipairs(opts.name) do
    local ok, err, code = instance.remove(name, { force = opts.force })
    if not ok then
      if not opts.json and #removed > 0 then output.write(table.concat(removed, "\n"), "\n") end
      return nil, err, code, { removed = removed }
    end
    removed[#removed + 1] = name
  end
  output.result(opts, { removed = removed }, table.concat(removed, "\n"))
  return 0
end

return M
