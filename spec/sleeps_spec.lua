-- Fixed waits in specs. A spec waits for a condition (`support.eventually`), lets time pass on a virtual clock (`support.passed`) or
-- lets everything be done that can be done (`support.settle`); what sleeps for a while in real time is counted here.
local assert = require "luassert"

local LEAST, MOST = 0.05, 5 -- seconds: shorter ones let others run, and longer ones are cut short

-- The most that a file may have: those whose other side is a process, a guest or a thread that tells nothing, those on a virtual
-- clock, and those of a handler that takes its time.
local allowed = {
  ["c/forked"] = 1, ["cc_helper_program_spec"] = 1, ["clock_spec"] = 1, ["dial_hybrid_spec"] = 1,
  ["exec_server_spec"] = 2, ["exec_spec"] = 1, ["fleet_spec"] = 4, ["l2_capture_spec"] = 1, ["l2_isolation_spec"] = 1,
  ["l2_trunk_ssh_spec"] = 1,
  ["machine_life_spec"] = 2, ["machine_spec"] = 1, ["pipeline_spec"] = 1, ["regress/hung_share_freezes_agent_spec"] = 1,
  ["regress/interrupted_test_leaves_guests_spec"] = 2, ["regress/stubborn_task_spins_spec"] = 1,
  ["socketforward_guest_spec"] = 1, ["stereos_server_spec"] = 2, ["support/cli"] = 1, ["support/nested_checks"] = 4,
  ["support/vsock_checks"] = 1, ["task_spec"] = 1, ["ttrpc_server_spec"] = 1, ["ttrpc_workers_spec"] = 2,
}

local function count(text)
  local n = 0
  for seconds in text:gmatch "sleep%((%d[%d.]*)%)" do
    if tonumber(seconds) >= LEAST and tonumber(seconds) < MOST then n = n + 1 end
  end
  return n
end

-- The files that sleep, without "spec/" and ".lua".
local function sleepers()
  local found = {}
  local pipe <close> = assert(io.popen "find spec -name '*.lua'")
  for path in pipe:lines() do
    local file <close> = assert(io.open(path))
    local n = count(file:read "a")
    if n > 0 then found[path:sub(#"spec/" + 1, -#".lua" - 1)] = n end
  end
  return found
end

describe("fixed waits in specs", function()
  it("are counted where they last for a while", function()
    for seconds, expected in pairs { ["0.05"] = 1, ["4.9"] = 1, ["0.049"] = 0, ["5"] = 0, ["math.huge"] = 0, seconds = 0 } do
      assert.equal(expected, count(("assert(vmctl.sleep(%s))"):format(seconds)), seconds)
    end
  end)

  it("do not become more", function()
    local more = {}
    for path, n in pairs(sleepers()) do
      if n > (allowed[path] or 0) then more[#more + 1] = ("%s has %d, where %d were"):format(path, n, allowed[path] or 0) end
    end
    table.sort(more)
    assert.same({}, more)
  end)

  it("are no longer allowed where they have gone", function()
    local found, less = sleepers(), {}
    for path in pairs(allowed) do
      if not found[path] then less[#less + 1] = path end
    end
    assert.same({}, less)
  end)
end)
