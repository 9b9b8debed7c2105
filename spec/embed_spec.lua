local cqueues = require "cqueues"
local support = require "spec.support"
local uv = require "luv"
local vmctl = require "vmctl"

local code = support.code

-- Socket I/O with time-outs, as a task. `note` is called with what happens.
local function conversation(note)
  local near, far = support.pair()
  vmctl.spawn(function()
    for line in function() return (far:read_line { timeout = 1 }) end do far:write(line:upper() .. "\n") end
    note "server ended"
    far:close()
  end)
  for i = 1, 3 do
    assert(near:write(("line %d\n"):format(i)))
    note(near:read_line { timeout = 30 })
  end
  note(code(near:read_line { timeout = 0.3 })) -- long enough for a hundred ticks of the host
  vmctl.sleep(0.005)
  near:close()
  note "client ended"
end

local EXPECTED = { "LINE 1", "LINE 2", "LINE 3", "ETIMEDOUT", "client ended", "server ended" }

-- Starts the conversation; gives what it has said so far.
local function start()
  local said = {}
  local task = vmctl.spawn(conversation, function(what) said[#said + 1] = what end)
  return said, function() return task:status() == "done" and #said == #EXPECTED end
end

-- The least that a cqueues program has to do: one coroutine that polls the loop and steps it.
local function step_in_cqueues(finished)
  while not finished() do
    cqueues.poll(vmctl.loop)
    vmctl.loop.step(0)
  end
end

-- The same for luv: a poll handle for the events, a timer for the time-outs, set anew before each wait.
local function step_in_luv(on_error)
  local poll, timer, prepare = uv.new_poll(vmctl.loop.pollfd()), uv.new_timer(), uv.new_prepare()
  local function step()
    local ok, err = pcall(vmctl.loop.step, 0)
    if not ok then on_error(err) end
  end
  poll:start(vmctl.loop.events(), step)
  prepare:start(function()
    local seconds = vmctl.loop.timeout()
    timer:stop()
    if seconds then timer:start(math.ceil(seconds * 1000), 0, step) end
  end)
  return function()
    poll:close()
    timer:close()
    prepare:close()
  end
end

describe("vmctl in the loop of cqueues", function()
  it("does its socket I/O while the host's timers run", function()
    local said, finished = start()
    local ticks = 0
    local queue = cqueues.new()
    queue:wrap(step_in_cqueues, finished)
    queue:wrap(function()
      while not finished() do
        cqueues.sleep(0.002)
        ticks = ticks + 1
      end
    end)
    assert(queue:loop(30))
    assert.same(EXPECTED, said)
    assert.is_true(ticks >= 5)
  end)

  it("sleeps while nothing happens", function()
    local sleeper = vmctl.spawn(vmctl.sleep, 0.05)
    local steps = 0
    local queue = cqueues.new()
    queue:wrap(step_in_cqueues, function()
      steps = steps + 1
      return sleeper:status() == "done"
    end)
    assert(queue:loop(30))
    assert.is_true(steps < 10)
  end)

  it("gives the error of a task to who steps", function()
    vmctl.spawn(error, "from a task", 0)
    local queue = cqueues.new()
    local ok, err
    queue:wrap(function() ok, err = pcall(step_in_cqueues, function() return false end) end)
    assert(queue:loop(30))
    assert.is_false(ok)
    assert.match("^from a task", err)
  end)

  it("refuses waits in the host's coroutines, and names vmctl.wrap", function()
    local queue = cqueues.new()
    local ok, err
    queue:wrap(function() ok, err = pcall(vmctl.sleep, 0.001) end)
    assert(queue:loop(30))
    assert.is_false(ok)
    assert.match("vmctl.wrap", err)
  end)
end)

describe("vmctl in the loop of luv", function()
  local function run_until(finished, on_error)
    local stop = step_in_luv(on_error or error)
    local ticks, host = 0, uv.new_timer()
    local last = vmctl.now() + 30
    host:start(0, 2, function()
      ticks = ticks + 1
      if finished() or vmctl.now() > last then uv.stop() end
    end)
    uv.run()
    stop()
    host:close()
    uv.run "nowait"
    return ticks
  end

  it("does its socket I/O while the host's timers run", function()
    local said, finished = start()
    local ticks = run_until(finished)
    assert.same(EXPECTED, said)
    assert.is_true(ticks >= 5)
  end)

  it("runs processes", function()
    local process = require "vmctl.process"
    local record
    local task = vmctl.spawn(function()
      local child <close> = assert(process.spawn { "sh", "-c", "read x; exit 5", stdin = "pipe" })
      vmctl.sleep(0.003)
      child.stdin:close()
      record = child:wait(30)
    end)
    run_until(function() return task:status() == "done" end)
    assert.same({ exit_code = 5 }, record)
  end)

  it("gives the error of a task to who steps", function()
    vmctl.spawn(error, "from a task", 0)
    local got
    run_until(function() return got end, function(err) got = err end)
    assert.match("^from a task", got)
  end)
end)

describe("vmctl.loop", function()
  it("has an fd that becomes readable when something happens", function()
    local near, far = support.pair()
    local reader = vmctl.spawn(near.read, near, 1, 60)
    repeat vmctl.loop.step(0) until vmctl.loop.timeout() > 1
    local queue = cqueues.new()
    local woken = 0
    queue:wrap(function()
      cqueues.poll { pollfd = vmctl.loop.pollfd(), events = "r" }
      woken = woken + 1
    end)
    assert(queue:step(0))
    assert.equal(0, woken)
    far:write "x"
    assert(queue:step(1))
    assert.equal(1, woken)
    vmctl.loop.step(0)
    assert.equal("x", reader:join(0))
    near:close()
    far:close()
  end)

  it("tells how long a host may sleep", function()
    assert(vmctl.sleep(0.001)) -- the timer of the last wait outside of tasks goes with the next one
    while not vmctl.loop.timeout() or vmctl.loop.timeout() == 0 do
      if not vmctl.loop.step(0) then break end
    end
    assert.is_nil(vmctl.loop.timeout())
    local task = vmctl.spawn(vmctl.sleep, 30)
    assert.equal(0, vmctl.loop.timeout())
    repeat vmctl.loop.step(0) until vmctl.loop.timeout() > 0
    assert.is_true(vmctl.loop.timeout() > 25 and vmctl.loop.timeout() <= 30)
    task:cancel()
    assert.equal(0, vmctl.loop.timeout())
    vmctl.loop.step(0)
    assert.equal("ECANCELED", code(task:join(0)))
  end)

  it("steps for as long as it is told, and not longer than something happens", function()
    local start_time = vmctl.now()
    local task = vmctl.spawn(vmctl.sleep, 30)
    vmctl.loop.step(0)
    assert.is_true(vmctl.loop.step(0.01))
    assert.is_true(vmctl.now() - start_time >= 0.009)
    vmctl.spawn(task.cancel, task)
    vmctl.loop.step(30)
    assert.is_true(vmctl.now() - start_time < 25)
    assert.equal("ECANCELED", code(task:join(0)))
  end)

  it("says when nothing is left that could happen", function()
    repeat local alive = vmctl.loop.step(0) until not alive
    assert.is_false(vmctl.loop.step(0.005))
  end)

  it("always has the same fd", function()
    assert.equal(vmctl.loop.pollfd(), vmctl.loop.pollfd())
  end)
end)
