--- Guest images: a small root file system for the kernel to unpack, with busybox, kernel modules and the agent in it.
-- Needs find, gzip and a static busybox. Waits for those; files are read and written as all files are, while other tasks wait.

local busybox = require "vmctl.machine.busybox"
local core = require "vmctl.core"
local cpio = require "vmctl.machine.cpio"
local elf = require "vmctl.machine.image.elf"
local modules = require "vmctl.machine.image.modules"
local options = require "vmctl.base.options"
local staged = require "vmctl.base.staged"
local step = require "vmctl.machine.image.step"
local texts = require "vmctl.text"

local M = {}

--- The file in a guest that lists its modules, one path a line. The agent reads it (src/agent/init.c).
M.MODULES_LIST = "/etc/vmctl/modules"

--- The modules for reaching a guest and for its host's folders, in the order of loading; those that the kernel has
-- built in or lacks are left out.
M.default_modules = {
  "virtio_mmio", "virtio_pci", "virtio_console", "virtio_net", "vsock", "vmw_vsock_virtio_transport", "vsock_loopback",
  "virtio_rng", "virtiofs", "9pnet_virtio", "9p",
}

local BUSYBOX_PLACES = require("vmctl.machine.host_devices").BUSYBOX

local FOLDERS = { "/", "/bin", "/dev", "/etc", "/proc", "/run", "/sbin", "/srv", "/sys" }
local ETC = {
  ["/etc/passwd"] = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
  ["/etc/group"] = "root:x:0:\nnogroup:x:65534:\n",
  ["/etc/hosts"] = "127.0.0.1 localhost\n::1 localhost\n",
}

-- The script that busybox's udhcpc calls, with the server's answer in variables. It keeps other addresses and routes of the card.
local UDHCPC = [=[
#!/bin/sh
case "$1" in
deconfig)
  ip link set dev "$interface" up
  [ -f "/run/udhcpc.$interface" ] && ip addr del "$(cat "/run/udhcpc.$interface")" dev "$interface" 2>/dev/null
  rm -f "/run/udhcpc.$interface"
  ;;
bound|renew)
  address=$ip/${mask:-32}
  [ "$(cat "/run/udhcpc.$interface" 2>/dev/null)" = "$address" ] || "$0" deconfig
  ip addr replace "$address" dev "$interface"
  echo "$address" > "/run/udhcpc.$interface"
  [ -z "$mtu" ] || ip link set dev "$interface" mtu "$mtu"
  for gateway in $router; do ip route replace default via "$gateway" dev "$interface"; break; done
  [ -z "$dns" ] || { [ -z "$domain" ] || echo "search $domain"; for server in $dns; do echo "nameserver $server"; done; } > /etc/resolv.conf
  ;;
esac
exit 0
]=]

local KNOWN = {
  output = "string", agent = "string", init = "string", busybox = "string|boolean", modules_dir = "string",
  modules = "table", files = "table", compress = "boolean",
}
local KNOWN_OF_FILE = { content = "string", from = "string", link = "string", folder = "boolean", mode = "number" }

local function octal(digits) return tonumber(digits, 8) end

-- A program that will run in the guest, where there are no libraries: a script, or a static ELF file.
local function read_program(what, path)
  local bytes, why, code = step.read_file("read " .. what, path)
  if not bytes then return nil, why, code end
  if bytes:sub(1, 4) ~= "\127ELF" then
    if bytes:sub(1, 2) == "#!" then return bytes end
    return step.fail("read " .. what, path, "neither an ELF program nor a script", "ENOEXEC")
  end
  local ok, interpreter = pcall(elf.interpreter, bytes)
  if not ok then return step.fail("read " .. what, path, "the ELF file is damaged", "ENOEXEC") end
  if interpreter then return step.fail("read " .. what, path, "it is not static: it needs " .. interpreter, "ENOEXEC") end
  return bytes
end

--- The modules that have to be loaded, in order: the default ones that exist, those asked for, and all that they need. Waits.
---@param dir string  a copy of /lib/modules/VERSION
---@param wanted? string[]  names beyond M.default_modules
---@return { name: string, bytes: string }[]?, string?, string?
function M.modules(dir, wanted)
  return modules.ordered(dir, M.default_modules, wanted or {})
end

-- The tree: path → entry, as cpio.pack takes it.
local function plant_base(tree)
  for _, path in ipairs(FOLDERS) do tree[path] = { folder = true } end
  tree["/root"] = { folder = true, mode = octal "700" }
  tree["/tmp"] = { folder = true, mode = octal "1777" }
  -- Before the agent mounts a devtmpfs, the kernel opens the console for it here.
  tree["/dev/console"] = { node = { "c", 5, 1 }, mode = octal "600" }
  tree["/dev/null"] = { node = { "c", 1, 3 }, mode = octal "666" }
  for path, content in pairs(ETC) do tree[path] = { content = content } end
end

local function find_busybox()
  for _, place in ipairs(BUSYBOX_PLACES) do
    local handle = io.open(place)
    if handle then
      handle:close()
      return place
    end
  end
  return BUSYBOX_PLACES[1]              -- the message will be that it is missing
end

local function plant_busybox(tree, path)
  if path == false then return true end
  if type(path) ~= "string" then path = find_busybox() end
  local bytes, why, code = read_program("busybox (Debian's package busybox-static)", path)
  if not bytes then return nil, why, code end
  local applets
  applets, why, code = busybox.applets(bytes)
  if not applets then return step.fail("list applets of", path, why, code) end
  for _, applet in ipairs(applets) do tree[applet] = { link = "/bin/busybox" } end
  tree["/bin/busybox"] = { content = bytes, mode = octal "755" }
  tree["/etc/udhcpc/default.script"] = { content = UDHCPC, mode = octal "755" }
  return true
