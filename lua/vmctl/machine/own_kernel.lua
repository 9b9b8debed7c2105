--- The kernel and the initrd of a distribution's disk. A guest with our kernel looks for them: it reads any file system that stage 1
--- knows, and a hostile disk can harm nothing but this guest. The result is kept as long as the disk's files are the same.
local core = require "vmctl.core"
local cpio = require "vmctl.machine.cpio"
local errors = require "vmctl.errors"
local files = require "vmctl.files"
local json = require "vmctl.json"
local options = require "vmctl.base.options"
local shape = require "vmctl.json.shape"
local stage1 = require "vmctl.machine.stage1"
local staged = require "vmctl.base.staged"

local M = {}

local FORMAT = "4"                      -- of a kept result
local READY, ANSWER = 120, 60           -- seconds for the guest that looks
local MOST, MOST_TEXT = 512 << 20, 4096 -- bytes of a kernel or an initrd, and of a kept result
local MOST_TYPES = 32                   -- of file systems in an fstab
local PIECE, ALIGNED = 1 << 20, 4       -- bytes; an archive that is appended begins at a multiple of the latter

-- The newest kernel that has an initrd: Debian's names, and Fedora's.
local LOOK = [[
  cd /boot 2>/dev/null && for k in vmlinuz-*; do for i in initrd.img initramfs; do
      v=${k#vmlinuz-}; e=; [ $i = initramfs ] && e=.img
      [ -f "$k" ] && [ -f "$i-$v$e" ] && echo "$v /boot/$i-$v$e"
    done; done | sort -V | tail -n 1 | while read v i; do echo "version $v"; echo "initrd $i"; done
  [ -x /usr/sbin/mkinitramfs ] && echo initramfs-tools
  [ -x /usr/bin/dracut ] && echo dracut
  [ -x /lib/systemd/systemd ] && echo systemd
  while read device path type options rest; do [ "$path" = / ] && echo "device $device $type $options"; done </proc/mounts
  while read what path type options rest; do
    case "$what$options" in \#*|*noauto*|*nofail*) ;; *) echo "fstab $type" ;; esac
  done </etc/fstab
  true]]

local SCRIPT = "#!/bin/sh\n/vmctl/agent --place\n"

-- The files that start the agent in an initrd of each maker, beside its program in /vmctl.
local MAKERS = {
  -- The initrd sources its configuration before it runs its scripts, of which ORDER is the list (initramfs-tools(7)).
  ["initramfs-tools"] = function(script)
    return {
      ["/conf/conf.d/zz-vmctl"] = { content = "echo '/scripts/init-bottom/vmctl \"$@\"' >> /scripts/init-bottom/ORDER\n" },
      ["/scripts/init-bottom/vmctl"] = { content = SCRIPT:gsub("\n", '\n[ "$1" = prereqs ] && exit 0\n', 1) .. script, mode = 493 },
    }
  end,
  -- The initrd sources its hooks, which must not end the shell (dracut.modules(7)). Since version 104 or so their folder is a link.
  dracut = function(script)
    return {
      ["/usr/lib/dracut/hooks/pre-pivot/99-vmctl.sh"] = { content = "#!/bin/sh\n/vmctl/place\n", mode = 493,
        placed = true },
      ["/vmctl/place"] = { content = SCRIPT .. script, mode = 493 },
    }
  end,
}

-- The guest's answer about the disk. A reason says why its kernel cannot be taken.
local function understand(text)
  local function word(name) return text:match("\n" .. name .. " (%S+)") end
  text = "\n" .. text
  local found = { version = word "version", initrd = word "initrd", types = {} }
  local device, type, how = text:match "\ndevice /dev/(vd%w+) (%w+) (%S*)\n"
  local subvolume = ("," .. (how or "") .. ","):match ",subvol=/([^,]+),"
  local seen = {}
  for name in text:gmatch "\nfstab (%w+)" do
    if not seen[name] and #found.types < MOST_TYPES then found.types[#found.types + 1] = name end
    seen[name] = true
  end
  if type and not seen[type] then table.insert(found.types, 1, type) end
  local maker = text:find("\ninitramfs-tools\n", 1, true) and "initramfs-tools" or text:find("\ndracut\n", 1, true) and "dracut"
  found.maker, found.partition = maker or nil, device and device:match "^vd%a+(%d*)$" or ""
  found.subvolume = subvolume
  if not found.version or found.version:find "[^%w._+~-]" then
    found.reason, found.code = "the disk has no /boot/vmlinuz-VERSION with an initrd of that version beside it", "ENOENT"
  elseif not maker then
    found.reason, found.code = "its initrd was made neither by initramfs-tools nor by dracut", "ENOTSUP"
  elseif not text:find("\nsystemd\n", 1, true) then
    found.reason, found.code = "its init is not systemd", "ENOTSUP"
  elseif subvolume and subvolume:find "[^%w@/._-]" then
    found.reason, found.code = "its root is in a subvolume whose name cannot be told to its kernel", "ENOTSUP"
  elseif not device then
    found.reason, found.code = "its root is on no disk of its own", "ENOTSUP"
  end
  if #found.types == 0 then found.types = nil end
  return found
end

local function take(vm, folder)
  local ready, err, code = vm:wait_ready(READY)
  if not ready then return nil, err, code end
  local result
  result, err, code = vm:run { "sh", "-c", LOOK, timeout = ANSWER }
  if not result then return nil, err, code end
  local found = understand(result.stdout or "")
  for name, source in pairs(found.reason and {} or { kernel = "/boot/vmlinuz-" .. found.version, initrd = found.initrd }) do
    local report
    report, err, code = files.pull(vm, source, ("%s/%s"):format(folder, name), { max_bytes = MOST, owner = "mine" })
    if not report then return nil, err, code end
  end
  local ok
  ok, err, code = core.fs.replace(folder .. "/found", json.encode(found))
  if not ok then return nil, err, code end
  return found
end

-- The options of the launch, for a guest that only looks.
local function look_options(opts, spec, at, writes)
  local one = options.merge(spec, { read_only = spec.read_only or at.kept ~= nil }) -- stage 1 makes folders that a root lacks
  return {
    root = one, writes = writes, init = "agent", name = at.name and at.name .. "-look" or "look", kernel = opts.kernel, agent = opts.agent,
    modules_dir = opts.modules_dir, cache_dir = opts.cache_dir, accel = opts.accel, qemu = opts.qemu, arch = opts.arch,
    sandbox = opts.sandbox, channel = opts.channel,
  }
end

local SHAPE = {
  version = "string?", initrd = "string?", maker = "string?", partition = "string", reason = "string?", code = "string?",
  types = { each = "string", optional = true }, subvolume = "string?",
}

local function read_found(folder)
  local file = io.open(folder .. "/found", "rb")
  if not file then return nil end
  local text = file:read(MOST_TEXT) or ""
  file:close()
  local found = json.decode(text)
  return not shape.wrong(found, SHAPE, "it") and found or nil
end

local function key_of(at, paths)
  local hash = core.sha256(FORMAT):update(tostring(at.partition))
  for _, path in ipairs(paths) do
    local stat = core.fs.stat(path)
    hash:update(("%s %s %s\n"):format(core.fs.real(path), stat and stat.size, stat and stat.changed))
  end
  return hash:hex()
end

---@class vmctl.OwnKernel
---@field folder string with its files: kernel, initrd
---@field version? string
---@field maker? "initramfs-tools"|"dracut"
---@field partition string of the root: its number, "" for the whole disk
---@field subvolume? string of a btrfs, where its root is in another one than the top
---@field types? string[] of the file systems that its fstab and its root have
---@field reason? string why it cannot be taken
---@field code? string ENOENT: there is none; ENOTSUP: it cannot be started with the agent

--- Finds the kernel and the initrd of a disk. Waits for a guest that looks for them, unless the result is kept.
---@param launch function vmctl.machine.launch
---@param opts table of the launch
---@param spec table its root
---@param at { path: string, partition: string?, kept: string?, cache: string } kept: the overlay, where there is one
---@return vmctl.OwnKernel|nil, string?, string? code as of a launch: our kernel cannot look into it
function M.find(launch, opts, spec, at)
  local paths = { at.path, at.kept }
  local folder = ("%s/kernels/%s"):format(at.cache, key_of(at, paths))
  local found = read_found(folder)
  if not found then
    local ok, err, code = stage1.make_folders(folder)
    if not ok then return nil, err, code end
    local vm <close>, why, how = launch(look_options(opts, spec, at, at.kept and "keep" or "discard")) -- luacheck: ignore
    if not vm then return nil, why, how end
    found, err, code = take(vm, folder)
    if not found then return nil, err, code end
  end
  found.folder = folder
  return found
end

local function copy(from, to)
  local source <close>, err, code = core.fs.open(from) -- luacheck: ignore
  if not source then return nil, err, code end
  local total = 0
  while true do
    local piece, why, how = source:read(PIECE)
    if not piece then return nil, why, how end
    if piece == "" then break end
    local ok
    ok, err, code = to:write(piece)
    if not ok then return nil, err, code end
    total = total + #piece
  end
  return to:write(("\0"):rep(-total % ALIGNED))
end

local function append(found, tree, path)
  local ok, err, code = staged.make(path, function(name)
    local file, why, how = core.fs.private(name, true)
    if not file then return nil, why, how end
    local done
    done, why, how = copy(found.folder .. "/initrd", file)
    if done then done, why, how = cpio.pack(tree, function(bytes) return file:write(bytes) end) end
    file:close()
    return done, why, how
  end)
  if ok then return path end
  return nil, err, code
end

--- The disk's initrd with the agent appended. Waits for the file system at most.
---@param found table of `find`
---@param agent string the agent's program
---@param script string more of the script that runs before its root becomes the root
---@return string|nil path, string?, string?
function M.initrd(found, agent, script)
  local file, err, number = io.open(agent, "rb")
  if not file then return errors.fail(number == 2 and "ENOENT" or "EIO", "the agent's program: %s", err) end
  local bytes = file:read "a"
  file:close()
  local path = ("%s/%s.img"):format(found.folder, core.sha256(FORMAT):update(script):update(bytes):hex())
  if core.fs.stat(path) then return path end
  local tree = MAKERS[found.maker](script)
  tree["/vmctl/agent"] = { content = bytes, mode = 493 }
  return append(found, tree, path)
end

--- The words that tell that kernel where its root is: udev names it by the serial of the disk. Does not wait.
---@param found table of `find`
---@param serial string
---@return string
function M.words(found, serial)
  return ("root=/dev/disk/by-id/virtio-%s%s%s"):format(serial, found.partition ~= "" and "-part" .. found.partition or "",
    found.subvolume and " rootflags=subvol=" .. found.subvolume or "")
end

return M
