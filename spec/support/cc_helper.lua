--- A helper and clients of it, and all 63 requests made of one by their fields.
local assert = require "luassert"
local cc = require "vmctl.cc"
local core = require "vmctl.core"
local fields = require "vmctl.cc.backend.fields"
local helper = require "vmctl.cc_helper"
local vmctl = require "vmctl"

local M = {}

local WRITERS = { path = "string", args = "string_slice", bytes = "write_bytes" }

--- A function that makes a request: call(name, field, …) gives the answer's decoder, or nil, number, message, op, path.
function M.caller(client)
  return function(name, ...)
    local values = { ... }
    local answer, message, code, said = client:call(cc.types[name], function(e)
      local i = 0
      for field in fields.fields[name]:gmatch "%S+" do
        i = i + 1
        e[WRITERS[field] or field](e, values[i])
      end
    end)
    if answer then return answer end
    if not said then error(("%s: %s (%s)"):format(name, message, code), 2) end
    return nil, said.code, said.message, said.op, said.path
  end
end

--- InstanceNew.
function M.new_instance(client, source, path, options, cache)
  local answer, message, _, said = client:call(cc.types.INSTANCE_NEW, function(e)
    e:uint8(source):string(source == 2 and "" or path):string(source == 2 and path or ""):string(cache or "")
      :instance_options(options or {})
  end, 60)
  if answer then return true end
  return nil, said and said.code, said and said.message or message
end

