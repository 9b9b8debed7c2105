-- ROUNDS times: a script works with a guest, an agent or a helper, and at a random moment one of the processes that take part is
-- killed. The script must then tell an error in time, and nothing of the round may be left.
-- Usage: lua5.4 stress/chaos.lua [WORK…]     environment: ROUNDS (200), SEED
local core = require "vmctl.core"
local vmctl = require "vmctl"

local ROUNDS = tonumber(os.getenv "ROUNDS") or 200
local SEED = tonumber(os.getenv "SEED") or core.unix_time()
local TELL = 180     -- seconds in which a script tells that something has ended
local GONE = 20      -- seconds in which all processes of a round have ended
local PAUSE = 0.05
local MARK = "VMCTL_CHAOS"

-- A work's processes that may be killed, and the seconds in which that happens once the first of them is there.
local WORKS = {
  boot = { "script", "qemu", span = 4 }, exec = { "script", "qemu", span = 6 }, copy = { "script", "qemu", span = 6 },
  forward = { "script", "qemu", span = 6 }, scenario = { "script", "qemu", span = 6 },
  agent_exec = { "script", "agent", span = 1 }, agent_copy = { "script", "agent", span = 1 }, helper = { "script", "helper", span = 1 },
}

local figures, failures = {}, 0

local function count(what) figures[what] = (figures[what] or 0) + 1 end

local function complain(round, text, ...)
  failures = failures + 1
  print(("chaos: round %d: %s"):format(round, text:format(...)))
end

-- The processes that have the mark of a round in their environment: whoever was started in it, by whomever.
local function marked(mark)
  local found, wanted = {}, "\0" .. MARK .. "=" .. mark .. "\0"
  for _, pid in ipairs(core.fs.list "/proc") do
    local file = pid:find "^%d+$" and io.open("/proc/" .. pid .. "/environ")
    local text = file and "\0" .. (file:read "a" or "") or ""
    if file then file:close() end
    if text:find(wanted, 1, true) then found[#found + 1] = tonumber(pid) end
  end
  return found
end

local function await_gone(mark)
  local last = vmctl.now() + GONE
  local found
  repeat
    found = marked(mark)
    if #found == 0 then return found end
    vmctl.sleep(PAUSE)
  until vmctl.now() > last
  return found
end

local function files_of(folder, prefix, list)
  for _, name in ipairs(core.fs.list(folder) or {}) do
    local path = folder .. "/" .. name
    list[#list + 1] = prefix .. name
    files_of(path, prefix .. name .. "/", list)
  end
  return list
end

local function remove(folder)
  for _, name in ipairs(core.fs.list(folder) or {}) do
    if not os.remove(folder .. "/" .. name) then remove(folder .. "/" .. name) end
  end
  return os.remove(folder)
end

-- Kills, and says whether that process was there.
local function kill_at_random(child, work, target)
  local pids, last_line = {}, nil
  local reader = vmctl.spawn(function()
    for line in function() return (child.stdout:read_line(1 << 20, TELL)) end do
      local name, pid = line:match "^process (%S+) (%d+)$"
      if name then pids[name] = tonumber(pid) else last_line = line end
    end
    return last_line
  end)
  local last = vmctl.now() + TELL
  while not pids[target] and child:wait(0) == nil and vmctl.now() < last do vmctl.sleep(PAUSE / 5) end
  vmctl.sleep(math.random() * work.span)
  local pid = pids[target]
  local killed = pid and #core.fs.list("/proc/" .. pid .. "/fd") > 0 and vmctl.host:run { "kill", "-KILL", tostring(pid) }
  return killed and killed.exit_code == 0, reader
end

local function try(round, name, folder)
  local work = WORKS[name]
  local target, mark = work[math.random(#work)], ("%d.%d"):format(SEED, round)
  local child <close> = assert(vmctl.process.spawn { "lua5.4", "stress/chaos/victim.lua", name, folder, stdin = "null",
    stdout = "pipe", stderr = "inherit", death_signal = "KILL", env = { [MARK] = mark, TMPDIR = folder } })
  local killed, reader = kill_at_random(child, work, target)
  if killed then count(target) else count "nobody" end
  local record = child:wait(TELL)
  if not record then
    complain(round, "%s, %s killed: the script tells nothing within %d s", name, target, TELL)
    child:kill "KILL"
    record = child:wait(GONE) or {}
  end
  local line = reader:join(GONE)
  if target ~= "script" and killed and not (record.exit_code == 0 and line and line:find "^told ") then
    complain(round, "%s, %s killed: %s", name, target, tostring(line or record.exit_code or record.signal))
  end
  local left = await_gone(mark)
  if #left > 0 then
    complain(round, "%s, %s killed: processes are left: %s", name, target, table.concat(left, " "))
    for _, pid in ipairs(left) do vmctl.host:run { "kill", "-KILL", tostring(pid) } end
  end
  return target, files_of(folder, "", {})
end

local function round_of(round, names)
  local name = names[(round - 1) % #names + 1]
  local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-chaos"))
  local target, files = try(round, name, folder)
  -- A script that was killed cannot remove its folder; whoever else was, the script can.
  if target ~= "script" and #files > 0 then
    complain(round, "%s, %s killed: files are left: %s", name, target, table.concat(files, " "))
  end
  if target == "script" then figures.files = (figures.files or 0) + #files end
  remove(folder)
end

local function main(names)
  io.stdout:setvbuf "line"
  if #names == 0 then
    for name in pairs(WORKS) do names[#names + 1] = name end
  end
  table.sort(names)
  math.randomseed(SEED)
  local begin = vmctl.now()
  for round = 1, ROUNDS do round_of(round, names) end
  local parts = {}
  for what, n in pairs(figures) do parts[#parts + 1] = what .. " " .. n end
  table.sort(parts)
  print(("chaos: %d rounds (killed: %s), %d failures, seed %d, %.0f s"):format(ROUNDS, table.concat(parts, ", "), failures, SEED,
    vmctl.now() - begin))
  return failures == 0
end

os.exit(vmctl.run(main, { table.unpack(arg) }), true)
