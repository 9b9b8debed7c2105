local cc = require "vmctl.cc"
local core = require "vmctl.core"
local ends = require "spec.support.cc"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, run = support.code, support.run
local types = cc.types

-- Takes a request on a helper by hand and answers it.
local function serve(peer, kind, payload)
  local asked, fields = assert(peer:recv())
  peer:send(kind, payload)
  return asked, fields
end

describe("cc client: a call", function()
  it("sends a request and gives the answer's fields, past the code", run(function()
    ends.with_client(function(client, peer)
      local helper = vmctl.spawn(serve, peer, types.RESPONSE, "\0\0\0\0\2id")
      local d = assert(client:call(types.INSTANCE_ID))
      assert.same({ 6, "id", 0 }, { d:remaining(), d:string(), d:remaining() })
      assert.same({ types.INSTANCE_ID, "" }, { helper:join() })
      helper = vmctl.spawn(serve, peer, types.RESPONSE, "\0")
      assert(client:call(types.FS_REMOVE, function(e) e:string "/a" end))
      assert.same({ types.FS_REMOVE, "\0\0\0\2/a" }, { helper:join() })
      helper = vmctl.spawn(serve, peer, types.RESPONSE, "\0")
      assert(client:call(0x1234, "raw", { timeout = 1 }))
      assert.same({ 0x1234, "raw" }, { helper:join() })
    end)
  end))

  it("gives what the helper says about a failure", run(function()
    ends.with_client(function(client, peer)
      local body = cc.encoder():error({ code = 7, message = "open /x: gone", op = "open", path = "/x" }):bytes()
      for _, kind in ipairs { types.ERROR, types.RESPONSE } do -- docs/wire/cc-ipc.md#answer-frames: the latter as well
        vmctl.spawn(serve, peer, kind, body)
        local value, err, why, more = client:call(types.FS_OPEN, "\0\0\0\2/x")
        assert.same({ nil, "open /x: gone", "EREMOTE" }, { value, err, why })
        assert.same({ code = 7, message = "open /x: gone", op = "open", path = "/x" }, more)
      end
      assert.is_true(client:alive())
    end)
  end))

  it("names a failure after its code, and the request where the helper names nothing", run(function()
    ends.with_client(function(client, peer)
      for number, expected in pairs { [5] = "ETIMEDOUT", [9] = "ECANCELED", [1] = "EREMOTE", [42] = "EREMOTE", [2] = "EREMOTE" } do
        vmctl.spawn(serve, peer, types.ERROR, cc.encoder():error({ code = number, message = "why\n\27[1m" }):bytes())
        local _, err, why, more = client:call(types.FS_STAT)
        assert.same({ expected, number, "why\n\27[1m" }, { why, more.code, more.message })
        assert.truthy(err:find "^fs_stat: why")
        assert.is_nil(err:find "[\n\27]")
      end
      vmctl.spawn(serve, peer, types.ERROR, "\0rest") -- docs/wire/cc-ipc.md#error-body: no success
      local _, _, why, more = client:call(types.FS_STAT)
      assert.same({ "EREMOTE", 99 }, { why, more.code })
      assert.is_true(client:alive())
    end)
  end))

  it("of a request that the helper does not know is not sent again", run(function()
    ends.with_client(function(client, peer)
      vmctl.spawn(serve, peer, types.ERROR, cc.encoder():error({ code = 2, message = "unknown message type: 0x0205" }):bytes())
      for _ = 1, 3 do
        local _, _, why, more = client:call(types.FS_STAT)
        assert.same({ "ENOTSUP", 2 }, { why, more.code })
      end
      peer:is_quiet()
      vmctl.spawn(serve, peer, types.RESPONSE, "\0")
      assert(client:call(types.FS_LSTAT))
    end)
  end))

  it("waits for those before it, from however many tasks", run(function()
    local order = {}
    ends.with_both(function(kind)
      table.insert(order, kind)
      vmctl.sleep(0.001)
      return ("\0"):rep(1) .. (">I4"):pack(kind)
    end, function(client)
      vmctl.scope(function()
        for kind = 1, 20 do
          vmctl.spawn(function() assert.equal(kind, client:call(kind):uint32()) end)
        end
      end)
      for kind = 1, 20 do assert.equal(kind, order[kind]) end
    end)
  end))

  it("that gives up in the queue harms nobody", run(function()
    local gate = vmctl.channel()
    ends.with_both(function(kind)
      if kind == 1 then gate:recv() end
      return true
    end, function(client)
      local first = vmctl.spawn(client.call, client, 1)
      vmctl.sleep(0)
      local third
      assert.equal("ETIMEDOUT", code(client:call(2, "", 0.02)))
      local cancelled = vmctl.spawn(client.call, client, 2)
      third = vmctl.spawn(client.call, client, 3)
      vmctl.sleep(0)
      cancelled:cancel()
      gate:send(true)
      assert.truthy(first:join())
      assert.truthy(third:join())
      assert.truthy(client:call(4))
    end)
  end))

  it("that is not answered in time takes the connection with it", run(function()
    ends.with_client(function(client, peer)
      local _, err, why = client:call(types.CMD_WAIT, "", 0.02)
      assert.equal("ETIMEDOUT", why)
      assert.truthy(err:find("cmd_wait", 1, true))
      _, err, why = client:call(types.INSTANCE_ID)
      assert.equal("ECLOSED", why)
      assert.truthy(err:find("cmd_wait: no answer in time", 1, true))
      assert.is_false(client:alive())
      peer:recv()
      peer:ended()
    end)
  end))

  it("takes the limit of its client, or that of its kind", run(function()
    for _, case in ipairs { { types.FS_STAT, { timeout = 0.02 } }, { types.CMD_WAIT, { long_timeout = 0.02 } } } do
      ends.with_client(function(client)
        assert.equal("ETIMEDOUT", code(client:call(case[1])))
      end, case[2])
    end
  end))

  it("that is cancelled takes the connection with it", run(function()
    ends.with_client(function(client)
      local call = vmctl.spawn(client.call, client, types.CMD_WAIT)
      local queued = vmctl.spawn(client.call, client, types.INSTANCE_ID)
      support.settle()
      call:cancel()
      assert.equal("ECANCELED", code(call:join()))
      assert.equal("ECLOSED", code(queued:join()))
    end)
  end))

  it("fails with ERESET when the helper goes, and later ones at once", run(function()
    ends.with_client(function(client, peer)
      vmctl.spawn(function()
        peer:recv()
        peer.stream:close()
      end)
      local _, err, why = client:call(types.INSTANCE_ID)
      assert.equal("ERESET", why)
      assert.truthy(err:find("instance_id", 1, true))
      assert.equal("ECLOSED", code(client:call(types.INSTANCE_ID)))
    end)
    ends.with_client(function(client, peer)
      peer.stream:close()
      assert.is_false(client:alive())
      assert.equal("ERESET", code(client:call(types.INSTANCE_ID)))
    end)
  end))

  it("hears what a helper said before it went", run(function()
    ends.with_client(function(client, peer)
      peer:send(types.ERROR, cc.encoder():error({ code = 7, message = "read header: gone" }):bytes())
      peer.stream:close()
      local _, err, why, more = client:call(types.INSTANCE_ID)
      assert.same({ "EREMOTE", 7 }, { why, more.code })
      assert.truthy(err:find("read header: gone", 1, true))
      assert.is_nil((client:call(types.INSTANCE_ID)))
    end)
  end))

  local poison = {
    ["an unknown type"] = { 0xff02, "\0", "EPROTO" }, ["a request in place of an answer"] = { 0x0103, "", "EPROTO" },
    ["an answer without a code"] = { types.RESPONSE, "", "EPROTO" }, ["an empty error"] = { types.ERROR, "", "EPROTO" },
    ["an error that is cut"] = { types.ERROR, "\7\0\0\0\9x", "EPROTO" },
    ["a failure that is cut in an answer"] = { types.RESPONSE, "\7\0\0", "EPROTO" },
  }
  for what, case in pairs(poison) do
    it("that is answered with " .. what .. " is the last one", run(function()
      ends.with_client(function(client, peer)
        vmctl.spawn(serve, peer, case[1], case[2])
        assert.equal(case[3], code(client:call(types.INSTANCE_ID)))
        assert.equal("ECLOSED", code(client:call(types.INSTANCE_ID)))
        peer:ended()
      end)
    end))
  end

  it("does not believe an answer of 4 GiB, nor one that is cut", run(function()
    for bytes, expected in pairs { ["\255\0\255\255\255\255"] = "ETOOBIG", ["\255\0\0\0\0\9\0"] = "EPROTO", ["\255"] = "EPROTO" } do
      ends.with_client(function(client, peer)
        vmctl.spawn(function()
          peer:recv()
          peer.stream:write(bytes)
          peer.stream:shutdown()
        end)
        assert.equal(expected, code(client:call(types.INSTANCE_ID)))
        assert.is_false(client:alive())
      end)
    end
  end))

  it("with a payload over the limit is not sent, and the next one is", run(function()
    ends.with_both(function(_, payload) return "\0" .. payload end, function(client)
      assert.equal("ETOOBIG", code(client:call(1, ("x"):rep(1001))))
      assert.equal(999, client:call(1, ("x"):rep(999)):remaining())
    end, { max_payload = 1000 })
  end))

  it("needs no task", function()
    local path = os.tmpname()
    os.remove(path)
    local server = assert(cc.server(path, function() return "\0\0\0\0\1x" end))
    local task = core.spawn(true, server.serve, server)
    local client = assert(cc.connect(path))
    assert.equal("x", client:call(types.INSTANCE_ID):string())
    client:close()
    server:close()
    support.settle()
    assert.equal("done", task:status())
  end)

  it("raises for what is no request", run(function()
    ends.with_client(function(client)
      for _, case in ipairs { { "INSTANCE_ID" }, { 1, 7 }, { 1, "", { time_out = 1 } }, { 1, "", "1" } } do
        local ok, err = pcall(function()
          client:call(table.unpack(case))
          return true
        end)
        assert.is_false(ok)
        assert.truthy(tostring(err):find("spec/cc_client_spec.lua:", 1, true), err)
      end
    end)
  end))
end)

