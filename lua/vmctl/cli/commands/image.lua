--- vmctl image: the images of this user: pulls, builds, imports, lists and removes them.
local errors = require "vmctl.errors"
local instance = require "vmctl.instance"
local json = require "vmctl.json"
local log = require "vmctl.log"
local output = require "vmctl.cli.output"
local units = require "vmctl.cli.units"

local M = {}

local SHORT = 19 -- characters of a digest for people: "sha256:" and twelve

local actions = {}

local function describe_name(command, text) command:argument("name", text):argname "NAME" end

function M.describe(command)
  command:summary "Pull, build, import, list and remove images."
  command:description("Keeps images under names; vmctl run and vmctl create take them as --root image:NAME.\n" ..
    "  vmctl image pull debian:12 && vmctl create deb --root image:debian:12\n  vmctl image build -t tool -f Dockerfile .\n" ..
    "  vmctl image import rootfs.tar.gz tool")
  command:command_target "action"
  local pull = command:command("pull"):summary "Pull an image of a registry, by skopeo."
  describe_name(pull, "As docker has it: debian:12, localhost/some/tool:1.")
  local build = command:command("build"):summary "Build an image by a Dockerfile, by buildah."
  build:argument("context", "The folder that it copies from."):argname "FOLDER"
  build:option("-f --file", "The Dockerfile (that of the folder)."):argname "FILE"
  build:option("-t --tag", "The image's name (that of the folder)."):argname "NAME"
  build:option("--build-arg", "A value for an ARG of it."):argname("NAME=VALUE"):count "*"
  build:option("--isolation", "How buildah runs its commands."):argname("HOW"):choices { "oci", "rootless", "chroot" }
  local import = command:command("import"):summary "Import files as an image."
  import:description "Imports an OCI layout, an archive of docker save, or a folder or an archive of a root file system."
  import:argument("path", "An archive (which may be packed if it is of files), or a folder."):argname "FILE|FOLDER"
  import:argument("name", "The image's name (that of the file)."):argname("NAME"):args "?"
  import:flag("--replace", "Take the name from an image that has it.")
  command:command("ls"):summary "List the images."
  local rm = command:command("rm"):summary "Remove images that no instance and no guest that runs was made of."
  rm:argument("name", "Names, or digests or their beginnings."):argname("NAME"):args "+"
end

local function told(opts, image, err, code)
  if not image then return nil, err, code end
  output.result(opts, { name = image.name, digest = image.digest, created = image.created }, ("%s  %s"):format(image.name,
    image.digest:sub(1, SHORT)))
  return 0
end

function actions.pull(opts) return told(opts, instance.pull_image(opts.name)) end

function actions.import(opts) return told(opts, instance.import_image(opts.path, opts.name, { replace = opts.replace })) end

function actions.build(opts)
  local name = opts.tag or (require("vmctl.base.fs").real(opts.context) or opts.context):match "([^/]*)$"
  return told(opts, instance.build_image(opts.context, name, { file = opts.file, args = opts.build_arg, isolation = opts.isolation }))
end

function actions.ls(opts)
  local list, err, code = instance.images()
  if not list then return nil, err, code end
  local entries, rows = json.array {}, {}
  for i, each in ipairs(list) do
    entries[i] = { name = each.name, digest = each.digest, bytes = each.size, created = each.created, from = each.from,
      used_by = json.array(each.used_by) }
    rows[i] = { each.name or "-", each.digest:sub(1, SHORT), units.size(each.size), units.age(each.created),
      #each.used_by > 0 and table.concat(each.used_by, ",") or "-", log.one_line(each.from) }
  end
  output.result(opts, { images = entries },
    #rows > 0 and output.table({ "NAME", "DIGEST", "SIZE", "CREATED", "USED BY", "FROM" }, rows) or "no images")
  return 0
end

function actions.rm(opts)
  local removed, lines = json.array {}, {}
  for _, name in ipairs(opts.name) do
    local gone, err, code = instance.remove_image(name)
    if not gone then
      if not opts.json and #lines > 0 then output.write(table.concat(lines, "\n"), "\n") end
      return nil, err, code, { removed = removed }
    end
    removed[#removed + 1] = { name = gone.name, digest = gone.digest, freed = gone.freed }
    lines[#lines + 1] = ("%s%s"):format(gone.name or gone.digest, gone.freed and "" or "  (other names have its image)")
  end
  output.result(opts, { removed = removed }, table.concat(lines, "\n"))
  return 0
end

function M.run(opts)
  local action = actions[opts.action]
  if not action then return errors.fail("EINVAL", "image: pull, build, import, ls or rm expected") end
  return action(opts)
end

return M
