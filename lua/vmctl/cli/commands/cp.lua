--- vmctl cp: copies files into a target and out of it.
local copy = require "vmctl.files.copy"
local errors = require "vmctl.errors"
local files = require "vmctl.files"
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local targets = require "vmctl.cli.targets"
local units = require "vmctl.cli.units"

local M = {}

function M.describe(command)
  command:summary "Copy files and folders into a target or out of it."
  command:description("Copies a file, or a folder with all that is in it; one of the two is TARGET:PATH.\n" ..
    "Modes, owners and times are kept, check sums compared; each file gets its place at once. A file that changed or went\n" ..
    "meanwhile is named, and makes the exit code 1.\n  vmctl cp ./site web:/srv/\n  vmctl cp web:/var/log ./logs")
  command:argument("source", "A path, or TARGET:PATH."):argname "SOURCE"
  command:argument("destination", "A path, or TARGET:PATH."):argname "DESTINATION"
  command:option("--owner", "keep: as they are; target, mine: whoever writes them."):argname("WHO"):choices { "keep", "target", "mine" }
  command:option("--exclude", "Leave files of that name out (a Lua pattern)."):argname("NAME"):count "*"
  command:option("--timeout", "Seconds (3600)."):argname("SECONDS"):convert(units.seconds "--timeout")
  command:flag("--follow", "Out of a target: DESTINATION may be a link, or lead through links.")
  command:flag("--xattrs", "Keep extended attributes too; out of a target those named user.* alone.")
  command:flag("-r --recursive", "Folders are copied with all that is in them anyway: accepted as cp and scp have it.")
  command:flag("--no-verify", "Do not compare check sums.")
end

-- Splits TARGET:PATH. An address contains colons, so the path begins at the last ":/" or ":./".
local function split(text)
  if text:find "^%.?%.?/" then return nil end
  local target, path = text:match "^(.+):(%.?%.?/.*)$"
  if not target then target, path = text:match "^([%w_.-]+):(.+)$" end
  return target, path
end

local function count(number, noun) return ("%d %s%s"):format(number, noun, number == 1 and "" or "s") end

local function describe(report)
  return ("%s: %s, %s, %s, %s in %.2f s%s%s"):format(report.path, count(report.files, "file"), count(report.directories, "folder"),
    count(report.links, "link"), copy.size(report.bytes), report.seconds, report.verified and ", verified" or "",
    #report.skipped > 0 and (", %d left out"):format(#report.skipped) or "")
end

function M.run(opts)
  local from, inside_from = split(opts.source)
  local to, inside_to = split(opts.destination)
  if (from == nil) == (to == nil) then return errors.fail("EINVAL", "one of the two has to be TARGET:PATH") end
  local target, err, code = targets.exec(from or to)
  if not target then return nil, err, code end
  local how = { timeout = opts.timeout, owner = opts.owner, verify = not opts.no_verify, exclude = to and opts.exclude or nil,
    follow = not to and opts.follow or nil, xattrs = opts.xattrs }
  local report
  if to then
    report, err, code = files.push(target, opts.source, inside_to, how)
  else
    report, err, code = files.pull(target, inside_from, opts.destination, how)
  end
  if not report then return nil, err, code end
  output.result(opts, report, describe(report))
  for _, list in ipairs { "changed", "vanished" } do
    for _, path in ipairs(report[list]) do
      io.stderr:write(("vmctl: %s while it was copied: %s\n"):format(list, log.one_line(path == "" and report.path or path)))
    end
  end
  return #report.changed + #report.vanished > 0 and 1 or 0
end

return M