describe("cc client: close", function()
  it("ends a call at work, fails later ones, and may be called again", run(function()
    ends.with_client(function(client)
      local call = vmctl.spawn(client.call, client, types.CMD_WAIT)
      support.settle()
      assert.is_true(client:close())
      assert.equal("ECLOSED", code(call:join()))
      assert.is_true(client:close())
      assert.equal("ECLOSED", code(client:call(types.INSTANCE_ID)))
      assert.is_false(client:alive())
    end)
  end))

  it("leaves the socket of a server that others started", run(function()
    local path = support.tmpdir() .. "/s"
    local server <close> = assert(cc.server(path, cc.mux()))
    local client = assert(cc.connect(path))
    client:close()
    assert.equal("socket", core.fs.stat(path).type)
    server:close()
    assert.equal("ENOENT", code(cc.connect(path)))
  end))
end)

describe("cc client: two of one server", function()
  it("do not see each other's answers", run(function()
    local path = support.tmpdir() .. "/s"
    local server <close> = assert(cc.server(path, function(_, payload)
      vmctl.sleep(0.001)
      return "\0" .. payload
    end))
    vmctl.spawn(server.serve, server)
    local clients = { assert(cc.connect(path)), assert(cc.connect(path)) }
    vmctl.scope(function()
      for i, client in ipairs(clients) do
        for n = 1, 30 do
          vmctl.spawn(function()
            local d = assert(client:call(7, function(e) e:uint8(i):uint8(n) end))
            assert.same({ i, n }, { d:uint8(), d:uint8() })
          end)
        end
      end
    end)
    for _, client in ipairs(clients) do client:close() end
    server:close()
  end))
end)

