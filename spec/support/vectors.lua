--- The wire vectors of spec/vectors, and a second opinion on what frames they hold (string.unpack, not our reader).
local cjson = require "cjson"

local M = {}

--- The bytes that a hexadecimal text stands for.
function M.bytes(hex)
  return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

--- The vectors of a file: arrays of { name, description, bytes, fields }, and by name.
---@param name string e.g. "exec"
function M.load(name)
  local list = {}
  for line in io.lines("spec/vectors/" .. name .. ".jsonl") do
    local vector = cjson.decode(line)
    vector.bytes = M.bytes(vector.hex or "")
    list[#list + 1] = vector
    list[vector.name] = vector
  end
  return list
end

--- Splits bytes into frames. `layout` unpacks one: (bytes, position) -> body, next position, then what read_frame gives
-- beside the body. Raises when the bytes are no whole frames.
---@return table[] frames each an array of read_frame's results
function M.frames(bytes, layout)
  local frames, at = {}, 1
  while at <= #bytes do
    local frame
    frame, at = layout(bytes, at)
    frames[#frames + 1] = frame
  end
  assert(#frames > 0, "no frame")
  return frames
end

--- The layouts of the four binary protocols.
M.layouts = {
  exec = function(bytes, at)
    local type, body, following = (">Bs4"):unpack(bytes, at)
    return { type, body }, following
  end,
  ["cc-ipc"] = function(bytes, at)
    local type, body, following = (">I2s4"):unpack(bytes, at)
    return { type, body }, following
  end,
  ["qemu-l2"] = function(bytes, at)
    local body, following = (">s4"):unpack(bytes, at)
    return { body }, following
  end,
  ttrpc = function(bytes, at)
    local length, stream, type, flags, body = (">I4I4BB"):unpack(bytes, at)
    local following = body + length
    if following > #bytes + 1 then error "data string too short" end
    return { type, bytes:sub(body, following - 1), stream, flags }, following
  end,
}

return M
