-- A read made its string or its tables while the frame still lay in the stream's buffer. The collector may run then, and
-- with it a finalizer that closes the stream: the frame was copied from freed memory, and consumed from an empty buffer.
local vmctl = require "vmctl"

local format = vmctl.format { type = 1, length = 4, max = 1024 }

-- Something that closes the stream once the collector finds it, as a client object does that nobody has closed.
local function drop_owner(stream)
  setmetatable({}, { __gc = function() stream:close() end })
end

local function until_it_fails(stream, read)
  drop_owner(stream)
  local got, _, code
  repeat got, _, code = read(stream) until not got
  return code
end

describe("a finalizer that closes the stream that is being read", function()
  local function try(name, read)
    it("ends " .. name .. " with ECLOSED", function()
      vmctl.run(function()
        for _ = 1, 50 do
          local near, far = vmctl.pair()
          near:set_format(format)
          far:set_format(format)
          local writer = vmctl.spawn(function()
            while near:write_frame(1, ("y"):rep(500), 1) do end
          end)
          assert.equal("ECLOSED", until_it_fails(far, read))
          writer:join()
          near:close()
        end
      end)
    end)
  end

  try("read_frame", function(stream) return stream:read_frame() end)
  try("read_frames", function(stream) return stream:read_frames(3) end)
  try("read_exact", function(stream) return stream:read_exact(505) end)
end)
