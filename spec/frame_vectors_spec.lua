local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"

local code, run, pair = support.code, support.run, support.pair

-- Each protocol's format, and the vectors that are no whole frames: what they are instead is tested below.
local protocols = {
  exec = {
    format = { type = 1, max = 1 << 20 }, frames = 50,
    others = { "hdr_max_length", "hdr_truncated", "body_truncated", "interleaved_race", "sockaddr_vfs",
      "sockaddr_bind_exec" },
  },
  ["cc-ipc"] = {
    format = { type = 2, max = 1 << 20 }, frames = 140,
    others = { "^header%.byte", "^header%.max", "^header%.short", "^prim%.", "^short%.", "^struct%.",
      "^error%.body%." },
  },
  ["qemu-l2"] = {
    format = { max = 69632 }, frames = 12, others = { "^hdr_", "truncated", "little_endian_mistake", "vnet_hdr_form" },
  },
  ttrpc = {
    format = { order = "length", stream = 4, type = 1, flags = 1, max = 4 << 20 }, frames = 35,
    others = { "hdr_unary_request", "hdr_max_length", "hdr_oversize", "hdr_reserved_first_byte", "^stream_",
      "^proto_stream_", "forward_id" },
  },
}

local function is_other(protocol, name)
  for _, pattern in ipairs(protocol.others) do
    if pattern == name or pattern:sub(1, 1) == "^" and name:find(pattern) then return true end
  end
  return false
end

local function each_vector(name, fn)
  local protocol, count = protocols[name], 0
  for _, vector in ipairs(vectors.load(name)) do
    if not is_other(protocol, vector.name) then
      count = count + 1
      fn(vector, vectors.frames(vector.bytes, vectors.layouts[name]))
    end
  end
  assert.is_true(count >= protocol.frames, ("%d vectors of %s"):format(count, name))
end

local function check_frame(vector, want, ...)
  if not ... then error(("%s: %s"):format(vector.name, (select(2, ...))), 0) end
  assert.same(want, { ... }, vector.name)
end

-- One write, the first part of which is there when the reader looks, and the rest when it looks again.
local function check_cut(vector, frames, near, far, at)
  near:write(vector.bytes:sub(1, at))
  local done = 0
  for i = 1, #frames do
    local got = table.pack(far:read_frame(0))
    if got[1] == nil then
      assert.equal("ETIMEDOUT", got[3], vector.name)
      break
    end
    done = i
    assert.same(frames[i], { table.unpack(got, 1, got.n) }, vector.name)
  end
  near:write(vector.bytes:sub(at + 1))
  for i = done + 1, #frames do check_frame(vector, frames[i], far:read_frame(0)) end
end

local function announced(name, vector)
  local fields = vector.fields
  if name == "cc-ipc" then return { math.tointeger(fields[1].value), math.tointeger(fields[2].value) } end
  local frame = fields.frame
  if name == "ttrpc" then return { frame.type, frame.length, frame.stream_id, frame.flags } end
  if name == "exec" and fields.length then return { fields.type, fields.length } end
  return nil
end

