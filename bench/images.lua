--- Files for the benchmarks of images: copies of this machine's, made once in build/bench.

local M = {}

local LAYER, TREE = 300, 60 -- MiB

--- Runs a shell command, which must succeed.
function M.sh(command) assert(os.execute("set -e; " .. command), command) end

local function output(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read "a"
end

--- The absolute path of a folder, which is made.
---@return string
function M.real(path)
  M.sh(("mkdir -p '%s'"):format(path))
  return (output(("cd '%s' && pwd"):format(path)):gsub("\n", ""))
end

local function exists(path)
  local file = io.open(path)
  return file and file:close()
end

--- An empty folder.
---@return string
function M.scratch(path)
  M.remove(path)
  return M.real(path)
end

function M.remove(path) M.sh(("rm -rf '%s'"):format(path)) end

-- The first files of /usr, by name, of so many MiB together; none is larger than 8 MiB.
local LIST = [[find /usr/bin /usr/lib /usr/share -xdev -type f -readable -size -16384 -printf '%%s %%p\n' | LC_ALL=C sort -k 2 |
  awk '{ sum += $1; if (sum > %d * 1048576) exit; sub(/^[0-9]+ /, ""); print }']]

local function blob(folder, path)
  local hex = output(("sha256sum '%s'"):format(path)):match "%x+"
  M.sh(("mv '%s' '%s/blobs/sha256/%s'"):format(path, folder, hex))
  return hex
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

-- A layout of one layer, which is packed; `make` writes the archive.
local function layout(path, make)
  if not exists(path .. "/index.json") then
    M.scratch(path)
    M.sh(("mkdir -p '%s/blobs/sha256'"):format(path))
    make(path .. "/layer.tar")
    local id = output(("sha256sum '%s/layer.tar'"):format(path)):match "%x+"
    M.sh(("gzip -f '%s/layer.tar'"):format(path))
    local layer = blob(path, path .. "/layer.tar.gz")
    write(path .. "/config", ('{"architecture":"amd64","os":"linux","rootfs":{"diff_ids":["sha256:%s"]}}'):format(id))
    local config = blob(path, path .. "/config")
    write(path .. "/manifest", ('{"config":{"digest":"sha256:%s"},"layers":[{"digest":"sha256:%s"}]}'):format(config, layer))
    write(path .. "/layer", layer)
    write(path .. "/index.json", ('{"manifests":[{"digest":"sha256:%s"}]}'):format(blob(path, path .. "/manifest")))
  end
  local file <close> = assert(io.open(path .. "/layer"))
  return { path = path, layer = path .. "/blobs/sha256/" .. file:read "a" }
end

--- An OCI layout of 300 MiB in one layer.
---@return { path: string, layer: string }
function M.layout(path)
  return layout(path, function(to) M.sh((LIST .. " | tar -C / --numeric-owner --verbatim-files-from -cf '%s' -T -"):format(LAYER, to)) end)
end

--- An OCI layout with busybox.
---@return { path: string, layer: string }
function M.busybox(path)
  return layout(path, function(to)
    M.sh(("to='%s'; mkdir -p \"$to.d/bin\"; cp \"$(command -v busybox)\" \"$to.d/bin/\"; ln -s busybox \"$to.d/bin/true\"; "
      .. "tar -C \"$to.d\" --numeric-owner -cf \"$to\" .; rm -rf \"$to.d\""):format(to))
  end)
end

--- A folder with busybox, and 60 MiB of files below /files.
---@return string absolute
function M.tree(path)
  local made = M.real(path)
  if not exists(made .. "/done") then
    M.sh(("cd '%s' && mkdir -p bin dev etc proc sys run tmp files && touch etc/passwd && cp \"$(command -v busybox)\" bin/"):format(made))
    M.sh((LIST .. " | cpio -pdm --quiet '%s/files' 2>/dev/null; touch '%s/done'"):format(TREE, made, made))
  end
  return made
end

--- How many bytes these files have.
---@return integer
function M.bytes(tree)
  return tonumber(output(("find '%s/files' -type f -printf '%%s\\n' | awk '{ n += $1 } END { print n }'"):format(tree)))
end

--- An ext4 of a folder. Its blocks are those of a disk in use: for one as small as this, mke2fs would take blocks of 1 KiB, which fragment.
---@return string
function M.ext4(tree, path)
  if not exists(path) then
    M.sh(("PATH=$PATH:/sbin:/usr/sbin; truncate -s 200M '%s.new'; mke2fs -q -t ext4 -b 4096 -d '%s' -F '%s.new'; mv '%s.new' '%s'"):format(
      path, tree, path, path, path))
  end
  return path
end

--- Makes all of it, so that no benchmark's time goes into that.
function M.prepare()
  M.layout "build/bench/image-300"
  M.busybox "build/bench/image-busybox"
  M.ext4(M.tree "build/bench/image-tree", "build/bench/image-tree-4k.ext4")
end

return M
