--- The results of a suite, with a folder of artefacts, for specs of its report.
local assert = require "luassert"
local artefacts = require "vmctl.scenario.artefacts"
local record = require "vmctl.suite.record"

local M = {}

local LOG = [[
    2.500 anna: booted after 2.00 s
    2.600 ben: started from its snapshot after 0.60 s
    3.000 anna: echo '<b>': exit code 0 (0.02 s)
          stdout| <b> & "c"
    4.000 ben: crash
    5.000 FAILED it did not
]]

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

--- Fills a folder: four tests, the failed one with a log, a console with an odd name and a picture.
---@return table suite
function M.fill(folder)
  local left = folder .. "/a_spec.lua/it_fails"
  assert(artefacts.make_folders(left))
  write(left .. "/commands.log", LOG)
  write(left .. "/anna #1%.log", "hello\n")
  write(left .. "/screen.png", "\x89PNG")
  local suite = { began = "2026-01-02 03:04:05 UTC", seconds = 9.5, files = { {
    path = "specs/a_spec.lua", seconds = 9, began = 0, mistakes = {}, output = "printed <i>\27[31m", tests = {
      { name = "it passes", status = "passed", seconds = 1, attempts = 1 },
      { name = "it fails", status = "failed", seconds = 5, attempts = 2, line = 7, artefacts = left,
        message = "why <script>alert(1)</script>\255" },
      { name = "it is flaky", status = "flaky", seconds = 1, attempts = 2, message = "first" },
      { name = "it is skipped", status = "skipped", seconds = 0, attempts = 1, message = "no KVM" },
    } }, { path = "specs/b_spec.lua", seconds = 3, began = 1, mistakes = {}, output = "", tests = {
      { name = ("long"):rep(60), status = "passed", seconds = 3, attempts = 1 },
    } } } }
  assert(record.write(folder, suite))
  return suite
end

return M