for name, protocol in pairs(protocols) do
  describe("the vectors of " .. name, function()
    it("are decoded as their fields say", run(function()
      each_vector(name, function(vector, frames)
        local want = announced(name, vector)
        if want then
          local first = { table.unpack(frames[1]) }
          first[2] = #first[2]
          for i = 1, #want do assert.equal(want[i], first[i], vector.name) end
        end
      end)
    end))

    it("are decoded when they come whole", run(function()
      local near, far = pair { format = protocol.format }
      each_vector(name, function(vector, frames)
        near:write(vector.bytes)
        for _, frame in ipairs(frames) do check_frame(vector, frame, far:read_frame()) end
      end)
      assert.equal("ETIMEDOUT", code(far:read_frame(0)))
    end))

    it("are decoded when cut at any byte", run(function()
      local near, far = pair { format = protocol.format }
      each_vector(name, function(vector, frames)
        for at = 1, #vector.bytes - 1 do check_cut(vector, frames, near, far, at) end
      end)
    end, 10))

    it("are decoded when they come byte by byte, by a reader that waits", run(function()
      local near, far = pair { format = protocol.format }
      each_vector(name, function(vector, frames)
        if #vector.bytes > 200 then return end
        local writer = vmctl.spawn(function()
          for byte in vector.bytes:gmatch "." do
            near:write(byte)
            vmctl.yield()
          end
        end)
        for _, frame in ipairs(frames) do check_frame(vector, frame, far:read_frame()) end
        writer:join()
      end)
    end, 10))

    it("are what we encode", run(function()
      local near, far = pair()
      near:set_format(protocol.format)
      each_vector(name, function(vector, frames)
        for _, frame in ipairs(frames) do near:write_frame(table.unpack(frame)) end
        assert.is_true(far:read_exact(#vector.bytes, 0) == vector.bytes, vector.name)
      end)
    end))

    it("end with EPROTO when the stream ends at any byte inside of a frame", run(function()
      local checked = 0
      each_vector(name, function(vector, frames)
        if #frames > 1 or #vector.bytes > 60 then return end
        for at = 1, #vector.bytes - 1 do
          local near, far = pair { format = protocol.format }
          near:write(vector.bytes:sub(1, at))
          near:close()
          assert.equal("EPROTO", code(far:read_frame()), vector.name)
          far:close()
          checked = checked + 1
        end
      end)
      assert.is_true(checked > 20)
    end, 10))
  end)
end

describe("the negative vectors", function()
  -- The vector behind a frame that is fine: that one is delivered, then comes the refusal.
  local function refused(name, vector_name, end_of_stream)
    local near, far = pair { format = protocols[name].format }
    local vector = assert(vectors.load(name)[vector_name], vector_name)
    near:write_frame(table.unpack(vectors.frames(protocols[name].good, vectors.layouts[name])[1]))
    near:write(vector.bytes)
    if end_of_stream then near:close() end
    assert.is_truthy(far:read_frame(0))
    return code(far:read_frame(0))
  end

  protocols.exec.good = "\3\0\0\0\2ok"
  protocols["cc-ipc"].good = "\1\1\0\0\0\0"
  protocols["qemu-l2"].good = "\0\0\0\2ok"
  protocols.ttrpc.good = "\0\0\0\2\0\0\0\1\1\0ok"

  local too_big = {
    { "exec", "hdr_max_length" }, { "cc-ipc", "header.byte-order" }, { "cc-ipc", "header.max" },
    { "qemu-l2", "hdr_69633" }, { "qemu-l2", "hdr_max" }, { "qemu-l2", "little_endian_mistake" },
    { "ttrpc", "hdr_oversize" }, { "ttrpc", "hdr_reserved_first_byte" },
  }
  for _, case in ipairs(too_big) do
    it(("%s %s: ETOOBIG"):format(case[1], case[2]), run(function()
      assert.equal("ETOOBIG", refused(case[1], case[2]))
    end))
  end

  local truncated = {
    { "exec", "hdr_truncated" }, { "exec", "body_truncated" }, { "cc-ipc", "header.short.decode-only" },
    { "qemu-l2", "truncated" }, { "qemu-l2", "hdr_65535" }, { "qemu-l2", "hdr_65536" }, { "qemu-l2", "hdr_69632" },
    { "ttrpc", "hdr_unary_request" }, { "ttrpc", "hdr_max_length" },
  }
  for _, case in ipairs(truncated) do
    it(("%s %s: not complete, and EPROTO when the stream ends there"):format(case[1], case[2]), run(function()
      assert.equal("ETIMEDOUT", refused(case[1], case[2]))
      assert.equal("EPROTO", refused(case[1], case[2], true))
    end))
  end

  it("exec interleaved_race: the first frame as it reads, then ETOOBIG", run(function()
    local near, far = pair { format = protocols.exec.format }
    near:write(vectors.load "exec".interleaved_race.bytes)
    assert.same({ 3, "\4\0\0" }, { far:read_frame() })
    assert.equal("ETOOBIG", code(far:read_frame()))
  end))

  it("ttrpc stream handshakes and proto streams are frames with a length alone", run(function()
    local near, far = pair { format = { max = 1 << 20 } }
    local all = vectors.load "ttrpc"
    for _, name in ipairs { "stream_open", "stream_ack", "stream_reject_duplicate", "stream_open_empty_id",
      "proto_stream_frame", "proto_stream_eof" } do
      local vector = all[name]
      near:write(vector.bytes)
      local body = assert(far:read_frame())
      assert.equal(vector.fields.length, #body)
      if vector.fields.text then assert.equal(vector.fields.text, body) end
      near:write_frame(body)
      assert.equal(vector.bytes, far:read_exact(#vector.bytes))
    end
  end))
end)
