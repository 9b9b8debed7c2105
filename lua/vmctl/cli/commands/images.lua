--- vmctl images: the images of guests' roots in the cache, and their clean-up.
local json = require "vmctl.json"
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local rootfs = require "vmctl.rootfs"
local units = require "vmctl.cli.units"

local M = {}

local DAY = 86400

function M.describe(command)
  command:summary "List the images that guests were made of, or remove old ones."
  command:description("Lists what is in the cache ($XDG_CACHE_HOME/vmctl): images of roots, layouts of images that were pulled,\n" ..
    "and archives of images, unpacked.\n" ..
    "What a running guest has is never removed.\n  vmctl images --prune --keep 10G")
  command:flag("--prune", "Remove what was not used for 30 days.")
  command:option("--keep", "With --prune: remove what was used longest ago, until so much is left."):argname("SIZE")
    :convert(units.bytes "--keep")
  command:option("--unused", "With --prune: remove what was not used for so long (0: all)."):argname("SECONDS")
    :convert(units.seconds "--unused")
end

local function entries_of(list)
  local entries, rows, now = {}, {}, os.time()
  for i, each in ipairs(list) do
    entries[i] = { kind = each.kind, name = each.name, path = each.path, bytes = each.size, used = each.used, from = each.from }
    rows[i] = { each.name:sub(1, 19), each.kind, units.size(each.size), ("%.1f days ago"):format((now - each.used) / DAY),
      log.one_line(each.from or "") }
  end
  return json.array(entries), rows
end

function M.run(opts)
  local key, list = "images"
  if opts.prune then
    key, list = "removed", rootfs.prune { keep_bytes = opts.keep, unused = opts.unused }
  elseif opts.keep or opts.unused then
    return nil, "--keep and --unused are of --prune", "EINVAL"
  else
    list = rootfs.list()
  end
  local entries, rows = entries_of(list)
  local none = opts.prune and "nothing was removed" or "no images"
  output.result(opts, { [key] = entries }, #rows > 0 and output.table({ "NAME", "KIND", "SIZE", "USED", "FROM" }, rows) or none)
  return 0
end

return M
