--- The folder of one test: console logs, the log of commands, screenshots, captures. It is kept when the test fails; files that a
--- verb has made for the user are kept in any case.
local core = require "vmctl.core"
local log = require "vmctl.log"
local texts = require "vmctl.text"

local M = {}

local ROOT = "build/artefacts"
local NAME_LONGEST = 120    -- bytes
local SHOWN = 2000          -- bytes of each output in the log of commands

---@class vmctl.Artefacts
local methods = {}
local mt = { __name = "vmctl.Artefacts", __index = methods }

--- Turns any text into a name that a file can have.
---@param text string
---@return string
function M.file_name(text)
  local name = text:gsub("[^%w%.%-]+", "_"):gsub("^[_%.]+", ""):gsub("_+$", "")
  return name == "" and "test" or name:sub(1, NAME_LONGEST)
end

--- Makes a folder, and those above it that are missing.
---@param path string
---@return true|nil, string?, string?
function M.make_folders(path)
  local at = 1
  while at do
    at = path:find("/", at + 1, true)
    local part = path:sub(1, (at or 0) - 1)
    local ok, err, code = core.fs.mkdir(part, 448 | 56) -- 0770
    if not ok and code ~= "EEXIST" then return nil, err, code end
  end
  return true
end

--- Removes a folder and all in it; links are removed, not followed.
function M.remove(path)
  local found = core.fs.stat(path, true)
  if not found then return end
  if found.type == "directory" then
    for _, name in ipairs(core.fs.list(path) or {}) do M.remove(path .. "/" .. name) end
  end
  core.fs.remove(path)
end

--- Makes the folder of a test, and removes the one of its last run.
---@param test string its name
---@param opts { artefacts: string?, keep: boolean? } artefacts: the root folder (VMCTL_ARTEFACTS, "build/artefacts"); keep: the
-- folder is kept after a success, too (VMCTL_KEEP_ARTEFACTS)
---@return vmctl.Artefacts|nil, string?, string?
function M.open(test, opts)
  local root = opts.artefacts or os.getenv "VMCTL_ARTEFACTS" or ROOT
  local path = root .. "/" .. M.file_name(test)
  M.remove(path)
  local ok, err, code = M.make_folders(path)
  if not ok then return nil, ("artefacts of '%s': %s"):format(test, err), code end
  local keep = opts.keep
  if keep == nil then keep = (os.getenv "VMCTL_KEEP_ARTEFACTS" or "0") ~= "0" end
  return setmetatable({ path = path, _root = root, _begin = core.now(), _keep = keep, _kept = {} }, mt)
end

--- Renames the folder after another test. Open files stay open.
function methods:rename(test)
  local path = self._root .. "/" .. M.file_name(test)
  if path == self.path then return end
  M.remove(path)
  if core.fs.rename(self.path, path) then self.path = path end
end

--- Gives the path for a new file in the folder. A number is added when the name is taken.
---@param name string
---@param ending? string ".png"
---@return string path
function methods:file(name, ending)
  ending = ending or ""
  local path, number = ("%s/%s%s"):format(self.path, M.file_name(name), ending), 1
  while core.fs.stat(path, true) do
    number = number + 1
    path = ("%s/%s-%d%s"):format(self.path, M.file_name(name), number, ending)
  end
  return path
end

--- Marks a file or folder to be kept, whether the test fails or not.
---@param path string as returned by `file`, or the path of the folder itself, to keep all of it
function methods:keep(path)
  if path == self.path then
    self._keep = true
  elseif path:sub(1, #self.path + 1) == self.path .. "/" then
    self._kept[path:sub(#self.path + 2):match "^[^/]+"] = true
  end
end

--- Adds a line to commands.log, with the seconds since the test began.
function methods:note(text, ...)
  if select("#", ...) > 0 then text = text:format(...) end
  self._log = self._log or io.open(self.path .. "/commands.log", "a")
  if not self._log then return end
  self._log:setvbuf "line"
  self._log:write(("%9.3f %s\n"):format(core.now() - self._begin, log.one_line(log.mask(text), SHOWN)))
end

--- Adds outputs of a command to commands.log.
function methods:note_output(record)
  for _, name in ipairs { "stdout", "stderr" } do
    local text = record[name]
    if text and text ~= "" then
      local part = log.sanitize(log.mask(texts.trim_end(text)), SHOWN)
      self._log:write(("          %s| %s\n"):format(name, (part:gsub("\n", ("\n          %s| "):format(name)))))
    end
  end
end

--- Writes a file in the folder.
function methods:write(name, text)
  local file = io.open(self.path .. "/" .. name, "w")
  if not file then return end
  file:write(text, "\n")
  file:close()
end

--- Ends the test's folder. After a failure, or with `keep`, all of it is kept; after a success only the marked files are.
---@param failed boolean
---@return boolean is_kept
function methods:close(failed)
  if self._log then self._log:close() end
  self._log = nil
  if failed or self._keep then return true end
  if not next(self._kept) then
    M.remove(self.path)
    return false
  end
  for _, name in ipairs(core.fs.list(self.path) or {}) do
    if not self._kept[name] then M.remove(self.path .. "/" .. name) end
  end
  return true
end

return M
