--- A folder on which every call hangs: a FUSE mount whose daemon, the spec, never answers. Needs root and /dev/fuse.
local core = require "vmctl.core"

local M = {}

local fs = core.fs

-- The number of the descriptor of an open /dev/fuse that was not there before.
local function descriptors()
  local found = {}
  local pid = select(3, fs.identity())
  for _, number in ipairs(assert(fs.list(("/proc/%d/fd"):format(pid)))) do
    local target = fs.real(("/proc/%d/fd/%s"):format(pid, number))
    if target == "/dev/fuse" then found[number] = true end
  end
  return found
end

local function mount(folder)
  local before = descriptors()
  local device, err = io.open("/dev/fuse", "r+b")
  if not device then return nil, err end
  for number in pairs(descriptors()) do
    if not before[number] then
      local ok
      ok, err = fs.mount("vmctl-hang", folder, "fuse", "nosuid,nodev", ("fd=%s,rootmode=40000,user_id=0,group_id=0"):format(number))
      if ok then return device end
    end
  end
  device:close()
  return nil, err or "no descriptor"
end

--- Why there can be none here: nil where there can.
---@return string? reason
function M.missing()
  local folder = assert(fs.temporary "/tmp/vmctl-hang")
  local device, err = mount(folder)
  if device then
    fs.unmount(folder, true)
    device:close()
  end
  fs.remove(folder)
  return not device and "no FUSE mount here: " .. tostring(err) or nil
end

--- Runs fn(folder). What still hangs when it ends gets an error.
function M.with(fn)
  local folder = assert(fs.temporary "/tmp/vmctl-hang")
  local device = assert(mount(folder))
  local ok, err = xpcall(fn, debug.traceback, folder)
  fs.unmount(folder, true)
  device:close()
  fs.remove(folder)
  if not ok then error(err, 0) end
end

return M
