--- vmctl report: makes a page for a browser of a suite's results.
local core = require "vmctl.core"
local output = require "vmctl.cli.output"
local record = require "vmctl.suite.record"
local report = require "vmctl.suite.report"
local text = require "vmctl.text"

local M = {}

local DEFAULT = "build/artefacts"

function M.describe(command)
  command:summary "Make a page of a suite's results."
  command:description("Makes an HTML page of what `vmctl test --jobs N` left in its folder of artefacts: each test with its\n" ..
    "steps, machines, consoles, screenshots and captures. The page needs no network; its links lead into the folder.")
  command:argument("folder", ("The artefacts of a suite (%s)."):format(DEFAULT)):argname "DIR":args "?"
end

function M.run(opts)
  local folder = text.strip_folder(opts.folder or DEFAULT)
  local suite, err, code = record.read(folder)
  if not suite then return nil, err, code end
  local path = folder .. "/report.html"
  local ok
  ok, err, code = core.fs.replace(path, report.page(suite, folder))
  if not ok then return nil, ("%s: %s"):format(path, err), code end
  output.result(opts, { path = path }, path)
  return 0
end

return M
