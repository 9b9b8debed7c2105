--- vmctl push: brings a guest into a declared state.
local config = require "vmctl.config"
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local targets = require "vmctl.cli.targets"
local units = require "vmctl.cli.units"

local M = {}

function M.describe(command)
  command:summary "Push configuration into a guest."
  command:description("Brings a guest into a declared state: files, ssh keys, secrets, its configuration. What is already so stays.\n" ..
    "  vmctl push web --file nginx.conf:/etc/nginx/nginx.conf --secret token=./token")
  command:argument("target", "A guest's name or an address."):argname "TARGET"
  command:option("--config", "The guest's configuration, its jcard.toml."):argname "FILE"
  command:option("--file", "A file of this machine, and its path in the guest."):argname("FILE:PATH"):count "*"
  command:option("--secret", "A secret's name, and the file that holds it."):argname("NAME=FILE"):count "*"
  command:option("--ssh-key", "A user of the guest, and the file with the public key."):argname("USER=FILE"):count "*"
  command:option("--timeout", "Seconds for all of it (120)."):argname("SECONDS"):convert(units.seconds "--timeout")
  command:option("--mount", "A share's tag, and where the guest mounts it."):argname("TAG:PATH[:9p|virtiofs][:ro]"):count "*"
  command:flag("--dry-run", "Compare, and only say what would change.")
end

local function slurp(path)
  local file, err = io.open(path, "rb")
  if not file then return errors.fail("ENOENT", "%s", err) end
  local data = file:read "a"
  file:close()
  return data
end

-- Adds make(left, content of the file on the right) to `list` for each value of an option.
local function gather(list, words, pattern, option, make)
  for _, word in ipairs(words) do
    local left, right = word:match(pattern)
    if not left then return errors.fail("EINVAL", "%s %s: two parts expected", option, word) end
    local ok, err, code = make(list, left, right)
    if not ok then return nil, err, code end
  end
  return true
end

local function content(then_do)
  return function(list, left, path)
    local data, err, code = slurp(path)
    if not data then return nil, err, code end
    then_do(list, left, data)
    return true
  end
end

-- Parses TAG:PATH and its suffixes, in any order.
local function add_mount(list, tag, rest)
  local path, how = rest:match "^([^:]*)(.*)$"
  local mount = { tag = tag, guest_path = path, fs_type = "virtiofs" }
  for word in how:gmatch ":([^:]*)" do
    if word == "ro" then
      mount.read_only = true
    elseif word == "9p" or word == "virtiofs" then
      mount.fs_type = word
    else
      return errors.fail("EINVAL", "--mount %s:%s: '%s': 9p, virtiofs or ro expected", tag, rest, word)
    end
  end
  list[#list + 1] = mount
  return true
end

local function describe_set(opts)
  local set = { files = {}, secrets = {}, ssh_keys = {}, mounts = {} }
  local ok, err, code = gather(set.files, opts.file, "^(.-):(/.*)$", "--file", function(list, from, path)
    local data, why, how = slurp(from)
    if not data then return nil, why, how end
    list[#list + 1] = { path = path, content = data }
    return true
  end)
  if ok then
    ok, err, code = gather(set.secrets, opts.secret, "^([^=]+)=(.+)$", "--secret", content(function(list, name, data)
      list[name] = data
    end))
  end
  if ok then
    ok, err, code = gather(set.ssh_keys, opts.ssh_key, "^([^=]+)=(.+)$", "--ssh-key", content(function(list, user, data)
      local keys = list[user] or {}
      keys[#keys + 1] = data
      list[user] = keys
    end))
  end
  if ok then ok, err, code = gather(set.mounts, opts.mount, "^([^:]+):(/.*)$", "--mount", add_mount) end
  if ok and opts.config then set.config, err, code = slurp(opts.config) end
  if not ok or err then return nil, err, code end
  return set
end

function M.run(opts)
  local set, err, code = describe_set(opts)
  if not set then return nil, err, code end
  local exec, stereos
  exec, err, code = targets.exec(opts.target)
  if not exec then return nil, err, code end
  if opts.target ~= "host" then stereos = targets.stereos(opts.target) end
  local report, partial
  report, err, code, partial = config.push({ exec = exec, stereos = stereos }, set, { timeout = opts.timeout, dry_run = opts.dry_run })
  if stereos then stereos:close() end
  if not report then
    if partial and not opts.json then output.write(log.sanitize(tostring(partial)), "\n") end
    return nil, err, code, partial
  end
  output.result(opts, report, log.sanitize(tostring(report)))
  return 0
end

return M
