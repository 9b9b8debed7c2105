--- The guest's side of a copy through the file calls of a cc helper. The guest needs no program for it.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local sinks = require "vmctl.files.cc_sink"
local sources = require "vmctl.files.cc_source"
local text = require "vmctl.text"

local M = {}

local methods = {}
methods.__index = methods

local PIECE = 256 << 10

local shown = { directory = "directory", file = "file", link = "link" }

---@param fs vmctl.CcFilesystem
---@param label string
---@param deadline number
function M.new(fs, label, deadline)
  return setmetatable({ fs = fs, label = label, _deadline = deadline }, methods)
end

--- The seconds that are left of the copy's limit. Does not wait.
---@return number
function methods:left()
  return math.max(0.001, self._deadline - core.now())
end

--- The type of the file at a path: "directory", "file", "link", "other", or "none".
---@param path string
---@param follow? boolean follow a link
---@return string|nil, string?, string?
function methods:type(path, follow)
  local there, err, code, why = self.fs:lstat(path, self:left())
  if there and there.type == "link" and follow then there = self.fs:stat(path, self:left()) or there end
  if there then return shown[there.type] or "other" end
  if type(why) == "table" then return "none" end -- the helper has answered that the path does not exist
  return nil, err, code
end

--- Makes a sink for files in the guest. See vmctl.files.exec_sink.
function methods:sink(aims, how)
  local there, err, code = self:type(aims.path, true)
  if not there then return nil, err, code end
  if there == "other" then return errors.fail("EEXIST", "it is there, and no regular file") end
  local aim = there == "directory" and aims.inside or aims.itself
  if aim.name == "" then return errors.fail("EINVAL", "the copy needs a name") end
  local ok
  ok, err, code = self.fs:mkdir_all(aim.folder, 493, self:left()) -- 0755
  if not ok then return nil, err, code end
  local sink = sinks.new(self, text.below(aim.folder == "/" and "" or aim.folder, aim.name), how.owner)
  sink.folder, sink.name = aim.folder, aim.name
  return sink
end

--- Makes a source of files and folders of the guest.
function methods:source(path, folder, name)
  return sources.new(self, path, text.below(folder == "/" and "" or folder, name))
end

--- Reads files below `top` again for their SHA-256 sums; false for a file that no longer exists. Waits.
---@return (string|false)[]|nil, string?, string?
function methods:hashes(top, paths)
  local list = {}
  for i, path in ipairs(paths) do
    local hash = core.sha256()
    local ok, err, code = sources.visit_file(self, text.below(top, path), {}, function(_, read)
      while true do
        local data, why, how = read(PIECE)
        if not data or data == "" then return not why or nil, why, how end
        hash:update(data)
      end
    end)
    if not ok and self:type(text.below(top, path)) ~= "none" then return nil, err, code end
    list[i] = ok and hash:hex() or false
  end
  return list
end

--- The current sizes and times of files below `top`. Waits.
---@param files { path: string }[]
---@return { size: integer, mtime: integer }[] false for a file whose state could not be read
function methods:states(top, files)
  local list = {}
  for i, file in ipairs(files) do
    local info = self.fs:stat(text.below(top, file.path), self:left())
    list[i] = info and { size = info.size, mtime = info.mtime } or false
  end
  return list
end

return M
