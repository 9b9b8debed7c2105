-- A peer sends one byte at a time: lua5.4 spec/c/dribbled.lua CASE BYTES script|task, with the stack that the caller
-- allows. Prints what the call gave.
local case, total, where = arg[1], tonumber(arg[2]), arg[3]
local core = require "vmctl.core"
local ttrpc = require "vmctl.ttrpc.wire"
local vmctl = require "vmctl"

local FRAMES = vmctl.format { type = 1, length = 4, max = 1 << 24 }
local HEADER = string.pack(">B I4", 7, total)

-- Writes `bytes` one at a time; each is taken before the next is sent.
local function dribble(stream, bytes)
  for i = 1, #bytes do
    assert(stream:write(bytes:sub(i, i)))
    vmctl.yield()
  end
end

-- Reads one byte at a time, so that a writer waits for each piece of room.
local function sip(stream)
  repeat local bytes = stream:read(4096) until not bytes
end

-- Calls fn(near) while a task of its own is the peer.
local function against(peer, options, fn)
  local near, far = vmctl.pair(options)
  vmctl.spawn(function()
    peer(far)
    far:close()
  end)
  local results = table.pack(fn(near))
  near:close()
  return table.unpack(results, 1, results.n)
end

local function sends(bytes) return function(far) dribble(far, bytes) end end

local x = ("x"):rep(total)

local TTRPC_HEAD, TTRPC_REST = string.pack(">I4 I4 B B", total, 1, 3, 0), ("x"):rep(total) -- data of a stream

-- A command that writes single bytes.
local SAYS = { "env", "-u", "LD_PRELOAD", "dd", "if=/dev/zero", "bs=1", "count=" .. total, stdout = "pipe", stderr = "null" }

local cases = {
  read = function()
    return against(sends(x), nil, function(s)
      local got = 0
      for bytes in function() return s:read(4096, 60) end do got = got + #bytes end
      return got
    end)
  end,
  read_exact = function()
    return #against(sends(x), nil, function(s) return s:read_exact(total, 60) end)
  end,
  read_line = function()
    return #against(sends(x .. "\n"), nil, function(s) return s:read_line(nil, 60) end)
  end,
  read_line_without_end = function()
    return select(3, against(sends(x), nil, function(s) return s:read_line(nil, 60) end))
  end,
  read_frame = function()
    local kind, payload = against(sends(HEADER .. x), { format = FRAMES }, function(s) return s:read_frame(60) end)
    return kind, #payload
  end,
  read_frames = function()
    local payloads = against(sends(HEADER .. x), { format = FRAMES }, function(s) return s:read_frames(8, 60) end)
    return #payloads[1]
  end,
  skip_frame = function()
    local limit = vmctl.format { type = 1, length = 4, max = 8 }
    local next_one = string.pack(">B s4", 9, "after")
    return against(sends(HEADER .. x .. next_one), { format = limit }, function(s)
      local _, _, code = s:read_frame(60)
      assert(s:skip_frame(60))
      return code, s:read_frame(60)
    end)
  end,
  skip_past = function()
    return against(sends(x .. "\nnext\n"), nil, function(s)
      local _, _, code = s:read_line(16, 60)
      assert(s:skip_past("\n", 60))
      return code, s:read_line(nil, 60)
    end)
  end,
  write = function()
    local bytes = ("y"):rep(1 << 20):rep(200)
    return against(sip, nil, function(s) return s:write(bytes, 60) end)
  end,
  write_frame = function()
    return against(sip, { format = FRAMES }, function(s) return s:write_frame(3, ("y"):rep(1 << 23), 60) end)
  end,
  flush = function()
    local bytes = ("y"):rep(1 << 20):rep(64)
    return against(sip, nil, function(s)
      s:write(bytes, 0) -- what is left over is queued
      return s:flush(60)
    end)
  end,
  shutdown = function()
    return against(sip, nil, function(s)
      for _ = 1, 1000 do s:write(("y"):rep(1 << 16), 0) end
      return s:shutdown(60)
    end)
  end,
  calls_read = function()
    local kind, payload = against(sends(TTRPC_HEAD .. TTRPC_REST), { format = ttrpc.format }, function(s)
      return core.calls(s, ttrpc.REQUEST, ttrpc.RESPONSE):read(60)
    end)
    return kind, #payload
  end,
  requests_read = function()
    local kind, payload = against(sends(TTRPC_HEAD .. TTRPC_REST), { format = ttrpc.format }, function(s)
      return core.requests(s, ttrpc.REQUEST, ttrpc.RESPONSE):read(60)
    end)
    return kind, #payload
  end,
  output_of_a_process = function()
    local child <close> = assert(vmctl.process.spawn(SAYS))
    return #child.stdout:read_exact(total, 60), child:wait(60).exit_code
  end,
  run = function()
    local result = assert(vmctl.host:run(table.concat(SAYS, " ") .. " 2>/dev/null"))
    return #result.stdout, result.exit_code
  end,
  merge = function()
    local near, far = vmctl.pair { format = FRAMES }
    local child <close> = assert(vmctl.process.spawn(SAYS))
    vmctl.spawn(sip, far)
    local merge = assert(core.merge(near, 3, child.stdout))
    local ok = merge:wait(60)
    near:close()
    return ok, near:stats().bytes_out > total
  end,
  relay = function()
    local left, a = vmctl.pair()
    local b, right = vmctl.pair()
    vmctl.spawn(function()
      dribble(left, x)
      left:close()
    end)
    vmctl.spawn(function()
      sip(right)
      right:close()
    end)
    local moved = assert(core.relay(a, b)):wait(60)
    return moved.a_to_b
  end,
  write_frames = function()
    local list = {}
    for i = 1, 2000 do list[i] = ("z"):rep(8192) end
    return against(sip, { format = FRAMES }, function(s) return s:write_frames(3, list, 60) end)
  end,
  queue = function()
    local q, woken = core.queue(), 0
    vmctl.spawn(function()
      for _ = 1, total do
        q:wake()
        vmctl.yield()
      end
    end)
    while woken < total and q:wait(60) do woken = woken + 1 end
    return woken
  end,
  stereos = function()
    local _, _, code = against(sends(x .. "\n"), nil, function(s)
      local once = function() return s end
      local client = assert(vmctl.stereos.connect(vmctl.address.func(once, "a dribbling guest")))
      return client:ping { timeout = 60 }
    end)
    return code
  end,
  ttrpc = function()
    local _, _, code = against(function(far)
      far:read(1)
      dribble(far, string.pack(">I4 I4 B B", total, 1, 2, 0) .. ("\xff"):rep(total))
    end, nil, function(s)
      local client = assert(vmctl.ttrpc.connect(function() return s end))
      return client:call("a.Service", "Method", "", { timeout = 60 })
    end)
    return code
  end,
  exec = function()
    local _, _, code = against(function(far)
      far:read(1)
      dribble(far, string.pack(">B I4", 2, total) .. x)
    end, nil, function(s)
      local first = true
      local client = assert(vmctl.exec.client(function()
        if first then
          first = false
          return s
        end
        return nil, "only once", "ECONNREFUSED"
      end))
      return client:run({ "true" }, { timeout = 60 })
    end)
    return code
  end,
}

if where == "task" then
  print(vmctl.run(cases[case]))
else
  print(cases[case]())
end
