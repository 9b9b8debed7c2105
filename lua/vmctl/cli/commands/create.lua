--- vmctl create: makes an instance, a guest that keeps its disk between its starts.
local errors = require "vmctl.errors"
local instance = require "vmctl.instance"
local machine_options = require "vmctl.cli.machine_options"
local output = require "vmctl.cli.output"

local M = {}

function M.describe(command)
  command:summary "Create an instance: a guest that keeps its disk."
  command:description("Creates an instance: a guest that has a name, and whose disk stays between its starts. vmctl start boots it.\n" ..
    "  vmctl create web --root docker://debian:12 -p 8080:80\n  vmctl create deb --root disk:debian.qcow2 --memory 1G")
  command:argument("name", "The instance's name."):argname "NAME"
  machine_options.describe(command, true)
end

function M.run(opts)
  if not opts.root and not opts.size then return errors.fail("EINVAL", "an instance needs a root: --root, or --size for an empty one") end
  local spec, err, code = machine_options.take(opts)
  if not spec then return nil, err, code end
  local ok
  ok, err, code = instance.create(opts.name, spec)
  if not ok then return nil, err, code end
  output.result(opts, { created = opts.name }, ("%s is created; vmctl start %s boots it"):format(opts.name, opts.name))
  return 0
end

return M
