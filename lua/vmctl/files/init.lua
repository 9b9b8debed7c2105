--- Copies files and trees into guests and out of them. Contents are streamed, modes and owners kept, and check sums compared.
local copy = require "vmctl.files.copy"
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local here = require "vmctl.files.here"
local here_source = require "vmctl.files.here_source"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local target = require "vmctl.base.target"
local task = require "vmctl.base.task"
local text = require "vmctl.text"

local M = {}

local TIMEOUT = 3600 -- seconds

local known = {
  timeout = "number>0", verify = "boolean", owner = { "keep", "mine", "target" }, exclude = "table|function", on_progress = "callable",
  exact = "boolean", max_bytes = "integer>0", max_entries = "integer>0", follow = "boolean", xattrs = "boolean",
}
local MOST_BYTES, MOST_ENTRIES = 64 << 30, 1000000 -- of a copy from a guest

local function is_cc(value)
  return type(value) == "table" and type(value.fs) == "table" and target.class(value.fs) == "vmctl.CcFilesystem"
end

-- The guest's side for a target: the file calls of a cc helper, or commands.
local function resolve(value, where, deadline)
  if is_cc(value) then return require("vmctl.files.cc").new(value.fs, tostring(value), deadline) end
  local found = target.resolve(value, where, 4)
  if not found.exec then error(where .. ": a target that runs commands, or a cc instance, expected", 4) end
  return require("vmctl.files.exec").new(found.exec, found.label, deadline)
end

-- Makes the filter of a copy from a list of Lua patterns for names, or from a function of the path.
local function skipper(exclude)
  if type(exclude) ~= "table" then return exclude end
  return function(path)
    local name = text.base(path)
    for _, pattern in ipairs(exclude) do
      if name:find("^" .. pattern .. "$") then return true end
    end
    return false
  end
end

-- The path of a copy, as for `cp -r`: below the destination if that is a folder, else the destination itself.
local function aim(kind, source_name, destination, exact)
  if exact then return here.split(destination) end
  if kind == "directory" or destination:sub(-1) == "/" then
    if source_name == "" then return nil end
    return text.strip_folder(destination), source_name
  end
  return here.split(destination)
end

local function limits(opts, where)
  opts = options.check(opts, known, where, 4)
  return opts, core.now() + (opts.timeout or TIMEOUT)
end

local function failed(what, from, to, err, code)
  return nil, ("%s %s to %s: %s"):format(what, from, to, log.sanitize(err)), code -- the message may contain names from the guest
end

local function verifier(opts, guest, top)
  if opts.verify == false then return nil end
  return function(paths) return guest:hashes(top, paths) end
end

local function join(folder, name)
  return name == "" and folder or folder == "/" and "/" .. name or folder .. "/" .. name
end

-- A helper's protocol has no extended attributes.
local function check_xattrs(guest, opts)
  if not opts.xattrs or guest.has_xattrs then return true end
  return errors.fail("ENOTSUP", "extended attributes need a guest with an agent of ours or with GNU tar")
end

-- Where a push goes: below the destination if that is a folder, or as the destination itself. The guest knows which.
local function aims_of(source_name, destination, exact)
  local folder, name = here.split(destination)
  local itself = { folder = folder, name = name }
  local inside = exact and itself or { folder = text.strip_folder(destination), name = source_name }
  return { path = destination, inside = inside, itself = destination:sub(-1) == "/" and inside or itself }
end

local function send(guest, source, destination, opts)
  local ok, err, code = check_xattrs(guest, opts)
  if not ok then return nil, err, code end
  local _, source_name = here.split(source)
  local aims = aims_of(source_name, destination, opts.exact)
  return task.scope(function(scope)
    local sink, why, how = guest:sink(aims, { owner = opts.owner == "target" and "target" or "keep", xattrs = opts.xattrs }, scope)
    if not sink then return nil, why, how end
    local path, report = join(sink.folder, sink.name), nil -- luacheck: ignore
    report, why, how = copy.run {
      title = ("copying to %s"):format(guest.label), source = here_source.source(source, skipper(opts.exclude), opts.xattrs),
      sink = sink,
      verify = verifier(opts, guest, path), on_progress = opts.on_progress, max_bytes = opts.max_bytes,
      max_entries = opts.max_entries,
    }
    sink:close()
    scope:cancel()
    if report then report.path = path end
    return report, why, how
  end)
end