-- A helper as a shell script; `body` is a Lua program that gets the arguments, or shell text.
local function script(text)
  local path = support.tmpdir() .. "/helper"
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  core.fs.chmod(path, 493)
  return path
end

local LUA_HELPER = [[
#!/bin/sh
exec lua5.4 - "$@" <<'END'
local vmctl = require "vmctl"
local cc = vmctl.cc
vmctl.run(function()
  assert(arg[1] == "-socket" and not arg[4])
  local mux = cc.mux()
  mux:handle(cc.types.INSTANCE_ID, function() return cc.response():success():string(arg[3] or arg[2]) end)
  mux:handle(cc.types.CMD_WAIT, function() os.execute "sleep 20" end)
  mux:handle(cc.types.INSTANCE_CLOSE, function() os.exit(3) end)
  assert(assert(cc.server(arg[2], mux)):serve_one())
end)
END
]]

-- The temporary folders that spawn has left.
local function left(folder)
  local count = 0
  for _, name in ipairs(core.fs.list(folder)) do
    if name:find "^cc%-helper%-" then count = count + 1 end
  end
  return count
end

describe("cc client: a helper of its own", function()
  it("is started with its socket in a private folder, and ends with the client", run(function()
    local helper = script(LUA_HELPER)
    local client = assert(cc.spawn { helper = helper })
    assert.is_true(client:alive())
    local path = client:call(types.INSTANCE_ID):string()
    local folder = path:match "^(.*)/"
    assert.same({ "directory", 448 }, { core.fs.stat(folder).type, core.fs.stat(folder).mode })
    client:close()
    assert.is_nil(core.fs.stat(folder))
    local with_argument <close> = assert(cc.spawn { helper = helper, arguments = { "--more" } })
    assert.equal("--more", with_argument:call(types.INSTANCE_ID):string())
  end, 10))

  it("that dies at once is noticed at once", run(function()
    local _, err, why, how = cc.spawn { helper = script "#!/bin/sh\nexit 7\n", ready_timeout = 3600 }
    assert.same({ "EEXIT", 7 }, { why, how.exit_code })
    assert.truthy(err:find("exit code 7", 1, true))
    _, err, why, how = cc.spawn { helper = script "#!/bin/sh\nkill -9 $$\n", ready_timeout = 3600 }
    assert.same({ "EEXIT", "KILL" }, { why, how.signal })
    assert.truthy(err:find("KILL", 1, true))
  end))

  it("that does not listen in time is ended", run(function()
    local _, err, why = cc.spawn { helper = script "#!/bin/sh\nexec sleep 20\n", ready_timeout = 0.1 }
    assert.equal("ETIMEDOUT", why)
    assert.truthy(err:find("does not listen", 1, true))
  end))

  it("that dies is not alive, and a call hears of it", run(function()
    local client = assert(cc.spawn { helper = script(LUA_HELPER) })
    assert.equal("ERESET", code(client:call(types.INSTANCE_CLOSE)))
    assert.is_false(client:alive())
    client:close()
  end, 10))

  it("that is stuck is killed when the client is closed", run(function()
    local client = assert(cc.spawn { helper = script(LUA_HELPER) })
    assert.equal("ETIMEDOUT", code(client:call(types.CMD_WAIT, "", 0.05)))
    local before = vmctl.now()
    client:close()
    assert.is_true(vmctl.now() - before > 1.9) -- it had its two seconds
  end, 12))

  it("that is dropped with its client goes as well", run(function()
    assert(cc.spawn { helper = script(LUA_HELPER) })
    collectgarbage()
    collectgarbage()
  end, 10))

  it("is not there: says where it was looked for", run(function()
    local _, err, why = cc.spawn { helper = "/no/such/helper" }
    assert.equal("ENOENT", why)
    assert.truthy(err:find("/no/such/helper", 1, true))
    local folder = support.tmpdir()
    assert.equal(0, left(folder))
  end))
end)

