-- Properties that hold for any frames that a server's connection is sent. Returns a function that raises when one does not.
package.loaded["vmctl.core"] = { -- the rules never wait: of the core, modules take what they need as they are loaded
  format = function() return {} end, queue = function() return {} end, now = os.clock,
}
package.loaded["vmctl.protobuf.source"] = {} -- it starts a compiler, and asks the core for files
local rules = require "vmctl.ttrpc.frame_rules"
local status = require "vmctl.ttrpc.status"
local wire = require "vmctl.ttrpc.wire"

local HEAD, MOST = 10, 4

-- Every service is there, but for those whose name is short; every second method streams.
local function find(service, method)
  if #service < 2 then return nil, false end
  return #method > 1 and { unary = #method % 2 == 0 } or nil, true
end

local function take_out(state, entry)
  if state.streams[entry.id] ~= entry then return end
  state.streams[entry.id] = nil
  state.live, state.held = state.live - 1, state.held - entry.size
end

local function check_answer(code, text)
  assert(math.type(code) == "integer" and code >= 1 and code <= 16, "no code of a failure")
  local bytes = assert(wire.encode_response(nil, status.new(code, text)))
  local response = assert(wire.decode_response(bytes))
  assert(response.status.code == code and utf8.len(response.status.message), "another status")
end

-- The acts of a connection, by verdict.
local acts = {}

function acts.ignore() end

function acts.refuse(state, _, code, text, entry)
  check_answer(code, text)
  if entry then take_out(state, entry) end
end

function acts.data(state, frame, entry)
  assert(frame.kind == wire.DATA and state.streams[frame.id] == entry and not entry.unary and not entry.input_over)
  if frame.flags & wire.REMOTE_CLOSED ~= 0 then entry.input_over = true end
end

function acts.start(state, frame, request, method)
  assert(frame.kind == wire.REQUEST and frame.id == state.last and state.streams[frame.id] == nil)
  assert(math.type(request.timeout_nano) == "integer" and utf8.len(request.method))
  assert(wire.metadata_of(request.metadata))
  state.streams[frame.id] = { id = frame.id, unary = method.unary, size = #request.payload }
  state.live, state.held = state.live + 1, state.held + #request.payload
end

local function check_state(state, last)
  local live, held = 0, 0
  for id, entry in pairs(state.streams) do
    assert(id % 2 == 1 and id <= state.last, "a stream that cannot be")
    live, held = live + 1, held + entry.size
  end
  assert(live == state.live and held == state.held and live <= MOST, "a wrong count")
  assert(state.last >= last, "the last id went down")
end

local function copy(state)
  local same = {}
  for key, value in pairs(state) do same[key] = value end
  return same
end

-- A request that the core has decoded is judged as its bytes are.
local function check_decoded(state, frame)
  local request = frame.kind == wire.REQUEST and wire.decode_request(frame.payload)
  if not request then return end
  local verdict, code, text = rules.judge(copy(state), frame.kind, frame.payload, frame.id, frame.flags)
  local method, other, other_code, other_text =
    rules.judge_call(copy(state), frame.id, request.service, request.method, request.payload)
  assert((verdict == "start") == (method ~= nil), "begun in one way alone")
  assert(method or verdict == other and code == other_code and text == other_text, "refused in two ways")
end

local function try_frame(state, frame)
  check_decoded(state, frame)
  local last = state.last
  local verdict, first, second, third = rules.judge(state, frame.kind, frame.payload, frame.id, frame.flags)
  assert(acts[verdict], "no such verdict")(state, frame, first, second, third)
  check_state(state, last)
end

return function(bytes)
  local state = { streams = {}, live = 0, held = 0, last = 0, most = MOST, draining = false, find = find }
  local at = 1
  while #bytes - at + 1 >= HEAD do
    local size, id, kind, flags = (">I4I4BB"):unpack(bytes, at)
    local frame = { kind = kind, id = id, flags = flags, payload = bytes:sub(at + HEAD, at + HEAD + size - 1) }
    try_frame(state, frame)
    if size > #bytes - at - HEAD + 1 then return end
    at = at + HEAD + size
  end
end
