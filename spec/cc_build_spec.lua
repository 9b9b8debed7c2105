-- Images from container files, by a real buildah.
local assert = require "luassert"
local cc = require "vmctl.cc"
local cc_helper = require "spec.support.cc_helper"
local core = require "vmctl.core"
local snapshot_store = require "vmctl.cc_helper.snapshot_store"
local support = require "spec.support"
local vmctl = require "vmctl"

local run = support.run
local LIMIT = 60

-- Where it is installed, and this machine lets it work (some containers do not).
local function has_buildah()
  return os.execute 'c=$(buildah from scratch 2>/dev/null) && buildah rm "$c" >/dev/null 2>&1'
end

-- Others build here meanwhile: what is built from here has a label.
local label = ("vmctl.spec=%d"):format((select(3, core.fs.identity())))
local LABEL = "LABEL " .. label .. "\n"

-- Those without a name as well.
local function images()
  local pipe <close> = assert(io.popen("buildah images --all --quiet --no-trunc --filter label=" .. label))
  return pipe:read "a"
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

describe("a container file", function()
  it("becomes a snapshot, with its arguments", run(function()
    if not has_buildah() then return pending "no buildah that works here" end
    local folder = support.tmpdir()
    assert(core.fs.mkdir(folder .. "/context", 448))
    write(folder .. "/context/motd", "built\n")
    cc_helper.serve({ root = folder .. "/context" }, function(_, client)
      local built = { context_dir = folder .. "/context", cache_dir = folder .. "/cache", build_args = { WHERE = "/etc/motd" },
        dockerfile = "FROM scratch\n" .. LABEL .. "ARG WHERE=/nowhere\nCOPY motd ${WHERE}\nENV A=b\n" }
      local snapshot = assert(client:build_dockerfile(built, LIMIT))
      assert.equal("", images())
      local key = assert(snapshot:cache_key())
      local about = assert(snapshot_store.describe(folder .. "/cache/" .. key))
      assert.equal("A=b", about.image.environment[1])
      assert(os.execute(("fsck.erofs --extract='%s/out' '%s/cache/chain/%s.erofs' >'%s/said'"):format(folder, folder, about.root, folder)))
      assert.equal("built\n", assert(core.fs.read(folder .. "/out/etc/motd", 100)))
      assert(snapshot:close())
    end)
  end, LIMIT))

  it("that is wrong brings buildah's own words", run(function()
    if not has_buildah() then return pending "no buildah that works here" end
    local folder = support.tmpdir()
    cc_helper.serve({ root = folder }, function(_, client)
      local wrong = { dockerfile = "FROM scratch\n" .. LABEL .. "COPY missing /x\n", cache_dir = folder .. "/cache" }
      local none, message, _, said = client:build_dockerfile(wrong, LIMIT)
      assert.same({ nil, cc.codes.IO, "build" }, { none, said.code, said.op })
      assert.truthy(message:find("missing", 1, true))
      assert.truthy(message:find("STEP 3/3", 1, true), message) -- which step it was, before the last line
      assert.equal("", images())
    end)
  end, LIMIT))

  it("needs buildah, and says so", function()
    local folder = support.tmpdir()
    local script = ([[
      local vmctl = require "vmctl"
      vmctl.run(function()
        local helper <close> = assert(vmctl.cc_helper.new { root = %q })
        local server = assert(vmctl.cc.server(nil, helper:handler()))
        local near, far = assert(vmctl.pair())
        vmctl.spawn(server.converse, server, far)
        local client <close> = vmctl.cc.client(near)
        local _, message, _, said = client:build_dockerfile { dockerfile = "FROM scratch\n", cache_dir = %q }
        print(said.code, message)
      end)]]):format(folder, folder .. "/cache")
    local lua = assert(vmctl.host:run { "sh", "-c", "command -v " .. (os.getenv "LUA" or "lua5.4") }).stdout:match "[^\n]+"
    local result = assert(vmctl.host:run { lua, "-e", script, env = { PATH = folder }, timeout = LIMIT })
    assert.same({ "", 0 }, { result.stderr, result.exit_code })
    assert.truthy(result.stdout:find("^6%s.*buildah.*apt install buildah"))
  end)
end)
