--- A folder on which every call hangs: a FUSE mount whose daemon, the spec, never answers. Needs root and /dev/fuse.
local core = require "vmctl.core"
local process = require "vmctl.process"

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
      local child <close> = assert(process.spawn { "mount", "-i", "-t", "fuse", "-o",
        "nosuid,nodev,fd=3,rootmode=40000,user_id=0,group_id=0", "vmctl-hang", folder, fds = { math.tointeger(number) },
        stdin = "null", stdout = "null", stderr = "null" })
      local record = assert(child:wait(30))
      if record.exit_code == 0 then return device end
      err = "mount ended with " .. (record.exit_code or record.signal)
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