--- Runs fn(call, client, connect) with a helper in this process; connect() gives further clients.
function M.serve(options, fn)
  local served <close> = assert(helper.new(options))
  local server = assert(cc.server(nil, served:handler()))
  vmctl.scope(function(scope)
    local clients = {}
    local function connect()
      local ours, theirs = core.pair()
      vmctl.spawn_in(scope, server.converse, server, theirs)
      local client = cc.client(ours)
      clients[#clients + 1] = client
      return client, ours
    end
    local client = connect()
    local ok, err = xpcall(fn, debug.traceback, M.caller(client), client, connect)
    for _, each in ipairs(clients) do each:close() end
    served:reset()
    if not ok then error(err, 0) end
  end)
end

local function check_files(ok, refused)
  ok("FS_MKDIR", "/d", 493)
  refused(7, "FS_MKDIR", "/d", 493)
  ok("FS_MKDIR_ALL", "/d/e/f", 493)
  ok("FS_MKDIR_ALL", "/d/e/f", 493)
  ok("FS_WRITE_FILE", "/d/a", "hello", 416)
  assert.equal("hello", ok("FS_READ_FILE", "/d/a"):string())
  local info = ok("FS_STAT", "/d/a"):file_info()
  assert.same({ "a", 5, 416, false, false }, { info.name, info.size, info.mode, info.is_dir, info.is_symlink })
  ok("FS_SYMLINK", "a", "/d/link")
  assert.equal("a", ok("FS_READLINK", "/d/link"):string())
  assert.is_true(ok("FS_LSTAT", "/d/link"):file_info().is_symlink)
  assert.is_false(ok("FS_STAT", "/d/link"):file_info().is_symlink)
  ok("FS_CHMOD", "/d/a", 384)
  ok("FS_CHTIMES", "/d/a", 5, -7)
  info = ok("FS_STAT", "/d/a"):file_info()
  assert.same({ 384, -7 }, { info.mode, info.mod_time })
  ok("FS_CHOWN", "/d/a", -1, -1)
  local entries = ok("FS_READ_DIR", "/d"):dir_entries()
  assert.same({ { name = "a", is_dir = false, mode = 0 }, { name = "e", is_dir = true, mode = 0x80000000 },
    { name = "link", is_dir = false, mode = 0x08000000 } }, entries)
  ok("FS_RENAME", "/d/a", "/d/b")
  local _, _, message, op, path = refused(7, "FS_STAT", "/d/a")
  assert.same({ "stat /d/a: no such file or directory", "stat", "/d/a" }, { message, op, path })
  refused(7, "FS_REMOVE", "/d")
  ok("FS_REMOVE", "/d/link")
  ok("FS_REMOVE_ALL", "/d/e")
  ok("FS_REMOVE_ALL", "/nothing/there")
end

local function check_open_files(ok, refused)
  local f = ok("FS_CREATE", "/new"):uint64()
  assert.equal(5, ok("FILE_WRITE", f, "12345"):uint32())
  assert.equal(1, ok("FILE_SEEK", f, -4, 2):int64())
  assert.equal("23", ok("FILE_READ", f, 2):bytes())
  ok("FILE_TRUNCATE", f, 4)
  ok("FILE_SYNC", f)
  assert.equal(4, ok("FILE_STAT", f):file_info().size)
  assert.equal("/new", ok("FILE_NAME", f):string())
  assert.equal("4", ok("FILE_READ", f, 9):bytes())
  assert.equal("", ok("FILE_READ", f, 9):bytes())
  refused(7, "FILE_SEEK", f, 0, 3)
  ok("FILE_CLOSE", f)
  refused(1, "FILE_READ", f, 1)
  local read_only = ok("FS_OPEN", "/new"):uint64()
  refused(7, "FILE_WRITE", read_only, "x")
  local both = ok("FS_OPEN_FILE", "/new", 2, 0):uint64()
  ok("FILE_WRITE", both, "x")
  assert.equal("x234", ok("FS_READ_FILE", "/new"):string())
  refused(7, "FS_OPEN", "/nothing")
  refused(7, "FS_READ_FILE", "/")
end

local function check_commands(ok, refused)
  local function new(...) return ok("CMD_NEW", "sh", { "-c", ... }):uint64() end
  local c = new "pwd; echo $WORD; echo low >&2; exit 3"
  refused(7, "CMD_WAIT", c)
  ok("CMD_SET_DIR", c, "/d")
  ok("CMD_SET_ENV", c, "WORD", "word")
  assert.equal("word", ok("CMD_GET_ENV", c, "WORD"):string())
  assert.equal("", ok("CMD_GET_ENV", c, "NONE"):string())
  assert.truthy(table.concat(ok("CMD_ENVIRON", c):string_slice(), "\n"):find("WORD=word", 1, true))
  local answer = ok("CMD_OUTPUT", c)
  assert.matches("/d\nword\n$", answer:bytes())
  assert.equal(3, answer:int32())
  assert.same({ 3, 3 }, { ok("CMD_EXIT_CODE", c):int32(), ok("CMD_WAIT", c):int32() })
  assert.equal(3, ok("CMD_RUN", c):int32()) -- "already started", with its code
  answer = ok("CMD_COMBINED_OUTPUT", new "echo low >&2")
  assert.same({ "low\n", 0 }, { answer:bytes(), answer:int32() })
  assert.equal(137, ok("CMD_RUN", new "kill -9 $$"):int32())
  local _, _, _, op = refused(7, "CMD_RUN", ok("CMD_NEW", "no-such-program", {}):uint64())
  assert.equal("exec", op)
  assert.equal(-2, ok("CMD_RUN", ok("CMD_NEW", "/no/such/program", {}):uint64()):int32())
  local sleeper = ok("CMD_NEW", "sleep", { "100" }):uint64()
  ok("CMD_START", sleeper)
  refused(7, "CMD_START", sleeper)
  assert.equal(0, ok("CMD_EXIT_CODE", sleeper):int32())
  ok("CMD_KILL", sleeper)
  refused(1, "CMD_WAIT", sleeper)
  ok("CMD_KILL", sleeper) -- an unknown one is a success
  ok("CMD_FREE", c)
  ok("CMD_FREE", 12345)
end

-- `reach` connects to a listener of the instance and talks to it; in a guest only another command can.
local function check_network(ok, refused, reach)
  refused(7, "NET_LISTEN", "udp", "127.0.0.1:0")
  refused(7, "NET_LISTEN", "tcp", "nonsense")
  local l = ok("NET_LISTEN", "tcp", "127.0.0.1:0"):uint64()
  local port = ok("LISTENER_ADDR", l):string():match "^127%.0%.0%.1:(%d+)$"
  reach(math.tointeger(port))
  local c = ok("LISTENER_ACCEPT", l):uint64()
  assert.equal("ping", ok("CONN_READ", c, 4):bytes())
  assert.equal(4, ok("CONN_WRITE", c, "pong"):uint32())
  assert.equal("127.0.0.1:" .. port, ok("CONN_LOCAL_ADDR", c):string())
  assert.matches("^127%.0%.0%.1:%d+$", ok("CONN_REMOTE_ADDR", c):string())
  local _, _, message = refused(99, "CONN_READ", c, 4)
  assert.equal("EOF", message)
  ok("CONN_CLOSE", c)
  ok("LISTENER_CLOSE", l)
  refused(1, "LISTENER_ADDR", l)
  refused(1, "CONN_READ", c, 1)
end

local function check_snapshots(ok, refused, cache)
  local function take(...) return ok("FS_SNAPSHOT", { excludes = { ... }, cache_dir = cache }):uint64() end
  local one = take "/new"
  assert.equal(0, ok("SNAPSHOT_PARENT", one):uint64())
  assert.equal(one, ok("SNAPSHOT_AS_SOURCE", one):uint64())
  local two = take()
  local parent = ok("SNAPSHOT_PARENT", two):uint64()
  assert.is_true(parent ~= one and parent ~= 0)
  local key = ok("SNAPSHOT_CACHE_KEY", one):string()
  assert.equal(key, ok("SNAPSHOT_CACHE_KEY", parent):string())
  assert.is_true(key ~= ok("SNAPSHOT_CACHE_KEY", two):string())
  ok("SNAPSHOT_CLOSE", two)
  refused(1, "SNAPSHOT_CACHE_KEY", two)
  local manifest = assert(io.open(("%s/%s/manifest"):format(cache, key))):read "a"
  assert.truthy(manifest:find(" /d/b ", 1, true))
  assert.is_nil(manifest:find(" /new ", 1, true))
  return key
end

local function check_build(client, seen, cache)
  local function build(options)
    local _, _, _, said = client:call(cc.types.BUILD_DOCKERFILE, function(e) e:dockerfile_options(options) end)
    return said
  end
  local said = build { dockerfile = "FROM scratch\n" }
  assert.same({ 2, "cache_dir is required" }, { said.code, said.message })
  said = build { dockerfile = "", cache_dir = cache }
  assert.same({ 2, "dockerfile is empty" }, { said.code, said.message })
  if not os.execute "command -v buildah >/dev/null" then
    said = build { dockerfile = "FROM scratch\n", cache_dir = cache }
    assert.equal(6, said.code)
    assert.matches("buildah", said.message)
  end
  seen.BUILD_DOCKERFILE = true
end

--- Makes each of the 63 requests, and asserts what it gives. The instance ends by that.
---@param client vmctl.CcClient
---@param with { source: integer, path: string, cache: string, reach: fun(port: integer, ok: function), local_network: boolean? }
function M.check_all(client, with)
  local call, seen = M.caller(client), { INSTANCE_NEW = true }
  local function ok(name, ...)
    seen[name] = true
    local answer, code, message = call(name, ...)
    if not answer then error(("%s: %s (%d)"):format(name, message, code), 2) end
    return answer
  end
  local function refused(number, name, ...)
    local answer, code, message, op, path = call(name, ...)
    assert.is_nil(answer, name)
    assert.equal(number, code, message)
    return answer, code, message, op, path
  end
  refused(1, "INSTANCE_ID")
  assert.is_false(ok("INSTANCE_IS_RUNNING"):bool())
  refused(1, "FS_STAT", "/")
  assert(M.new_instance(client, with.source, with.path))
  assert.equal(2, select(2, M.new_instance(client, with.source, with.path)))
  assert.matches("^%x+%-%x+%-%x+%-%x+%-%x+$", ok("INSTANCE_ID"):string())
  assert.is_true(ok("INSTANCE_IS_RUNNING"):bool())
  ok("INSTANCE_SET_CONSOLE", 100, 40)
  if not with.local_network then ok("INSTANCE_SET_NETWORK", false) end
  ok("INSTANCE_SET_NETWORK", true)
  check_files(ok, refused)
  check_open_files(ok, refused)
  check_commands(ok, refused)
  if with.entrypoint then
    assert.equal(with.entrypoint, ok("CMD_OUTPUT", ok("CMD_ENTRYPOINT", {}):uint64()):bytes())
  else
    refused(7, "CMD_ENTRYPOINT", {})
    assert.equal("hi\n", ok("CMD_OUTPUT", ok("CMD_ENTRYPOINT", { "echo", "hi" }):uint64()):bytes())
  end
  check_network(ok, refused, function(port) with.reach(port, ok) end)
  local key = check_snapshots(ok, refused, with.cache)
  check_build(client, seen, with.cache)
  seen.INSTANCE_EXEC = true
  local _, _, message, op = refused(7, "INSTANCE_EXEC", "sh", { "-c", "echo out; echo err >&2; exit 4" })
  assert.same({ "exec sh: exit status 4", "exec" }, { message, op })
  ok "INSTANCE_WAIT"
  assert.is_false(ok("INSTANCE_IS_RUNNING"):bool())
  ok "INSTANCE_CLOSE"
  refused(1, "INSTANCE_WAIT")
  for _, name in pairs(cc.names) do assert.is_true(seen[name], name .. " was not made") end
  return key
end

return M
