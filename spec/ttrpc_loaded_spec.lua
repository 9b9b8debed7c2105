-- A server and its client that know their service from a descriptor set: no table of methods is written by hand.
local assert = require "luassert"
local core = require "vmctl.core"
local messages = require "spec.support.protobuf"
local support = require "spec.support"
local vmctl = require "vmctl"

local FOLDER, MACHINES = "spec/descriptor_set", "spec.machines.Machines"

local function event(topic, label)
  return { topic = topic, event = { type_url = "spec.machines.Machine", value = "\10\1" .. topic:sub(1, 1) },
    label = label and { key = label, value = topic } }
end

describe("vmctl.ttrpc.services", function()
  if not require("vmctl.protobuf").available or not os.execute "command -v protoc-c >/dev/null" then
    return pending "needs protoc-c"
  end

  local folder

  setup(function() folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-spec")) end)
  teardown(function() os.execute("rm -r " .. folder) end)

  local function load_services()
    local path = folder .. "/machines.pb"
    local file <close> = assert(io.open(path, "wb"))
    file:write((messages.set(FOLDER, "machines")))
    file:close()
    return assert(vmctl.ttrpc.services(path))
  end

  -- Calls fn(client, seen) with a server of all methods at a socket; it notes in `seen` what its handlers were given.
  local function with(fn)
    return support.run(function()
      local services, seen = load_services(), {}
      local where = "unix:" .. support.tmpdir() .. "/rpc"
      local listener <close> = assert(vmctl.listen(where))
      local handlers = {
        Start = function(machine, context)
          seen[#seen + 1] = machine
          if machine.name == "" then return nil, "a machine has a name", "INVALID_ARGUMENT", { machine.spec } end
          return {}, context.method
        end,
        Watch = function(stream, context)
          seen[#seen + 1] = { assert(stream:recv()), context.service }
          for _, topic in ipairs { "start", "exit" } do assert(stream:send(event(topic, "k"))) end
        end,
        Push = function(stream)
          local topics = {}
          for one in stream:messages() do topics[#topics + 1] = one.topic .. (one.label and "+" or "") end
          return { key = "topics", value = table.concat(topics, " ") }
        end,
        Talk = function(stream)
          for one in stream:messages() do assert(stream:send { path = one.topic, kind = "OTHER", limit = { bytes = #one.topic } }) end
        end,
      }
      vmctl.scope(function(scope)
        vmctl.spawn_in(scope, vmctl.ttrpc.serve, listener, { [MACHINES] = handlers }, { services = services })
        local client <close> = assert(vmctl.ttrpc.connect(where, { services = services }))
        fn(client, seen, services)
        listener:close()
        client:close()
      end)
    end, 30)
  end

  it("are a list in the file's order, and known by their names", function()
    local services = load_services()
    assert.equal(2, #services)
    assert.equal(services[1], services[MACHINES])
    assert.equal("spec.machines.Empty", services[2].name)
  end)

  it("tell what a unary method takes and gives: optional fields, maps, oneofs, `linux`, well-known messages", with(function(client, seen)
    local machine = {
      name = "web", linux = true, cpus = 0, labels = { zone = "a", [""] = "" }, disks = { [-1] = { path = "/d", kind = -5, seen = 1 } },
      firmware = "", after = -1, ratio = -0.0, created = { seconds = 1 << 40, nanos = 5 }, spec = { type_url = "t", value = "\0" },
      limit = { value = 7 }, inner = { name = "nested", when = 2 },
    }
    assert.same({}, client:call(MACHINES, "Start", machine))
    local got = seen[1]
    for name, value in pairs(machine) do
      if name ~= "inner" then assert.same(value, got[name], name) end
    end
    assert.same({ "nested", 2, nil }, { got.inner.name, got.inner.when, got.inner.after })
    assert.same({ false, nil, nil, {}, "-inf" }, { got.unix, got.note, got.kernel, got.packed, tostring(1 / got.ratio) })
  end))

  it("refuse what the messages have no place for, and hand on a status with its details", with(function(client, seen)
    assert.equal("EINVAL", support.code(client:call(MACHINES, "Start", { nobody = 1 })))
    assert.equal("EINVAL", support.code(client:call(MACHINES, "Start", { kernel = "k", slot = 1 })))
    assert.equal("INTERNAL", support.code(client:call(MACHINES, "Start", "\255\255"))) -- bytes go as they are
    assert.equal(0, #seen)
    local _, message, code, status = client:call(MACHINES, "Start", { spec = { type_url = "t", value = "v" } })
    assert.equal("call spec.machines.Machines/Start: a machine has a name", message)
    assert.same({ "INVALID_ARGUMENT", 3, { { type_url = "t", value = "v" } } }, { code, status.code, status.details })
    assert.equal("UNIMPLEMENTED", support.code(client:call(MACHINES, "Stop", "")))
  end))

  it("tell which sides stream", with(function(client, seen)
    local watch = assert(client:stream(MACHINES, "Watch", {}))
    assert.same({ event("start", "k"), event("exit", "k") }, { watch:recv(), watch:recv() })
    assert.equal("EOF", support.code(watch:recv()))
    assert.same({ { {}, MACHINES } }, seen)

    local push = assert(client:stream(MACHINES, "Push"))
    for i, topic in ipairs { "a", "b", "" } do assert(push:send(event(topic, i == 2 and "x" or nil))) end
    assert(push:close_send())
    assert.same({ key = "topics", value = "a b+ " }, push:recv())
    assert.equal("EOF", support.code(push:recv()))

    local talk = assert(client:stream(MACHINES, "Talk"))
    for i, topic in ipairs { "one", "three" } do
      assert(talk:send(event(topic)))
      assert.same({ path = topic, kind = -5, limit = { bytes = i == 1 and 3 or 5 }, seen = 0 }, talk:recv())
    end
    assert(talk:close_send())
    assert.equal("EOF", support.code(talk:recv()))
  end))

  it("let a server be built of a part, and refuse handlers of methods that there are not", with(function(_, _, services)
    local part = assert(vmctl.ttrpc.server({ [services[MACHINES]] = { Start = function() return {} end } }))
    part:close()
    local ok, err = pcall(vmctl.ttrpc.server, { [services[MACHINES]] = { Begin = print } })
    assert.is_false(ok)
    assert.matches("service spec%.machines%.Machines has no method 'Begin'", err)
  end))
end)
