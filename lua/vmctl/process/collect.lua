--- Runs a command to its end on any object that can `start` one: collects output, feeds input, applies limits.
local core = require "vmctl.core"
local log = require "vmctl.log"
local pieces = require "vmctl.base.pieces"
local task = require "vmctl.base.task"

local M = {}
local add = pieces.add

local PIECE = 64 << 10      -- bytes of an input that are read at a time
local MAX_OUTPUT = 64 << 20 -- bytes of each stream that are kept: beyond, the first and the last half of it

--- Collects output up to a limit: its first and its last half, and how much is cut between.
function M.collector(limit)
  return { cut = 0, half = (limit or MAX_OUTPUT) // 2 } -- many commands say nothing: `head` and `tail` are made when something comes
end

--- Adds output.
function M.collect(c, data)
  if not c.head then c.head, c.tail = pieces.new(), pieces.new() end
  local head = c.head
  local room = c.half - head.bytes
  if #data <= room then return add(head, data) end
  if room > 0 then
    head:add(data:sub(1, room))
    data = data:sub(room + 1)
  end
  c.tail:add(data)
  c.cut = c.cut + c.tail:drop(c.half)
end

--- The kept output; c.cut says how many bytes are missing in the middle.
function M.collected(c)
  if not c.head then return "" end
  local tail = c.tail:text()
  if #tail > c.half then
    c.cut = c.cut + #tail - c.half
    tail = tail:sub(#tail - c.half + 1)
  end
  return c.head:text() .. tail
end

--- The pieces of an input: a function that gives the next one; nil at the end; nil, message, code on a failure.
---@param input string|function|vmctl.Stream
function M.chunks(input)
  if type(input) == "userdata" then
    return function()
      local data, err, code = input:read(PIECE, math.huge)
      if data or code ~= "EOF" then return data, err, code end
    end
  elseif type(input) ~= "string" then
    return input
  end
  return function()
    local all = input
    input = nil
    return all
  end
end

--- Gives a process its input from a string, a stream or a function. Waits.
---@return true|nil, string?, string? how the input failed; a process that does not want all of it is no failure
function M.feed(process, input)
  local next_chunk = M.chunks(input)
  while true do
    local chunk, err, code = next_chunk()
    if not chunk and err then return nil, ("%s: standard input: %s"):format(process.name, err), code end
    if not chunk then break end
    if not process:write(chunk, math.huge) then return true end
  end
  process:close_stdin(math.huge)
  return true
end

local function drain(process, out, on_output, deadline)
  while core.now() < deadline do -- a command that always has output runs out of time as well
    local data, stream, code = process:read(deadline - core.now())
    if not data then
      if code == "EOF" then return true end
      return nil, stream, code
    end
    if on_output then on_output(data, stream) else M.collect(out[stream], data) end
  end
  return nil, process.name .. ": timed out", "ETIMEDOUT"
end

local function communicate(process, opts, out, deadline)
  if opts.stdin == nil then return drain(process, out, opts.on_output, deadline) end
  return task.scope(function(scope)
    local broken
    local feeder = task.spawn_in(scope, function()
      local fed, err, code = M.feed(process, opts.stdin)
      if fed or code == "ECANCELED" then return end
      broken = { err, code }
      process:close() -- half an input is worse than none
    end)
    local ok, err, code = drain(process, out, opts.on_output, deadline)
    feeder:cancel()
    if broken then return nil, table.unpack(broken) end
    return ok, err, code
  end)
end

local function tail_of(text)
  local tail = log.last_words(text)
  return tail ~= "" and ": " .. tail or ""
end

local function check(record, name)
  if record.exit_code == 0 and not record.error then return record end
  local how = record.error or record.signal and "killed by signal " .. record.signal or "exit code " .. record.exit_code
  return nil, ("%s: %s%s"):format(name, how, tail_of(record.stderr)), "EEXIT", record
end

--- Runs a started process to its end. `opts`: stdin (string, stream or function), check, max_output, on_output(data, stream).
---@return { stdout: string, stderr: string, exit_code: integer?, signal: string?, error: string?, truncated: integer?,
--- lingering: true? }|nil
---@return string? message, string? code, table? record partial output on a time-out or a lost link
function M.finish(process, opts, deadline)
  local out = { stdout = M.collector(opts.max_output), stderr = M.collector(opts.max_output) }
  local ok, err, code = communicate(process, opts, out, deadline)
  local ended
  if ok then ended, err, code = process:wait(deadline - core.now()) end
  local record = { stdout = M.collected(out.stdout), stderr = M.collected(out.stderr) }
  local cut = out.stdout.cut + out.stderr.cut
  if cut > 0 then record.truncated = cut end
  local name = process.name
  process:close()
  if not ended then
    if code == "ETIMEDOUT" then
      record.timed_out = true
      err = name .. ": not finished in time"
    end
    record.error = err
    return nil, err, code, record
  end
  record.exit_code, record.signal, record.error, record.lingering = ended.exit_code, ended.signal, ended.error, ended.lingering
  if opts.check then return check(record, name) end
  return record
end

return M
