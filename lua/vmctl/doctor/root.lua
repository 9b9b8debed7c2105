--- Describes a root before a guest of it is started: partitions, file systems, distribution, init, cloud-init, QEMU's guest agent, and
--- how it would start. A guest with our kernel looks inside: a hostile disk can harm nothing but this guest.
local beside = require "vmctl.machine.beside"
local disk_contents = require "vmctl.machine.disk_contents"
local log = require "vmctl.log"
local machine = require "vmctl.machine"
local options = require "vmctl.base.options"
local root = require "vmctl.machine.root"
local root_disk = require "vmctl.machine.root_disk"

local M = {}

local READY, ASK = 180, 60 -- seconds
local TEXT = 64 << 10      -- bytes of a file about the distribution

local function size_text(bytes)
  if bytes >= 1 << 30 then return ("%.1f GiB"):format(bytes / (1 << 30)) end
  return ("%d MiB"):format(bytes >> 20)
end

local function partition_text(each)
  local name = each.label or each.name
  return ("%s%s%s (%s%s)"):format(each.number > 0 and each.number .. ": " or "", each.type or "nothing known",
    name and (" '%s'"):format(name) or "", size_text(each.size), each.role and ", " .. each.role or "")
end

-- A disk as it can be seen from outside.
local function look_outside(report, path)
  local file <close>, err = root_disk.open(path) -- luacheck: ignore
  if not file then return report("disk", false, (err:gsub("^root: ", "")), "name another file, or end what uses it") end
  local format, size
  format, err = root_disk.format(file, path)
  if not format then return report("disk", false, (err:gsub("^root: ", "")), "do what it says, or name another file") end
  size, err = root_disk.size(file, format)
  if not size then return report("disk", false, err, "name another file") end
  report("disk", true, ("%s, %s"):format(format, size_text(size)))
  local list, why = disk_contents.list(file, path, format, size)
  if not list then return report("partitions", false, why, "repair its table: sgdisk --verify") end
  local texts = {}
  for i, each in ipairs(list) do texts[i] = partition_text(each) end
  local ok = #list > 0
  report("partitions", ok, ok and table.concat(texts, "; ") or "no table of partitions, and no file system that is known",
    "name a disk with a file system: ext4, xfs, btrfs, erofs, squashfs, f2fs")
end

-- Files of a guest, each folder of which is listed once. No program of the root is started.
local function finder(vm)
  local folders = {}
  return function(...)
    for _, path in ipairs { ... } do
      local folder, name = path:match "^(.*)/([^/]+)$"
      if not folders[folder] then
        folders[folder] = {}
        for _, each in ipairs(vm:list_files(folder, { timeout = ASK }) or {}) do folders[folder][each.name] = true end
      end
      if folders[folder][name] then return path end
    end
  end
end

local function distribution(vm, has)
  local path = has("/etc/os-release", "/usr/lib/os-release")
  local text = path and vm:read_file(path, { timeout = ASK })
  if not text or #text > TEXT then return nil end
  for _, key in ipairs { "PRETTY_NAME=", "NAME=", "ID=" } do
    for line in text:gmatch "[^\n]+" do
      if line:sub(1, #key) == key then return (line:sub(#key + 1):gsub('"', "")) end
    end
  end
end

local INITS = {
  { "systemd", "/lib/systemd/systemd", "/usr/lib/systemd/systemd" }, { "OpenRC", "/sbin/openrc", "/usr/sbin/openrc", "/usr/bin/openrc" },
  { "runit", "/sbin/runit", "/usr/bin/runit" }, { "another", "/sbin/init", "/usr/sbin/init", "/init" },
}

local function init_of(has)
  for _, each in ipairs(INITS) do
    local path = has(table.unpack(each, 2))
    if path then return ("%s (%s)"):format(each[1], path) end
  end
end

local function look_inside(report, vm)
  local has = finder(vm)
  local name, init = distribution(vm, has), init_of(has)
  report("distribution", name ~= nil, name and log.one_line(name, 200) or "none: no os-release", "commands run in it all the same", true)
  report("init", init ~= nil, init or "none", 'without one the agent is PID 1 (init = "agent")', true)
  local cloud = has("/usr/bin/cloud-init", "/usr/local/bin/cloud-init")
  local off = cloud and has "/etc/cloud/cloud-init.disabled"
  report("cloud-init", true, cloud and ("yes%s"):format(off and ", but it is disabled" or "") or "no", nil, true)
  report("qemu-ga", true, has("/usr/sbin/qemu-ga", "/usr/bin/qemu-ga") or "no", nil, true)
end

-- The options of a guest that only looks.
local function looking(what, opts)
  return options.merge(opts, { root = { what, read_only = true }, init = "agent", boot = "ours", name = "look", channel = "mux" })
end

local function inside(report, what, opts)
  local vm <close>, err = machine.launch(looking(what, opts)) -- luacheck: ignore
  if not vm then return report("inside", false, (err:gsub("^root: ", "")), "do what it says; vmctl doctor looks at this machine") end
  local ready, why = vm:wait_ready(READY)
  if not ready then
    local at = why:find("vmctl-agent: root: ", 1, true)
    return report("inside", false, at and why:sub(at):match "^[^\n]*" or why, "name the partition: disk:FILE#PARTITION")
  end
  look_inside(report, vm)
  vm:kill()
  return true
end

-- Reports how a guest of it would start: its root is planned as for a launch, and closed.
local function boot(report, what, opts)
  local its_beside, completed = beside.plan(options.merge(opts, { root = what, name = "look" }))
  if not its_beside then return report("boot", false, completed, "see vmctl doctor") end
  local planned, err = root.plan(completed, its_beside, machine.launch)
  its_beside:close()
  if not planned then return report("boot", false, (err:gsub("^root: ", "")), 'boot = "firmware" starts it by its own loader') end
  report("boot", true, planned.boot and ("%s: %s"):format(planned.boot, planned.boot_reason) or "ours, with stage 1")
  planned:close()
end

--- Checks a root. Waits for a guest that looks into it, and while an image becomes a file system.
---@param report fun(name: string, ok: boolean, detail: string, advice: string?, optional: boolean?)
---@param what string as `root` of a launch: "disk:FILE", "oci:DIR", "dir:PATH" …
---@param opts table of machine.launch: kernel, modules_dir, agent, cache_dir
function M.check(report, what, opts)
  local path = what:match "^disk:(.+)$"
  if path then look_outside(report, path:match "^(.+)#[^#/]+$" or path) end
  if inside(report, what, opts) then boot(report, what, opts) end
end

return M
