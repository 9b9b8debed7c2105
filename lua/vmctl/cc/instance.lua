--- A machine in a helper, as an object (docs/wire/cc-ipc.md#instance-0x01xx). A helper has at most one.
local commands = require "vmctl.cc.command"
local core = require "vmctl.core"
local encoder = require "vmctl.cc.encoder"
local filesystem = require "vmctl.cc.filesystem"
local network = require "vmctl.cc.network"
local options = require "vmctl.base.options"
local request = require "vmctl.cc.request"
local wire = require "vmctl.cc.wire"

local M = {}

---@class vmctl.CcInstance
local methods = {}
local mt = { __name = "vmctl.CcInstance", __index = methods }

local known = {
  source = "string", tar = "string", directory = "string", image = "string", cache_dir = "string", memory = "integer>=0",
  cpus = "integer>=0<=2147483647", timeout = "number>=0<=9e9", user = "string", dmesg = "boolean", mounts = "table",
}

local close = request.define "INSTANCE_CLOSE"
local wait = request.define "INSTANCE_WAIT"
local id = request.define "INSTANCE_ID"
local is_running = request.define "INSTANCE_IS_RUNNING"
local set_console = request.define("INSTANCE_SET_CONSOLE", "cols:i32 rows:i32")
local set_network = request.define("INSTANCE_SET_NETWORK", "enabled:bool")

-- Guesses the kind of a source from this machine's files, which are the helper's as well.
local function kind_of(source)
  local found = core.fs.stat(source)
  if not found then return "image" end
  return found.type == "directory" and "directory" or "tar"
end

local numbers = { tar = wire.sources.TAR, directory = wire.sources.DIRECTORY, image = wire.sources.REFERENCE }

-- The number of the source's type, its path and its reference.
local function source_of(opts)
  local kind, value
  for _, name in ipairs { "source", "tar", "directory", "image" } do
    if opts[name] then
      if kind then error(("cc instance: either '%s' or '%s'"):format(kind, name), 4) end
      kind, value = name, opts[name]
    end
  end
  if not kind then error("cc instance: one of 'source', 'tar', 'directory', 'image' expected", 4) end
  if kind == "source" then kind = kind_of(value) end
  if kind == "image" then return numbers.image, "", value end
  return numbers[kind], value, ""
end

local function check_mounts(mounts)
  for i, mount in ipairs(mounts) do
    options.check(mount, { tag = "string", host_path = "string", writable = "boolean" }, ("cc instance: mount %d"):format(i), 5)
  end
end

local function payload_of(opts)
  local number, path, image = source_of(opts)
  check_mounts(opts.mounts or {})
  local ok, err, code = request.check_words({ path, image, opts.cache_dir or "", opts.user or "" }, "cc instance", 4)
  if not ok then return nil, err, code end
  local e = encoder.new():uint8(number):string(path):string(image):string(opts.cache_dir or "")
  return e:instance_options({
    memory_mb = opts.memory, cpus = opts.cpus, timeout = opts.timeout, user = opts.user, enable_dmesg = opts.dmesg,
    mounts = opts.mounts,
  }):bytes()
end

--- The machine of a helper that has one. Does not wait.
---@param client vmctl.CcClient
---@return vmctl.CcInstance
function M.attach(client)
  return setmetatable({ client = client, fs = filesystem.new(client) }, mt)
end

--- Boots a machine. Waits.
---@param client vmctl.CcClient
---@param opts { source: string, tar: string, directory: string, image: string, cache_dir: string, memory: integer,
--- cpus: integer, timeout: number, user: string, dmesg: boolean, mounts: table[] } one of the first four: an image's tar, a
-- prepared folder, a reference (pulled if it is not in cache_dir), or `source` for any of these, guessed; MiB; seconds
-- that the helper gives the machine, none by default; "uid" or "uid:gid"; { tag =, host_path =, writable = } each
---@param timeout? number seconds to wait for the answer, an hour by default
---@return vmctl.CcInstance|nil instance, string?, string?, table? as client:call
function M.new(client, opts, timeout)
  opts = options.check(opts, known, "cc instance")
  local payload, err, code = payload_of(opts)
  if not payload then return nil, err, code end
  local d, why, how, more = client:call(wire.types.INSTANCE_NEW, payload, timeout)
  if not d then return nil, why, how, more end
  return M.attach(client)
end

--- Stops the machine and forgets it. Waits.
---@return true|nil, string?, string?, table?
function methods:close(timeout)
  return request.done(close(self.client, timeout))
end

--- Waits until the machine has ended. No other request can be made on this connection meanwhile.
---@param timeout? number seconds, an hour by default; then the connection is closed
---@return true|nil, string?, string?, table? EREMOTE: it ended badly
function methods:wait(timeout)
  return request.done(wait(self.client, timeout))
end

--- The machine's identity: 8-4-4-4-12 hexadecimal digits. Waits.
---@return string|nil, string?, string?, table?
function methods:id(timeout)
  return request.field("string", id(self.client, timeout))
end

--- Waits.
---@return boolean|nil, string?, string?, table?
function methods:is_running(timeout)
  return request.field("bool", is_running(self.client, timeout))
end

--- Sets the size of the console. Waits.
---@return true|nil, string?, string?, table?
function methods:set_console(cols, rows, timeout)
  return request.done(set_console(self.client, timeout, cols, rows))
end

--- Switches the internet access on or off. Waits.
---@param enabled boolean
---@return true|nil, string?, string?, table?
function methods:set_network(enabled, timeout)
  return request.done(set_network(self.client, timeout, enabled))
end

--- Replaces the machine's init by a program, and waits for its end, which ends the machine.
---@param argv string[] the program and its arguments
---@param timeout? number seconds, an hour by default
---@return true|nil, string?, string?, table? EREMOTE: an exit code other than 0, or it could not be started
function methods:exec(argv, timeout)
  if type(argv) ~= "table" or #argv == 0 then error("cc exec: a program and its arguments expected", 2) end
  local ok, err, code = request.check_words(argv, "cc exec", 3)
  if not ok then return nil, err, code end
  return request.done(self.client:call(wire.types.INSTANCE_EXEC, function(e)
    e:string(argv[1]):string_slice(table.move(argv, 2, #argv, 1, {}))
  end, timeout))
end

--- A command, which is not started yet. Waits. See vmctl.cc.command.
---@param argv table the program and its arguments, and by name dir and env
---@return vmctl.CcCommand|nil, string?, string?, table?
function methods:command(argv, timeout)
  return commands.new(self.client, argv, timeout)
end

--- The image's own program as a command. Waits. See vmctl.cc.command.
---@param argv? table arguments in place of the image's, and by name dir and env
---@return vmctl.CcCommand|nil, string?, string?, table?
function methods:entrypoint(argv, timeout)
  return commands.entrypoint(self.client, argv, timeout)
end

--- Listens inside the machine's network. Waits. See vmctl.cc.network.
---@param where string "HOST:PORT" or ":PORT"
---@param kind? string "tcp" by default
---@return vmctl.CcListener|nil, string?, string?, table?
function methods:listen(where, kind, timeout)
  return network.listen(self.client, where, kind, timeout)
end

function mt:__tostring()
  return ("vmctl.CcInstance(%s)"):format(tostring(self.client))
end

return M
