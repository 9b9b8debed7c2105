local core = require "vmctl.core"
local support = require "spec.support"
local vectors = require "spec.support.vectors"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local golden = vectors.load "hybrid-vsock"

-- A VMM that treats its first connection as `fn(connection, first)` says; `first` is what its first read got. Returns
-- its path, and its task, which is done when the connection has ended.
local function vmm(fn)
  local path = support.tmpdir() .. "/vsock"
  local listener = assert(vmctl.listen("unix:" .. path))
  local serving = vmctl.spawn(function()
    local conn <close> = assert(listener:accept(30))
    listener:close()
    return fn(conn, conn:read())
  end)
  return path, serving
end

local function dial(path, port, timeout)
  return vmctl.dial(("hybrid:%s:%d"):format(path, port), { timeout = timeout or 1 })
end

-- The code of a dial to a VMM that answers so, and whether the VMM saw the end of the connection.
local function outcome_of(answer)
  local path, serving = vmm(function(conn)
    conn:write(answer)
    return code(conn:read())
  end)
  local s, message, name = dial(path, 52)
  if s then s:close() end
  if message then assert.truthy(message:find(path .. ":52", 1, true), message) end
  assert.equal("EOF", serving:join(), "the connection was left open")
  return name
end

describe("vmctl.dial hybrid", function()
  for _, name in ipairs { "connect_52", "connect_max" } do
    it("sends the line in one write: " .. name, run(function()
      local path, serving = vmm(function(conn, first)
        conn:write "OK 1073741824\n"
        return first
      end)
      assert.truthy(dial(path, math.tointeger(golden[name].fields.port)))
      assert.equal(golden[name].bytes, serving:join())
    end))
  end

  for _, name in ipairs { "ok_first", "ok_guest_port", "ok_with_data", "ok_split" } do
    it("takes the answer whole and cut at any byte, and keeps what is behind it: " .. name, run(function()
      local answer = golden[name].bytes
      local left = vectors.bytes(golden[name].fields.leftover_hex or "")
      for at = 0, #answer - 1 do
        local path = vmm(function(conn)
          conn:write(answer:sub(1, at))
          vmctl.yield()
          conn:write(answer:sub(at + 1) .. "!")
          conn:read()
        end)
        local s = assert(dial(path, 52))
        assert.equal(left .. "!", s:read_exact(#left + 1))
        s:close()
      end
    end))
  end

  it("takes the answer in the pieces of ok_split", run(function()
    local path = vmm(function(conn)
      for _, chunk in ipairs(golden.ok_split.fields.chunks) do
        conn:write(vectors.bytes(chunk))
        vmctl.yield()
      end
      conn:write "data"
    end)
    assert.equal("data", assert(dial(path, 52)):read())
  end))

  it("makes a stream that says where it leads to", run(function()
    local path = vmm(function(conn)
      conn:write "OK 1\n"
      conn:read()
    end)
    local s <close> = assert(dial(path, 1024))
    assert.equal(("vmctl.Stream(hybrid:%s:1024)"):format(path), tostring(s))
  end))

  it("returns ECONNREFUSED when the connection ends before an answer", run(function()
    local path = vmm(function() end)
    local _, message, name = dial(path, 52)
    assert.equal("ECONNREFUSED", name)
    assert.truthy(message:find(path, 1, true))
  end))

  it("returns ECONNREFUSED when the answer ends before its LF", run(function()
    local path = vmm(function(conn) conn:write "OK 10737" end)
    assert.equal("ECONNREFUSED", code(dial(path, 52)))
  end))

  it("returns ECONNREFUSED when the connection is reset with the line unread", run(function()
    local path = support.tmpdir() .. "/vsock"
    local listener = assert(vmctl.listen("unix:" .. path))
    vmctl.spawn(function()
      local conn = assert(listener:accept(30))
      vmctl.yield()
      conn:close()
    end)
    assert.equal("ECONNREFUSED", code(dial(path, 52)))
  end))

  it("returns ETIMEDOUT when there is no answer, and hangs up", run(function()
    local path, serving = vmm(function(conn) return code(conn:read()) end)
    local _, message, name = dial(path, 52, 0.05)
    assert.equal("ETIMEDOUT", name)
    assert.truthy(message:find(path, 1, true))
    assert.equal("EOF", serving:join())
  end))

  it("counts the time-out over connect and answer together", run(function()
    local path = vmm(function(conn)
      for byte in ("OK 1073741824"):gmatch "." do
        if not conn:write(byte) then return end
        vmctl.sleep(2)
      end
    end)
    local seconds, _, _, why = support.passed(dial, path, 52, 5)
    assert.equal("ETIMEDOUT", why)
    assert.is_true(seconds >= 5 and seconds < 10, seconds)
  end))

  it("returns ENOENT and ECONNREFUSED as the connection does: the VMM is not up, or has gone", run(function()
    local path = support.tmpdir() .. "/vsock"
    assert.equal("ENOENT", code(dial(path, 52)))
    local listener = assert(vmctl.listen("unix:" .. path))
    core.fs.rename(path, path .. ".stale")
    listener:close()
    assert.equal("ECONNREFUSED", code(dial(path .. ".stale", 52)))
  end))

  for what, answer in pairs {
    ["another protocol"] = "HTTP/1.1 400 Bad Request\r\n\r\n", ["bad_reply"] = golden.bad_reply.bytes,
    ["OK without a number"] = "OK\n", ["OK and a space"] = "OK \n", ["OK and a word"] = "OK fine\n",
    ["a number over 32 bits"] = "OK 4294967296\n", ["a number below 0"] = "OK -1\n", ["two numbers"] = "OK 1 2\n",
    ["two spaces"] = "OK  1\n", ["small letters"] = "ok 1\n", ["an empty line"] = "\n",
    ["a line of 33 bytes"] = "OK " .. ("0"):rep(28) .. "1\n", ["32 bytes without end"] = ("O"):rep(32),
  } do
    it("returns EPROTO, and hangs up, for " .. what, run(function()
      assert.equal("EPROTO", outcome_of(answer))
    end))
  end
end)

describe("the hybrid handshake's lines", function()
  local function port(name)
    return core.hybrid_connect((golden[name].bytes:gsub("\n$", "")))
  end

  it("give the port that is asked for", function()
    for _, name in ipairs { "connect_52", "connect_max", "connect_lower", "connect_crlf" } do
      assert.equal(math.tointeger(golden[name].fields.port), (port(name)), name)
    end
  end)

  it("are refused when they are none", function()
    for _, name in ipairs { "connect_extra_word", "connect_too_long", "connect_overflow", "connect_no_port" } do
      assert.equal("EPROTO", code(port(name)), name)
    end
  end)
end)

describe("vmctl.listen hybrid", function()
  it("is the Unix socket BASE_PORT, to which the VMM connects without a handshake", run(function()
    local base = support.tmpdir() .. "/vsock"
    local listener <close> = assert(vmctl.listen(("hybrid:%s:%d"):format(base, 1024)))
    local near = assert(vmctl.dial("unix:" .. base .. "_1024"))
    local far = assert(listener:accept(30))
    near:write "the guest speaks first"
    assert.equal("the guest speaks first", far:read())
  end))
end)