--- Copies a file, or a folder with its content, into a guest. As with `cp -r`, an existing folder as destination receives the copy
--- under its own name; any other destination is the copy's path. Missing parent folders are made. Files are staged beside their
--- destination and renamed one by one; after a failure the old files are still there. Modes, owners, times to the nanosecond, hard
--- links and holes are kept by an agent of ours and by GNU tar; another tar in the guest has no fractions of seconds, no holes and no
--- times of links, and a helper's protocol in addition no hard links. With `xattrs`, attributes are kept as well: user.*, access
--- lists, and file capabilities unless the owner is "target"; one that the guest cannot keep is a failure. Devices, FIFOs and sockets
--- are left out. An owner that cannot be kept is refused. Files that change or vanish meanwhile are reported, and the copy continues.
--- Waits.
---@param where vmctl.Machine|vmctl.ExecClient|vmctl.CcInstance with our agent or tar, and sha256sum; or with a cc helper
---@param source string of this machine
---@param destination string a path in the guest
---@param opts? { timeout: number?, verify: boolean?, owner: string?, exclude?: string[]|function, exact: boolean?,
--- on_progress: function?, max_bytes: integer?, max_entries: integer?, xattrs: boolean? } seconds (3600); whether check sums are
-- compared (they are);
-- "keep" (the default: owners as here) or "target" (the user of the agent; no set-user-id bits then); Lua patterns of names to leave out,
-- or a function of "/path/below"; exact: `destination` is the copy's own path, also if that is a folder, into which it is then merged;
-- called as on_progress(report, path); xattrs: extended attributes are kept, for which the guest needs our agent or GNU tar
---@return { files: integer, directories: integer, links: integer, bytes: integer, seconds: number, verified: integer?, skipped:
--- string[], changed: string[], vanished: string[], path: string }|nil report `skipped`: sockets, devices, FIFOs; `changed`: files that
-- were written to while they were copied, `vanished`: files that were gone (10,000 of each at most)
---@return string? message
---@return string? code ENOENT, EINVAL: a FIFO or a socket, EEXIST: a device, a FIFO or a socket is at the destination,
-- EREMOTE: tar's own message, EBADMSG: check sums differ, ETOOBIG: more than max_bytes or max_entries, EOVERFLOW: an owner that
-- cannot be kept, ENOTSUP: no extended attributes here, ETIMEDOUT, ERESET, or the code of a failed read
function M.push(where, source, destination, opts)
  local limit
  opts, limit = limits(opts, "files.push")
  local guest = resolve(where, "files.push", limit)
  local report, err, code = send(guest, source, destination, opts)
  if report then return report end
  return failed("push", source, ("%s:%s"):format(guest.label, destination), err, code)
end

-- The destination of a copy from a guest. A link there may have come with an earlier copy.
local function aim_here(source_name, destination, opts)
  local bare = text.strip_folder(destination) -- the system follows a link whose path ends in a slash
  local there = fs.stat(bare, true)
  if there and there.type == "link" then
    if not opts.follow then return errors.fail("ELOOP", "it is a link (follow)") end
    local err, code
    destination, err, code = fs.real(bare)
    if not destination then return nil, err, code end
    there = fs.stat(destination, true)
  end
  local folder, name = aim(there and there.type, source_name, destination, opts.exact)
  if not folder or name == "" then return errors.fail("EINVAL", "the copy needs a name") end
  local link = not opts.follow and here.link_in(folder)
  if link then return errors.fail("ELOOP", "%s is a link (follow)", link) end
  local ok, err, code = here.make_folders(folder)
  if not ok then return nil, err, code end
  return folder, name
end

local TYPES = { file = true, directory = true, link = true }

local function receive(guest, origin, what, destination, opts)
  local kind, err, code = origin:type()
  if not kind then return nil, err, code end
  if kind == "none" then return errors.fail("ENOENT", "there is no such file in the guest") end
  if not TYPES[kind] then return errors.fail("EINVAL", "it is no file and no folder") end
  local folder, name, why = aim_here(what.name, destination, opts)
  if not folder then return nil, name, why end
  local is_root = fs.identity() == 0
  local sink
  sink, err, code = here.sink(folder, name, { owner = is_root and opts.owner ~= "mine" and "keep" or "mine", guess = origin.guess,
    relative = function(path) return origin:relative(path) end })
  if not sink then return nil, err, code end
  local report
  report, err, code = copy.run {
    title = ("copying from %s"):format(guest.label), source = origin, sink = sink, on_progress = opts.on_progress, top = kind,
    verify = verifier(opts, guest, what.path), max_bytes = opts.max_bytes or MOST_BYTES,
    max_entries = opts.max_entries or MOST_ENTRIES,
    states = function(files) return guest:states(what.path, files) end,
  }
  sink:close()
  if report then report.path = join(folder, name) end
  return report, err, code
end

local function fetch(guest, source, destination, opts)
  local ok, err, code = check_xattrs(guest, opts)
  if not ok then return nil, err, code end
  local from, name = here.split(source)
  if name == "" then return errors.fail("EINVAL", "a source with a name expected") end
  local origin = guest:source(source, from, name, opts.xattrs)
  local report
  report, err, code = receive(guest, origin, { name = name, path = join(from, name) }, destination, opts)
  origin:close()
  return report, err, code
end

--- Copies a file, or a folder with its content, out of a guest, which is not trusted: links below the destination are not followed,
--- set-user-id bits are dropped, and of extended attributes (`xattrs`) all but user.*; devices are left out, and an entry of another
--- type than the guest has announced is refused. Missing parent folders are made, and each file is renamed to its path. A tar
--- other than GNU's, where there is no agent of ours, has no times before 1970. Waits.
---@param where vmctl.Machine|vmctl.ExecClient|vmctl.CcInstance
---@param source string a path in the guest
---@param destination string of this machine, as for `push`; a link there, or on the way to it, is refused (ELOOP) unless `follow` is set;
-- root's links at the top, such as /var/run, are allowed
---@param opts? table as for `push`, and follow; owner: "keep" (the default for root: as in the guest) or "mine"; max_bytes: 64 GiB,
-- max_entries: 1,000,000; exclude is for `push` alone
---@return table|nil report as for `push`, string?, string?
function M.pull(where, source, destination, opts)
  local limit
  opts, limit = limits(opts, "files.pull")
  local guest = resolve(where, "files.pull", limit)
  local report, err, code = fetch(guest, source, destination, opts)
  if report then return report end
  return failed("pull", ("%s:%s"):format(guest.label, source), destination, err, code)
end

return M
