--- An emulated guest that can run guests of its own, as an ordinary machine can: with KVM (QEMU emulates AMD's virtualisation,
--- nested paging included) and with /dev/vhost-vsock. It needs Debian's full kernel: `tools/fetch-kernel build/kernel-full full`.
local core = require "vmctl.core"
local guest = require "spec.support.guest"

local M = {}

local QEMU = "/usr/bin/qemu-system-x86_64"
local MODULES = "/usr/lib/x86_64-linux-gnu/qemu/"
local FIRMWARE = { "bios-microvm.bin", "bios-256k.bin", "linuxboot_dma.bin", "kvmvapic.bin", "vgabios-stdvga.bin" }
local FIRMWARE_FOLDERS = { "/usr/share/qemu/", "/usr/share/seabios/" }

local root = guest.root
local kernel_dir = root .. "build/kernel-full"

--- Where the project's files are in it.
M.home = "/srv/vmctl"

--- LUA_PATH there.
M.lua_path = M.home .. "/lua/?.lua;" .. M.home .. "/lua/?/init.lua"

--- Adds a program, and the libraries that it loads.
function M.add_program(files, path)
  files[path] = { from = path }
  local pipe <close> = assert(io.popen("ldd " .. path .. " 2>/dev/null"))
  for line in pipe:lines() do
    local library = line:match "=> (/%S+)" or line:match "^%s*(/%S+)"
    if library then files[library] = { from = library } end
  end
end

--- Adds a folder with all that is in it.
function M.add_tree(files, folder, to)
  for _, name in ipairs(assert(core.fs.list(folder))) do
    local path = folder .. "/" .. name
    if core.fs.stat(path).type == "directory" then
      M.add_tree(files, path, to .. "/" .. name)
    else
      files[to .. "/" .. name] = { from = path }
    end
  end
end

local function add_firmware(files, name)
  for _, folder in ipairs(FIRMWARE_FOLDERS) do
    if core.fs.stat(folder .. name) then
      files[folder .. name] = { from = folder .. name }
      return
    end
  end
  error("no firmware " .. name)
end

local function add_qemu(files)
  M.add_program(files, QEMU)
  for _, name in ipairs(assert(core.fs.list(MODULES))) do
    if name:find "^accel%-tcg" or name:find "^hw%-display%-virtio%-gpu" then M.add_program(files, MODULES .. name) end
  end
  for _, name in ipairs(FIRMWARE) do add_firmware(files, name) end
end

--- Builds its image: QEMU, the project's Lua modules, and the kernel and image of the guests that it will run.
---@param output string
---@param files table<string, string|table> what else it shall have
---@return string path
function M.build_image(output, files)
  files[M.home .. "/build/kernel/vmlinuz"] = { from = guest.kernel }
  files[M.home .. "/build/guest.img"] = { from = guest.image }
  add_qemu(files)
  M.add_tree(files, root .. "lua", M.home .. "/lua")
  return guest.build_image { output = output, agent = guest.agent, modules_dir = kernel_dir .. "/modules",
    modules = { "vhost_vsock", "kvm_amd" }, files = files, compress = false }
end

--- Starts it; options as for vmctl.machine.launch.
---@return vmctl.Machine|nil, string?, string?
function M.launch(image, options)
  local all = { name = "outer", kernel = kernel_dir .. "/vmlinuz", initrd = image, machine = "q35", accel = "tcg", cpus = 2,
    append = "mitigations=off", memory = "1500M" }
  for name, value in pairs(options or {}) do all[name] = value end
  return guest.launch(all)
end

return M
