--- vmctl trace: prints a file that VMCTL_TRACE has recorded.
local json = require "vmctl.json"
local output = require "vmctl.cli.output"
local trace = require "vmctl.trace"
local units = require "vmctl.cli.units"

local M = {}

function M.describe(command)
  command:summary "Show a recorded trace."
  command:description("Shows what VMCTL_TRACE=FILE has recorded of a program's sessions, secrets left out.\n" ..
    "  VMCTL_TRACE=t lua5.4 script.lua; vmctl trace t")
  command:argument("file", "The trace."):argname "FILE"
  command:option("--session", "One session alone, by its id."):argname "ID"
  command:option("--width", "Bytes of a message that are shown (100)."):argname("BYTES"):convert(units.integer("--width", 1))
end

local function print_records(path)
  local records, err, code = trace.read(path)
  if not records then return nil, err, code end
  local list = {}
  for record in records do list[#list + 1] = record end
  output.json(json.array(list))
  return 0
end

function M.run(opts)
  if opts.json then return print_records(opts.file) end
  local out = { write = function(_, ...) output.write(...) end }
  local ok, err, code = trace.print(opts.file, out, { session = opts.session, width = opts.width })
  if not ok then return nil, err, code end
  return 0
end

return M
