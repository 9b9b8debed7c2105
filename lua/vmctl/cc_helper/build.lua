--- BuildDockerfile: by buildah, where it is installed; the image that it makes becomes a snapshot.
local core = require "vmctl.core"
local failure = require "vmctl.cc.backend.failure"
local log = require "vmctl.log"
local process = require "vmctl.process"
local text = require "vmctl.text"
local wire = require "vmctl.cc.wire"

local M = {}

local codes = wire.codes
local BUILD_TIMEOUT = 3600
local MOST_COMPLAINT = 4096
local NO_BUILDAH = "building needs the program buildah, which is not installed here (Debian: apt install buildah)"

local function check(options)
  if options.cache_dir == "" then return failure.argument "cache_dir is required" end
  if options.dockerfile == "" then return failure.argument "dockerfile is empty" end
  if (options.context_dir .. options.cache_dir):find("\0", 1, true) then return failure.argument "a NUL byte in a path" end
  for name, value in pairs(options.build_args or {}) do
    if (name .. value):find("\0", 1, true) or name == "" or name:find("=", 1, true) then
      return failure.argument "a build argument with a NUL byte, without a name or with '=' in it"
    end
  end
  return true
end

-- Runs buildah; the end of its output tells why it failed, and in which step.
local function run(argv)
  argv.stdin, argv.stdout, argv.stderr, argv.sweep, argv.death_signal = "null", "pipe", "stdout", true, "KILL"
  local child, err, code = process.spawn(argv)
  if not child then
    if code == "ENOENT" then return nil, NO_BUILDAH, codes.HYPERVISOR_UNAVAILABLE end
    return failure.of("build", "", err, code)
  end
  local guard <close> = child -- luacheck: ignore
  local said, deadline = "", core.now() + BUILD_TIMEOUT
  for data in function() return (child.stdout:read(nil, deadline - core.now())) end do said = (said .. data):sub(-MOST_COMPLAINT) end
  local record
  record, err, code = child:wait(math.max(0, deadline - core.now()))
  if not record then return failure.of("build", "", err, code) end
  if record.exit_code == 0 then return true end
  return failure.say("build", "", said:find "%S" and log.sanitize(text.trim_end(said)) or "buildah failed")
end

local function build_command(options, file, context, name)
  local argv, names = { "buildah", "build", "--layers=false", "--force-rm", "-f", file, "-t", name }, {}
  for key in pairs(options.build_args or {}) do names[#names + 1] = key end
  table.sort(names)
  for _, key in ipairs(names) do
    argv[#argv + 1] = "--build-arg"
    argv[#argv + 1] = key .. "=" .. options.build_args[key]
  end
  argv[#argv + 1] = context
  return argv
end

-- Makes a snapshot of the image.
local function import(snapshots, cache, archive)
  local image, about, code = require("vmctl.cc_helper.vm.source").image("oci-archive:" .. archive .. ":", cache)
  if not image then return failure.of("build", "", about, code) end
  return snapshots:keep_image(cache, about, image.digest)
end

local function build(snapshots, options, cache, folder)
  local file, archive = folder .. "/Dockerfile", folder .. "/image.tar"
  local ok, err, code = core.fs.replace(file, options.dockerfile)
  if not ok then return failure.of("build", "", err, code) end
  local context = options.context_dir ~= "" and options.context_dir or folder
  local name = "localhost/vmctl-cc-build:" .. folder:match "[^-]+$"
  local number, where
  ok, err, number, where = run(build_command(options, file, context, name))
  if not ok then return nil, err, number, where end
  ok, err, number, where = run { "buildah", "push", name, "oci-archive:" .. archive }
  run { "buildah", "rmi", name }
  if not ok then return nil, err, number, where end
  return import(snapshots, cache, archive)
end

--- Registers the handler.
---@param router vmctl.CcRouter
---@param snapshots vmctl.CcSnapshots
function M.install(router, snapshots)
  router:handle(wire.types.BUILD_DOCKERFILE, function(d)
    local options = d:dockerfile_options()
    if not options then return end
    local ok, err, code = check(options)
    if not ok then return nil, err, code end
    local cache
    cache, err, code = snapshots:cache(options.cache_dir)
    if not cache then return nil, err, code end
    local folder
    folder, err, code = core.fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-build")
    if not folder then return failure.of("build", "", err, code) end
    local fine, snapshot, number, where
    fine, snapshot, err, number, where = pcall(build, snapshots, options, cache, folder)
    M.remove_folder(folder)
    if not fine then error(snapshot, 0) end
    if not snapshot then return nil, err, number, where end
    return snapshots:answer(snapshot)
  end)
end

--- Removes a temporary folder with all that is in it.
---@param path string absolute
function M.remove_folder(path)
  local root <close> = core.fs.root(text.split(path) or "/")
  if root then root:remove_all(text.base(path)) end
end

return M
