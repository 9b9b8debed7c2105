--- The output of a plain command, which its answer carries.
local job = require "vmctl.process.job"
local locks = require "vmctl.base.lock"
local pieces = require "vmctl.base.pieces"
local wire = require "vmctl.exec.wire"

local M = {}

local T = wire.types
local LINGER = job.LINGER
local CAPTURE = 4 << 20   -- bytes of stdout and stderr together that an answer carries; more goes ahead of it

--- Collects the output. Beyond a limit it goes to the host as it comes, and the answer then has none: hosts of the reference take such
--- output in this mode as well. Does not wait; its functions do.
---@param conn vmctl.Stream
function M.new(conn)
  local types, texts = { stdout = T.STDOUT, stderr = T.STDERR }, { stdout = pieces.new(), stderr = pieces.new() }
  local lock, total = locks.lock(), 0
  local self = { ahead = false, sending = 0 }
  local function send(name, data)
    return conn:write_frame(types[name], data, math.huge)
  end
  local function overflow()
    self.ahead = true
    for name, kept in pairs(texts) do
      local all = kept:text()
      texts[name] = pieces.new()
      for at = 1, #all, wire.CHUNK do
        local ok, err, code = send(name, all:sub(at, at + wire.CHUNK - 1))
        if not ok then return nil, err, code end
      end
    end
    return true
  end
  function self.add(name, data)
    total = total + #data
    if total <= CAPTURE then
      texts[name]:add(data)
      return true
    end
    self.sending = self.sending + 1
    local ok, err, code = lock:with(math.huge, function()
      local sent, why, number = true, nil, nil
      if not self.ahead then sent, why, number = overflow() end
      if sent then sent, why, number = send(name, data) end
      return sent, why, number
    end)
    self.sending = self.sending - 1
    return ok, err, code
  end
  -- Waits for the collecting task, as long as the host takes output.
  function self.await(collecting)
    local sent
    repeat
      sent = conn:stats().bytes_out
      collecting:join(LINGER)
    until collecting:status() == "done" or self.sending == 0 and conn:stats().bytes_out == sent
    collecting:cancel()
  end
  function self.text(name)
    return not self.ahead and texts[name]:text() or nil
  end
  return self
end

return M
