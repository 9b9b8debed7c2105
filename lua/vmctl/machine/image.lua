--- Guest images: a small root file system for the kernel to unpack, with busybox, kernel modules and the agent in it.
-- Needs find, gzip and a static busybox. Waits for those; files are read and written as all files are, while other tasks wait.

local busybox = require "vmctl.machine.busybox"
local core = require "vmctl.core"
local cpio = require "vmctl.machine.cpio"
local options = require "vmctl.base.options"
local process = require "vmctl.process"
local texts = require "vmctl.text"

local M = {}

--- The modules for reaching a guest and for its host's folders, in the order of loading; those that the kernel has
-- built in or lacks are left out.
M.default_modules = {
  "virtio_mmio", "virtio_pci", "virtio_console", "virtio_net", "vsock", "vmw_vsock_virtio_transport", "vsock_loopback",
  "virtio_rng", "virtiofs", "9pnet_virtio", "9p",
}

local BUSYBOX_PLACES = { "/bin/busybox", "/usr/bin/busybox" }
local UNPACKERS = { xz = "xz -dc", zst = "zstd -qdc", gz = "gzip -dc" }
local ERRNO = { [1] = "EPERM", [2] = "ENOENT", [13] = "EACCES", [17] = "EEXIST", [20] = "ENOTDIR", [21] = "EISDIR",
  [28] = "ENOSPC", [30] = "EROFS" }

local FOLDERS = { "/", "/bin", "/dev", "/etc", "/proc", "/run", "/sbin", "/srv", "/sys" }
local ETC = {
  ["/etc/passwd"] = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
  ["/etc/group"] = "root:x:0:\nnogroup:x:65534:\n",
  ["/etc/hosts"] = "127.0.0.1 localhost\n::1 localhost\n",
}

local KNOWN = {
  output = "string", agent = "string", init = "string", busybox = "string|boolean", modules_dir = "string",
  modules = "table", files = "table", compress = "boolean",
}
local KNOWN_OF_FILE = { content = "string", from = "string", link = "string", folder = "boolean", mode = "number" }

local function octal(digits) return tonumber(digits, 8) end

