--- vmctl screenshot: saves a picture of a guest's screen.
local core = require "vmctl.core"
local monitor = require "vmctl.cli.commands.qmp"
local output = require "vmctl.cli.output"

local M = {}

function M.describe(command)
  command:summary "Save what a guest's screen shows."
  command:description("Writes a guest's screen to a PNG file; the guest needs one (vmctl run --display).\n" ..
    "  vmctl screenshot web screen.png")
  command:argument("target", "A guest's name, or the address of a monitor."):argname "TARGET"
  command:argument("file", "The PNG file."):argname "FILE"
end

-- QEMU has another working directory, so the path is made absolute.
local function absolute(path)
  return path:sub(1, 1) == "/" and path or core.fs.real "." .. "/" .. path
end

function M.run(opts)
  local client <close>, err, code = monitor.connect(opts.target) -- luacheck: ignore
  if not client then return nil, err, code end
  local made = not core.fs.stat(opts.file, true) -- by us, for a monitor that writes it itself; it is removed after a failure
  local file
  file, err, code = core.fs.private(opts.file)
  if not file then return nil, err, code end
  file:close()
  local ok
  ok, err, code = client:execute("screendump", { filename = absolute(opts.file), format = "png" })
  if ok == nil then
    if made then core.fs.remove(opts.file) end
    if err:find("no console", 1, true) then err = err .. " (vmctl run --display gives a guest a screen)" end
    return nil, err, code
  end
  output.result(opts, { file = absolute(opts.file) }, opts.file)
  return 0
end

return M
