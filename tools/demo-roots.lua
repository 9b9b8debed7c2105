-- The roots of tools/demo.lua besides the guest of `make guest`: an OCI image that is made here, and a Debian's disk.
local core = require "vmctl.core"
local vmctl = require "vmctl"

local M = {}

local ARCHITECTURES = { x86_64 = "amd64", aarch64 = "arm64" } -- as images name them

local SCRIPT = [[
cd "$1"; mkdir -p tree/bin oci/blobs/sha256
cp "$(command -v busybox)" tree/bin/busybox
for name in sh echo uname id cat ls; do ln -s busybox tree/bin/$name; done
mkdir tree/etc; echo 'demo:x:1000:1000::/:/bin/sh' > tree/etc/passwd
tar -C tree --numeric-owner --owner=0 --group=0 -cf layer.tar .]]

local function blob(layout, bytes, kind)
  local hex = core.sha256(bytes):hex()
  assert(core.fs.replace(("%s/blobs/sha256/%s"):format(layout, hex), bytes))
  return { mediaType = "application/vnd.oci.image." .. kind, digest = "sha256:" .. hex, size = #bytes }
end

--- Makes an OCI layout of one layer, busybox, with a command, a user and a variable.
---@param folder string an empty one
---@return string root "oci:…"
function M.layout(folder)
  assert(vmctl.host:run { "sh", "-ec", SCRIPT, "sh", folder, check = true })
  local file <close> = assert(io.open(folder .. "/layer.tar", "rb"))
  local layout, encode = folder .. "/oci", vmctl.json.encode
  local layer = blob(layout, file:read "a", "layer.v1.tar")
  local arch = assert(vmctl.host:run { "uname", "-m", check = true }).stdout:match "%S+"
  local config = blob(layout, assert(encode { architecture = ARCHITECTURES[arch] or arch, os = "linux",
    rootfs = { type = "layers", diff_ids = { layer.digest } },
    config = { Cmd = { "sh", "-c", "echo $GREETING from an image, as $(id -un)" }, User = "demo", Env = { "GREETING=hello" } } }),
    "config.v1+json")
  local manifest = blob(layout, assert(encode { schemaVersion = 2, config = config, layers = { layer } }), "manifest.v1+json")
  assert(core.fs.replace(layout .. "/index.json", assert(encode { schemaVersion = 2, manifests = { manifest } })))
  assert(core.fs.replace(layout .. "/oci-layout", '{"imageLayoutVersion":"1.0.0"}'))
  return "oci:" .. layout
end

--- An image becomes a file system, a guest starts with it, and its own command runs.
---@param step fun(what: string, fn: fun(): any): any
---@param kernel string
function M.image(step, kernel)
  local folder = assert(core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-demo"))
  local gone <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    vmctl.host:run { "rm", "-rf", "--", folder }
  end })
  local root = M.layout(folder)
  local opts = { root = root, kernel = kernel, cache_dir = folder .. "/cache", name = "demo-image" }
  step("OCI image made into a file system", function() return assert(vmctl.rootfs.image(root, { cache = opts.cache_dir })) end)
  local vm <close> = assert(vmctl.machine.launch(opts))
  step("guest of the image ready", function() return assert(vm:wait_ready { timeout = 60 }) end)
  local said = step("the image's command", function() return assert(vm:run { check = true }) end)
  print("            " .. said.stdout:gsub("%s+$", ""))
  assert(said.stdout == "hello from an image, as demo\n", "the image's command said something else")
  assert(vm:shutdown())
end

--- A Debian with systemd, all of whose units have been started.
---@param step fun(what: string, fn: fun(): any): any
---@param kernel string
---@param disk string
function M.distribution(step, kernel, disk)
  local vm <close> = assert(vmctl.machine.launch { root = "disk:" .. disk, kernel = kernel, name = "demo-debian", cpus = 2 })
  step("Debian's agent ready", function() return assert(vm:wait_ready { timeout = 300 }) end)
  step("Debian's system up", function() return assert(vm:wait_ready { timeout = 300, target = "system" }) end)
  local about = step("its os-release", function() return assert(vm:run { "cat", "/etc/os-release", check = true }) end)
  print("            " .. assert(about.stdout:match 'PRETTY_NAME="([^"]*)"', "it has no name"))
  assert(vm:shutdown())
end

return M