-- nil, message, code for a step that failed on a path. Lua's io puts the path in front of the reason by itself.
local function fail(step, path, why, code)
  local prefix = path .. ": "
  if why:sub(1, #prefix) == prefix then why = why:sub(#prefix + 1) end
  return nil, ("image: %s %s: %s"):format(step, path, why), ERRNO[code] or type(code) == "string" and code or "EIO"
end

-- Quoted for the shell. A relative path gets "./", so that it is not taken for an option or looked up in PATH.
local function quote(path)
  if path:sub(1, 1) ~= "/" then path = "./" .. path end
  return "'" .. path:gsub("'", "'\\''") .. "'"
end

local function open_file(step, path, mode)
  local handle, why, number = io.open(path, mode)
  if not handle then return fail(step, path, why, number) end
  if mode == "rb" then why, number = select(2, handle:read(0)) end      -- a folder can be opened, but not read
  if not number then return handle end
  handle:close()
  return fail(step, path, why, number)
end

local function read_file(step, path)
  local handle, why, code = open_file(step, path, "rb")
  if not handle then return nil, why, code end
  local bytes, reason, number = handle:read "a"
  handle:close()
  if not bytes then return fail(step, path, reason, number) end
  return bytes
end

local PIECE, LIMIT = 1 << 20, 600 -- bytes that are read at a time; seconds for a command

local function read_all(stream, deadline)
  local parts = {}
  while true do
    local data, err, code = stream:read(PIECE, deadline - core.now())
    if not data and code ~= "EOF" then return nil, err, code end
    if not data then return table.concat(parts) end
    parts[#parts + 1] = data
  end
end

-- The output of a shell command, standard error included, which is the reason if it fails. Waits.
local function run(step, path, command)
  local deadline = core.now() + LIMIT
  local child <close>, err, code = process.spawn { "sh", "-c", command, stdout = "pipe", stderr = "stdout", stdin = "null" } -- luacheck: ignore
  if not child then return fail(step, path, err, code) end
  local output, record
  output, err, code = read_all(child.stdout, deadline)
  if output then record, err, code = child:wait(deadline - core.now()) end
  if not record then return fail(step, path, err, code) end
  if record.exit_code == 0 then return output end
  local how = record.signal and "signal " .. record.signal or "exit status " .. record.exit_code
  return fail(step, path, output:find "%S" and texts.last_line(texts.trim_end(output)) or how, "EIO")
end

-- A table of a 64-bit ELF file: where it starts, the size of an entry, how many there are. This and what is built on it
-- raises when the file is cut short; each table's numbers are at fixed places in the header.
local function elf_table(bytes, start_field, size_field)
  local size, count = ("<I2I2"):unpack(bytes, size_field + 1)
  return ("<I8"):unpack(bytes, start_field + 1) + 1, size, count
end

-- The program that has to be there to start this one (its dynamic linker), nil for a static program.
local function elf_interpreter(bytes)
  local start, size, count = elf_table(bytes, 0x20, 0x36)
  for at = start, start + size * (count - 1), size do
    if ("<I4"):unpack(bytes, at) == 3 then return ("z"):unpack(bytes, ("<I8"):unpack(bytes, at + 8) + 1) end
  end
end

local function elf_section(bytes, wanted)
  local start, size, count = elf_table(bytes, 0x28, 0x3a)
  local names = ("<I8"):unpack(bytes, start + size * ("<I2"):unpack(bytes, 0x3f) + 0x18)
  for at = start, start + size * (count - 1), size do
    if ("z"):unpack(bytes, names + ("<I4"):unpack(bytes, at) + 1) == wanted then
      local offset, length = ("<I8I8"):unpack(bytes, at + 0x18)
      return (("c%d"):format(length):unpack(bytes, offset + 1))
    end
  end
end

-- A program that will run in the guest, where there are no libraries: a script, or a static ELF file.
local function read_program(what, path)
  local bytes, why, code = read_file("read " .. what, path)
  if not bytes then return nil, why, code end
  if bytes:sub(1, 4) ~= "\127ELF" then
    if bytes:sub(1, 2) == "#!" then return bytes end
    return fail("read " .. what, path, "neither an ELF program nor a script", "ENOEXEC")
  end
  local ok, interpreter = pcall(elf_interpreter, bytes)
  if not ok then return fail("read " .. what, path, "the ELF file is damaged", "ENOEXEC") end
  if interpreter then return fail("read " .. what, path, "it is not static: it needs " .. interpreter, "ENOEXEC") end
  return bytes
end

local function module_name(path)
  local name = (path:match "([^/]+)%.ko[%.%w]*$" or path):gsub("-", "_")
  return name
end

-- Where each module is, from modules.dep (which also says what it needs) or else by looking, and what is built in.
local function index_modules(dir)
  local index = { dir = dir, paths = {}, needs = {}, builtin = {} }
  local file, why, code = open_file("open modules folder", dir, "rb")
  if file then
    file:close()
    return fail("open modules folder", dir, "Not a directory", "ENOTDIR")
  end
  if code ~= "EISDIR" then return nil, why, code end
  for line in (read_file("read", dir .. "/modules.builtin") or ""):gmatch "[^\n]+" do
    index.builtin[module_name(line)] = true
  end
  local list = read_file("read", dir .. "/modules.dep")
  if not list then
    local command = ("cd %s && find . -name '*.ko' -o -name '*.ko.*'"):format(quote(dir))
    list, why, code = run("search modules in", dir, command)
    if not list then return nil, why, code end
  end
  for line in list:gmatch "[^\n]+" do
    local path, needs = line:match "^(.-):(.*)$"
    local name = module_name(path or line)
    index.paths[name] = path or line
    if path then
      index.needs[name] = {}
      for need in needs:gmatch "%S+" do table.insert(index.needs[name], module_name(need)) end
    end
  end
  return index
end

local function read_module(index, path)
  if path:sub(1, 1) ~= "/" then path = index.dir .. "/" .. path end
  local packing = path:match "%.ko%.(%w+)$"
  if not packing then return read_file("read module", path) end
  if not UNPACKERS[packing] then return fail("read module", path, "unknown packing", "ENOTSUP") end
  return run("unpack module", path, UNPACKERS[packing] .. " < " .. quote(path))
end

local function module_needs(index, name, path, bytes)
  if index.needs[name] then return index.needs[name] end
  local ok, info = pcall(elf_section, bytes, ".modinfo")
  if not ok or not info then return fail("read module", path, "no kernel module", "ENOEXEC") end
  local needs = {}
  for need in (("\0" .. info):match "\0depends=([^\0]*)" or ""):gmatch "[^,]+" do
    table.insert(needs, module_name(need))
  end
  return needs
end

-- Puts a module behind all that it needs. `done` has the names that are in `order`, or on their way there.
local function order_module(index, name, needed_by, order, done)
  if done[name] or index.builtin[name] then return true end
  done[name] = true
  local path = index.paths[name]
  if not path then
    return fail("find module", name, ("not in %s (needed by %s)"):format(index.dir, needed_by), "ENOENT")
  end
  local bytes, why, code = read_module(index, path)
  if not bytes then return nil, why, code end
  local needs
  needs, why, code = module_needs(index, name, path, bytes)
  if not needs then return nil, why, code end
  for _, need in ipairs(needs) do
    local ok
    ok, why, code = order_module(index, need, name, order, done)
    if not ok then return nil, why, code end
  end
  table.insert(order, { name = name, bytes = bytes })
  return true
end

--- The modules that have to be loaded, in order: the default ones that exist, those asked for, and all that they need.
---@param dir string  what /lib/modules/VERSION holds
---@param wanted? string[]  names beyond M.default_modules
---@return { name: string, bytes: string }[]?, string?, string?
function M.modules(dir, wanted)
  local index, why, code = index_modules(dir)
  if not index then return nil, why, code end
  local order, done, ok = {}, {}
  for _, name in ipairs(M.default_modules) do
    if index.paths[name] then
      ok, why, code = order_module(index, name, "vmctl", order, done)
      if not ok then return nil, why, code end
    end
  end
  for _, name in ipairs(wanted or {}) do
    ok, why, code = order_module(index, module_name(name), "option 'modules'", order, done)
    if not ok then return nil, why, code end
  end
  return order
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
  return BUSYBOX_PLACES[1]              -- whose absence will then be the message
end

local function plant_busybox(tree, path)
  if path == false then return true end
  if type(path) ~= "string" then path = find_busybox() end
  local bytes, why, code = read_program("busybox (Debian's package busybox-static)", path)
  if not bytes then return nil, why, code end
  local applets
  applets, why, code = busybox.applets(bytes)
  if not applets then return fail("list applets of", path, why, code) end
  for _, applet in ipairs(applets) do tree[applet] = { link = "/bin/busybox" } end
  tree["/bin/busybox"] = { content = bytes, mode = octal "755" }
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
  tree["/etc/vmctl/modules"] = { content = table.concat(list) }
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
    tree[path:gsub("^/*(.-)/*$", "/%1")] = type(file) == "table" and file or { content = file }
  end
end

local function write_archive(tree, name)
  local out, why, code = open_file("create", name, "wb")
  if not out then return nil, why, code end
  local ok
  ok, why, code = cpio.pack(tree, function(bytes)
    local written, reason, number = out:write(bytes)
    if not written then return fail("write", name, reason, number) end
    return true
  end, function(path) return open_file("read", path, "rb") end)
  local closed, reason, number = out:close()
  if ok and not closed then return fail("write", name, reason, number) end
  return ok, why, code
end

local images = 0 -- of this process: two may be built at a time

local function temporary_name(output)
  local _, _, pid = core.fs.identity()
  images = images + 1
  return ("%s.tmp%d-%d"):format(output, pid, images)
end

local function write_image(tree, opts, progress)
  local name = temporary_name(opts.output)
  local packed = name .. ".gz"
  progress "writing"
  local ok, why, code = write_archive(tree, name)
  if ok and opts.compress ~= false then
    progress "compressing"
    -- From file to file: if gzip died at the end of a pipe of ours, SIGPIPE would end the host program.
    ok, why, code = run("compress", name, ("gzip -1nc < %s > %s"):format(quote(name), quote(packed)))
    os.remove(name)
    name = packed
  end
  if ok then
    ok, why, code = os.rename(name, opts.output)
    if not ok then ok, why, code = fail("rename to", opts.output, why, code) end
  end
  if not ok then os.remove(name) return nil, why, code end
  return opts.output
end

-- A line on a terminal that says what is being done; call it without a text to remove it.
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
---@field link? string  what a symbolic link leads to
---@field folder? boolean
---@field mode? integer  permissions; else 0755 for folders and for programs that are copied from this machine, 0644

---@class vmctl.ImageOptions
---@field output string  the image; it is there complete, or as it was before
---@field agent? string  static program: /sbin/vmctl-agent, and /init unless there is one
---@field init? string  program: /init, the first one that the kernel starts
---@field busybox? string|boolean  static busybox (true, that of this machine); false: none
---@field modules_dir? string  what /lib/modules/VERSION holds (no modules)
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
