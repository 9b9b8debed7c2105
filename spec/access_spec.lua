local access = require "vmctl.net.access"
local core = require "vmctl.core"
local exec = require "vmctl.exec"
local native = require "spec.support.native"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local is_root = core.fs.identity() == 0

-- A connection whose peer is given; `uid` is that of a Unix socket's.
local function from(peer, uid)
  return {
    peer = function()
      if not peer then return nil, "peer: not connected", "ENOTCONN" end
      return setmetatable(peer, { __tostring = function() return "the peer" end })
    end,
    credentials = function()
      if not uid then return nil, "credentials: none", "ENOTSUP" end
      return { uid = uid, gid = uid, pid = 1 }
    end,
  }
end

local function vsock(cid) return from { kind = "vsock", cid = cid, port = 1024 } end
local function tcp(host) return from { kind = "tcp", host = host, port = 1024 } end
local function unix(uid) return from({ kind = "unix", path = "" }, uid) end

local own = core.fs.identity()

describe("vmctl.net.access: by default", function()
  local allow = access.policy()

  it("lets in the host's CID alone on vsock", function()
    assert.is_true(allow(vsock(2)))
    for _, cid in ipairs { 0, 1, 3, 4, 0xffffffff } do
      local ok, reason = allow(vsock(cid))
      assert.is_nil(ok)
      assert.equal("the peer is not a CID that may connect", reason)
    end
  end)

  it("lets in this machine alone on TCP", function()
    for _, host in ipairs { "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1" } do assert.is_true(allow(tcp(host))) end
    for _, host in ipairs { "10.0.0.1", "128.0.0.1", "0.0.0.0", "::", "fe80::1", "::ffff:10.0.0.1", "1270.0.0.1" } do
      assert.is_nil((allow(tcp(host))), host)
    end
  end)

  it("lets in our own user and root on a Unix socket", function()
    assert.is_true(allow(unix(own)))
    assert.is_true(allow(unix(0)))
    local ok, reason = allow(unix(own + 4711))
    assert.is_nil(ok)
    assert.equal(("user %d may not connect"):format(own + 4711), reason)
    assert.is_nil((allow(unix(-1))))
  end)

  it("lets nobody in whose peer or user is not to be had, or is of another kind", function()
    assert.is_nil((allow(from(nil))))
    assert.is_nil((allow(unix(nil))))
    assert.is_nil((allow(from { kind = "serial" })))
    assert.is_nil((allow(from {})))
  end)
end)

describe("vmctl.net.access: rules", function()
  it("name CIDs", function()
    local allow = access.policy { cid = { 2, 7 } }
    assert.is_true(allow(vsock(2)))
    assert.is_true(allow(vsock(7)))
    assert.is_nil((allow(vsock(1))))
    assert.is_nil((access.policy { cid = { 7 } } (vsock(2))))
    assert.is_nil((access.policy { cid = {} } (vsock(2))))
    assert.is_true(access.policy { cid = { "any" } } (vsock(1)))
  end)

  it("open TCP", function()
    assert.is_true(access.policy { tcp = "any" } (tcp "10.0.0.1"))
  end)

  it("name users", function()
    assert.is_true(access.policy { uid = { 4711 } } (unix(4711)))
    assert.is_nil((access.policy { uid = { 4711 } } (unix(4712))))
    assert.is_true(access.policy { uid = "any" } (unix(4712)))
    assert.is_true(access.policy { uid = { 4711 } } (unix(0)))
    assert.is_nil((access.policy { uid = "any" } (unix(nil))))
  end)

  it("that are misspelt are an error, and open nothing", function()
    for _, rules in ipairs { { cids = { 3 } }, { cid = 3 }, { tcp = true }, { tcp = "all" }, { uid = 0 }, { cid = { "3" } } } do
      assert.has_error(function() access.policy(rules) end)
    end
  end)

  it("may be a function", function()
    local conn = tcp "127.0.0.1"
    local seen
    local ok, reason = access.policy(function(c)
      seen = c
      return nil, "no"
    end)(conn)
    assert.same({ nil, "no" }, { ok, reason })
    assert.equal(conn, seen)
  end)
end)

-- Serves on an address, and tells whether the one who connects gets an answer.
local function is_served(address, opts, connect)
  local listener = assert(vmctl.listen(address, { mode = 438 }))
  local serving = vmctl.spawn(exec.serve, listener, opts)
  local s = assert((connect or vmctl.dial)(tostring(listener:address())))
  s:set_format(exec.format)
  s:write_frame(exec.types.READY, "")
  local type, _, why = s:read_frame(30)
  s:close()
  listener:close()
  serving:join()
  if type then return true end
  assert.is_true(why == "EOF" or why == "ECONNRESET", why)
  return false
end

describe("vmctl.net.access: real connections", function()
  it("of our own user and from loopback are served", run(function()
    assert.is_true(is_served("unix:" .. support.tmpdir() .. "/s"))
    assert.is_true(is_served "tcp:127.0.0.1:0")
    assert.is_true(is_served "tcp:[::1]:0")
  end))

  it("that are refused are closed without a word", run(function()
    local function nobody() return nil, "no" end
    assert.is_false(is_served("unix:" .. support.tmpdir() .. "/s", { allow = nobody }))
    assert.is_false(is_served("tcp:127.0.0.1:0", { allow = nobody }))
  end))

  if is_root then
    it("of another user are refused, and served when the rules say so", run(function()
      local function as_nobody(address)
        native.functions().act_as(65534)
        local ok, s, err = pcall(vmctl.dial, address)
        native.functions().act_as(0)
        return ok and s or nil, err
      end
      local folder = support.tmpdir()
      core.fs.chmod(folder, 493)
      assert.is_false(is_served("unix:" .. folder .. "/a", nil, as_nobody))
      assert.is_true(is_served("unix:" .. folder .. "/b", { allow = { uid = { 65534 } } }, as_nobody))
      assert.is_true(is_served("unix:" .. folder .. "/c", { allow = { uid = "any" } }, as_nobody))
      assert.is_false(is_served("unix:" .. folder .. "/d", { allow = { uid = { 65533 } } }, as_nobody))
    end))
  end

  it("that are refused do not keep others out", run(function()
    local refused = 0
    local path = "unix:" .. support.tmpdir() .. "/s"
    local listener = assert(vmctl.listen(path))
    local serving = vmctl.spawn(exec.serve, listener, { connections = 2, allow = function()
      refused = refused + 1
      return refused > 20 or nil, "not yet"
    end })
    local client = assert(exec.client(path, { revision = "vmctl" }))
    for _ = 1, 20 do assert.equal("ERESET", code(client:run { "true" })) end
    assert.equal(0, client:run({ "true" }).exit_code)
    listener:close()
    serving:join()
  end))
end)
