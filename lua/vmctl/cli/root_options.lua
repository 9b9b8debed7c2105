--- The options of `vmctl run` for a guest's root.
local errors = require "vmctl.errors"
local text_words = require "vmctl.text.words"

local M = {}

--- Adds the options to a command.
---@param of_instance boolean? true for an instance, which has a file of its own for its writes
function M.describe(command, of_instance)
  command:option("--root", "What it is made of: disk:FILE[#PARTITION], oci:DIR[:TAG], docker://NAME, image:NAME, dir:PATH …")
    :argname "WHAT"
  command:option("--size", "An empty root of this size (4G); of an image: of the layer that keeps what is written."):argname "SIZE"
  command:option("--init", "agent, system (the root's own), or a command, in words as a shell has them."):argname "WHAT"
  command:option("--boot", "Whose kernel: kernel: the disk's own, by default; ours; or firmware: what its loader starts.")
    :argname("HOW"):choices { "ours", "kernel", "firmware" }
  command:option("--firmware", "With --boot firmware: bios or efi (what the disk's first sector tells)."):argname("WHICH")
    :choices { "bios", "efi" }
  if of_instance then
    command:option("--writes", "keep: in a file of the instance's own (default); through: to the disk itself."):argname("HOW")
      :choices { "keep", "through" }
  else
    command:option("--writes", "What becomes of what it writes to its root."):argname("HOW"):choices { "discard", "keep", "through" }
    command:option("--keep", "The file that keeps what is written."):argname "FILE"
  end
  command:flag("--read-only", "Mount the root read-only.")
  command:option("--share", "A folder of this machine in the guest."):argname("HOST:GUEST[:ro][:xattrs]"):count "*"
  command:option("--network", "none (default), user: a network without a way out, or out: with one."):argname("HOW")
    :choices { "none", "user", "out" }
  command:option("-p --port", "A port of this machine's loopback that leads to one of the guest."):argname("HOST:GUEST"):count "*"
end

local function parse_share(text)
  local rest, flags = text, {}
  for _, name in ipairs { "xattrs", "ro", "xattrs" } do -- in either order
    local before = rest:sub(-#name - 1) == ":" .. name and rest:sub(1, -#name - 2)
    rest, flags[name] = before or rest, flags[name] or before ~= false
  end
  local host, guest = rest:match "^(.+):(/[^:]*)$"
  if not host then return errors.fail("EINVAL", "--share %s: HOST:GUEST expected, with :ro or :xattrs behind it", text) end
  return { host = host, guest = guest, read_only = flags.ro, xattrs = flags.xattrs or nil }
end

local function root_of(opts)
  local root = { opts.root, size = opts.size, keep = opts.keep, read_only = opts.read_only or nil, firmware = opts.firmware }
  if opts.root or opts.size then return root end
  for _, name in ipairs { "init", "boot", "firmware", "writes", "keep", "read_only" } do
    if opts[name] then return errors.fail("EINVAL", "--%s is of a root: name one (--root)", (name:gsub("_", "-"))) end
  end
  return false
end

local function init_of(text)
  if text == "agent" or text == "system" then return text end
  local words, err, code = text_words.split(text)
  if not words then return nil, ("--init %s: %s"):format(text, err), code end
  if (words[1] or "") == "" then return errors.fail("EINVAL", '--init "%s": agent, system or a command expected', text) end
  return words
end

--- The options of machine.launch that they stand for. Does not wait.
---@param opts table as argparse leaves them
---@return table|nil, string?, string? code EINVAL
function M.take(opts)
  local root, err, code = root_of(opts)
  if root == nil then return nil, err, code end
  local init
  if opts.init then init, err, code = init_of(opts.init) end
  if opts.init and not init then return nil, err, code end
  local taken = {
    root = root or nil, init = init, boot = opts.boot, writes = opts.writes,
    network = opts.network == "out" and { "user", out = true } or opts.network, shares = {},
  }
  if #(opts.port or {}) > 0 then taken.ports, taken.network = opts.port, taken.network or "user" end
  for i, text in ipairs(opts.share or {}) do
    taken.shares[i], err, code = parse_share(text)
    if not taken.shares[i] then return nil, err, code end
  end
  return taken
end

return M