-- Runs Lua text in another process with an environment of its own; gives what it prints.
local function elsewhere(text, env)
  local command = { "lua5.4", "-e", "local cc = require('vmctl').cc " .. text, stdin = "null", stdout = "pipe", env = env }
  local child <close> = assert(vmctl.process.spawn(command))
  local output = {}
  for line in function() return child.stdout:read_line(1 << 16, 5) end do table.insert(output, line) end
  assert.equal(0, assert(child:wait(30)).exit_code)
  return table.concat(output, "\n")
end

describe("cc: where the helper is", function()
  local PRINT = [[local path, err, code, searched = cc.find_helper(os.getenv "LIBRARY")
    print(path or code) for _, each in ipairs(searched or {}) do print(each) end if err then print(err) end]]

  it("is looked for in the document's order", run(function()
    local folder = support.tmpdir()
    local home, bin = folder .. "/home", folder .. "/bin"
    assert(os.execute(("mkdir -p %s/.local/share/cc/bin %s %s/lib"):format(home, bin, folder)))
    local env = { HOME = home, PATH = bin .. ":" .. os.getenv "PATH", CC_HELPER_PATH = folder .. "/given",
      LIBRARY = folder .. "/lib/libcc.so" }
    local program = core.fs.real(elsewhere("print(require('vmctl.core').fs.real '/proc/self/exe')")):match "^(.*)/"
    local places = { folder .. "/given", program .. "/cc-helper", folder .. "/lib/cc-helper",
      home .. "/.local/share/cc/bin/cc-helper", bin .. "/cc-helper" }
    local lines = { "ENOENT", places[1], places[2], places[3], places[4], "$PATH" }
    local searched = table.concat(lines, " ", 2)
    table.insert(lines, ("cc-helper not found (searched: [%s])"):format(searched))
    assert.equal(table.concat(lines, "\n"), elsewhere(PRINT, env))
    for _, at in ipairs { 5, 4, 3, 1 } do
      assert(os.rename(script "#!/bin/sh\n", places[at]))
      assert.equal(core.fs.real(places[at]), elsewhere(PRINT, env))
    end
  end, 10))

  it("must be a file that can be executed, and its path is made absolute", run(function()
    local folder = support.tmpdir()
    local env = { HOME = "", PATH = os.getenv "PATH", CC_HELPER_PATH = folder }
    assert.truthy(elsewhere(PRINT, env):find("^ENOENT"))
    assert(io.open(folder .. "/cc-helper", "w")):close()
    env.CC_HELPER_PATH = folder .. "/cc-helper"
    assert.truthy(elsewhere(PRINT, env):find("^ENOENT"))
    core.fs.chmod(env.CC_HELPER_PATH, 448)
    env.CC_HELPER_PATH = folder .. "/../" .. folder:match "[^/]*$" .. "/cc-helper"
    assert.equal(core.fs.real(folder .. "/cc-helper"), elsewhere(PRINT, env))
  end, 10))

  it("has a socket path that is another one each time", function()
    local first, second = cc.socket_path(), cc.socket_path "/folder"
    local _, _, pid = core.fs.identity()
    assert.truthy(first:match(("^/.*/cc%%-helper%%-%d%%-%%d+%%-%%d+%%.sock$"):format(pid)))
    assert.truthy(second:match "^/folder/cc%-helper%-")
    assert.are_not.equal(first:match "%d+%.sock$", second:match "%d+%.sock$")
  end)

  it("is advised by the environment, looked at once", run(function()
    for word, expected in pairs { ["1"] = "true", YES = "true", On = "true", ["true"] = "true", ["0"] = "false", no = "false",
      [""] = "false", perhaps = "false" } do
      assert.equal(expected, elsewhere("print(cc.use_helper())", { CC_USE_HELPER = word }))
    end
    local twice = [[local real = os.getenv local word = "1" os.getenv = function(name)
      if name == "CC_USE_HELPER" then return word end return real(name) end
      print(cc.use_helper()) word = "0" print(cc.use_helper()) cc.reset_use_helper() print(cc.use_helper())]]
    assert.equal("true\ntrue\nfalse", elsewhere(twice))
  end, 10))
end)
