-- The services of nerdbox's guest beside socket forwarding: each is called with its messages.
local assert = require "luassert"
local support = require "spec.support"
local ends = require "spec.support.ttrpc"

local BUNDLE = "containerd.vminitd.services.bundle.v1.Bundle"
local MOUNT = "containerd.vminitd.services.mount.v1.Mount"
local SYSTEM = "containerd.vminitd.services.system.v1.System"
local EVENTS = "nerdbox.services.vmevents.v1.Events"

describe("vmctl.ttrpc with nerdbox's services", function()
  if not require("vmctl.protobuf").available then return pending "needs protobuf-c" end

  it("calls system: Info", support.run(function()
    local info = { version = "v0.2.0", kernel_version = "6.12" }
    ends.with_both({ [SYSTEM] = { Info = function() return info end } }, function(client)
      assert.same(info, client:call(SYSTEM, "Info", {}))
    end)
  end))

  it("calls bundle: Create, with files as bytes", support.run(function()
    local seen
    local handlers = { Create = function(request)
      seen = request
      return { bundle = "/run/bundles/" .. request.id }
    end }
    ends.with_both({ [BUNDLE] = handlers }, function(client)
      local request = { id = "c1", files = { ["config.json"] = "{}", ["a\u{e9}"] = "\0\255" } }
      assert.same({ bundle = "/run/bundles/c1" }, client:call(BUNDLE, "Create", request))
      assert.same(request, seen)
    end)
  end))

  it("calls mount: MountAll, Unmount, UnmountAll, which answer with nothing", support.run(function()
    local seen = {}
    local function note(request)
      seen[#seen + 1] = request
      return true
    end
    ends.with_both({ [MOUNT] = { MountAll = note, Unmount = note, UnmountAll = note } }, function(client)
      local mounts = { mounts = {
        { type = "virtiofs", source = "share", target = "/mnt", options = { "ro", "nodev" } },
        { type = "tmpfs", source = "", target = "/tmp", options = {} },
      } }
      assert.same({}, client:call(MOUNT, "MountAll", mounts))
      assert.same({}, client:call(MOUNT, "Unmount", { target = "/mnt" }))
      assert.same({}, client:call(MOUNT, "UnmountAll"))
      assert.same({ mounts, { target = "/mnt" }, {} }, seen)
    end)
  end))

  it("streams events", support.run(function()
    local function event(number)
      return {
        timestamp = { seconds = 1700000000 + number, nanos = 5 }, namespace = "default", topic = "/tasks/exit",
        event = { type_url = "containerd.events.TaskExit", value = "\8\1" },
      }
    end
    local handlers = { Stream = function(stream)
      for number = 1, 3 do assert(stream:send(event(number))) end
    end }
    ends.with_both({ [EVENTS] = handlers }, function(client)
      local got = {}
      for envelope in assert(client:stream(EVENTS, "Stream", {})):messages() do got[#got + 1] = envelope end
      assert.same({ event(1), event(2), event(3) }, got)
    end)
  end))
end)
