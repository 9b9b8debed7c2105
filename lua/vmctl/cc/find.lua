--- Finds the helper's program, and reads the environment's settings for it (docs/wire/cc-ipc.md#finding-the-helper,
--- docs/wire/cc-ipc.md#socket-path, docs/wire/cc-ipc.md#usehelper).
local core = require "vmctl.core"

local M = {}

local NAME = "cc-helper"
local USER_FOLDER = "/.local/share/cc/bin/"
local EXECUTABLE = 73 -- 0111: executable by anybody; if we may not run it, the start fails

local counter = 0
local advice -- the result of use_helper

-- Tries a candidate, and notes it. The path is made absolute, because a bare name would later be looked up in PATH.
local function try(tried, path)
  table.insert(tried, path)
  local found = core.fs.stat(path)
  if not found or found.type ~= "file" or found.mode & EXECUTABLE == 0 then return nil end
  return core.fs.real(path)
end

local function folder_of(path)
  local folder = path:match "^(.*)/[^/]*$"
  if folder == "" then return "/" end
  return folder or "."
end

-- Skips relative entries of PATH: their meaning depends on the working directory.
local function in_path()
  for folder in (os.getenv "PATH" or ""):gmatch "[^:]+" do
    local path = folder:sub(1, 1) == "/" and try({}, folder .. "/" .. NAME)
    if path then return path end
  end
end

local function search(tried, library)
  local given, home = os.getenv "CC_HELPER_PATH", os.getenv "HOME"
  local running = core.fs.real "/proc/self/exe"
  return given and given ~= "" and try(tried, given)
    or running and try(tried, folder_of(running) .. "/" .. NAME)
    or library and library ~= "" and try(tried, folder_of(library) .. "/" .. NAME)
    or home and home ~= "" and try(tried, home .. USER_FOLDER .. NAME)
    or in_path()
end

--- Looks for the helper: $CC_HELPER_PATH, beside the running program, beside a library, in the user's own folder, in PATH. It
--- must be a file that can be executed. Does not wait.
---@param library? string the file, not the folder, of a library
---@return string|nil path absolute
---@return string? message
---@return string? code ENOENT
---@return string[]? searched the paths tried, "$PATH" last
function M.helper(library)
  local tried = {}
  local path = search(tried, library)
  if path then return path end
  table.insert(tried, "$PATH")
  return nil, ("%s not found (searched: [%s])"):format(NAME, table.concat(tried, " ")), "ENOENT", tried
end

--- The folder for temporary files.
function M.temporary()
  local folder = os.getenv "TMPDIR"
  return folder and folder ~= "" and folder or "/tmp"
end

--- A path for a helper's socket: another one at each call. It is safer to bind in a private folder, as `spawn` does.
--- Does not wait.
---@param folder? string $TMPDIR or /tmp by default
---@return string
function M.socket_path(folder)
  counter = counter + 1
  local _, _, pid = core.fs.identity()
  local nanoseconds = math.floor(core.now() * 1e9) % 1000000000
  return ("%s/%s-%d-%d%09d-%d.sock"):format(folder or M.temporary(), NAME, pid, os.time(), nanoseconds, counter)
end

local words = {
  ["1"] = true, ["true"] = true, yes = true, on = true, ["0"] = false, ["false"] = false, no = false, off = false,
}

--- Tells if $CC_USE_HELPER asks to run machines in a helper. Reads it once. Unset, or any other text than a yes: false. The
--- caller decides what to do.
---@return boolean
function M.use_helper()
  if advice == nil then advice = words[(os.getenv "CC_USE_HELPER" or ""):lower()] or false end
  return advice
end

--- Forgets the result of use_helper, so that $CC_USE_HELPER is read again.
function M.reset_use_helper()
  advice = nil
end

return M