end

local function plant_modules(tree, dir, wanted)
  local order, why, code = M.modules(dir, wanted)
  if not order then return nil, why, code end
  local list = {}
  for i, module in ipairs(order) do
    local path = ("/lib/modules/vmctl/%02d-%s.ko"):format(i, module.name)
    tree[path] = { content = module.bytes }
    list[i] = path .. "\n"
  end
  tree[M.MODULES_LIST] = { content = table.concat(list) }
  return true
end

local function plant_programs(tree, opts)
  for what, path in pairs { agent = opts.agent, init = opts.init } do
    local bytes, why, code = read_program(what, path)
    if not bytes then return nil, why, code end
    tree[what == "agent" and "/sbin/vmctl-agent" or "/init"] = { content = bytes, mode = octal "755" }
  end
  if not opts.init then tree["/init"] = { link = "/sbin/vmctl-agent" } end
  return true
end

local function plant_files(tree, files)
  for path, file in pairs(files) do
    tree["/" .. texts.bare(path)] = type(file) == "table" and file or { content = file }
  end
end

local function write_archive(tree, name)
  local out, why, code = step.open_file("create", name, "wb")
  if not out then return nil, why, code end
  local ok
  ok, why, code = cpio.pack(tree, function(bytes)
    local written, reason, number = out:write(bytes)
    if not written then return step.fail("write", name, reason, number) end
    return true
  end, function(path) return step.open_file("read", path, "rb") end)
  local closed, reason, number = out:close()
  if ok and not closed then return step.fail("write", name, reason, number) end
  return ok, why, code
end

-- From file to file: if gzip died at the end of a pipe of ours, SIGPIPE would end the host program.
local function pack(name, to)
  return step.run("compress", name, ("gzip -1nc < %s > %s"):format(step.quote(name), step.quote(to)))
end

local function write_image(tree, opts, progress)
  local ok, why, code = staged.make(opts.output, function(name)
    progress "writing"
    if opts.compress == false then return write_archive(tree, name) end
    local plain = name .. ".cpio"
    local guard <close> = setmetatable({}, { __close = function() os.remove(plain) end }) -- luacheck: ignore
    local written, err, number = write_archive(tree, plain)
    if not written then return nil, err, number end
    progress "compressing"
    return pack(plain, name)
  end)
  if ok then return opts.output end
  if why:sub(1, #"image: ") ~= "image: " then return step.fail("rename to", opts.output, why, code) end
  return nil, why, code
end

-- Makes a function that shows a line of progress on a terminal; a call without a text removes the line.
local function progress_line()
  if not core.isatty(2) then return function() end end
  return function(text) io.stderr:write("\r\27[K", text and "guest image: " .. text or "") end
end

local function check_build(opts)
  opts = options.check(opts, KNOWN, "image.build", 4)
  if not opts.output then error("image.build: option 'output' is missing", 3) end
  if not opts.agent and not opts.init then error("image.build: one of 'agent' and 'init' is needed", 3) end
  if opts.modules and not opts.modules_dir then error("image.build: option 'modules' needs 'modules_dir'", 3) end
  for path, file in pairs(opts.files or {}) do
    if type(file) == "table" then
      options.check(file, KNOWN_OF_FILE, ("image.build: file '%s'"):format(path), 4)
      local sources = 0
      for _, key in ipairs { "content", "from", "link", "folder" } do sources = sources + (file[key] and 1 or 0) end
      if sources ~= 1 then
        error(("image.build: file '%s' needs one of content, from, link, folder"):format(path), 3)
      end
    elseif type(file) ~= "string" then
      error(("image.build: file '%s': string or table expected, got %s"):format(path, type(file)), 3)
    end
  end
end

local function build(opts, progress)
  local there = core.fs.stat(opts.output)
  if there and there.type ~= "file" then return step.fail("write", opts.output, "it is no regular file", "EEXIST") end
  local tree = {}
  plant_base(tree)
  progress "busybox"
  local ok, why, code = plant_busybox(tree, opts.busybox)
  if ok and opts.modules_dir then
    progress "kernel modules"
    ok, why, code = plant_modules(tree, opts.modules_dir, opts.modules)
  end
  if ok then ok, why, code = plant_programs(tree, opts) end
  if not ok then return nil, why, code end
  plant_files(tree, opts.files or {})
  return write_image(tree, opts, progress)
end

---@class vmctl.ImageFile  one of content, from, link, folder
---@field content? string  the bytes
---@field from? string  a file of this machine
---@field link? string  target of a symbolic link
---@field folder? boolean
---@field mode? integer  permissions; else 0755 for folders and for programs that are copied from this machine, 0644

---@class vmctl.ImageOptions
---@field output string  the image; it is there complete, or as it was before
---@field agent? string  static program: /sbin/vmctl-agent, and /init unless there is one
---@field init? string  program: /init, the first one that the kernel starts
---@field busybox? string|boolean  static busybox (true, that of this machine); false: none
---@field modules_dir? string  a copy of /lib/modules/VERSION (no modules)
---@field modules? string[]  modules beyond image.default_modules
---@field files? table<string, string|vmctl.ImageFile>  path in the guest → content, or a table
---@field compress? boolean  gzip it (true)

--- Builds an image. The modules are in /lib/modules/vmctl/NN-NAME.ko; /etc/vmctl/modules lists them, one path a line,
--- in the order of loading. Waits.
---@param opts vmctl.ImageOptions
---@return string? path, string? message, string? code
function M.build(opts)
  check_build(opts)
  local progress = progress_line()
  local path, why, code = build(opts, progress)
  progress()
  if not path then return nil, why, code end
  return path
end

return M
