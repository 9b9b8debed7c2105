--- Converts file modes between Go's, on the wire, and POSIX', for users (docs/wire/cc-ipc.md#file-mode).
local M = {}

local PERMISSIONS = 0x1ff

-- Go's type bits, with the POSIX type and its name in core.fs. A character device has two bits, so it comes first.
local types = {
  { go = 0x04200000, posix = 0x2000, name = "char" },
  { go = 0x80000000, posix = 0x4000, name = "directory" },
  { go = 0x08000000, posix = 0xa000, name = "link" },
  { go = 0x04000000, posix = 0x6000, name = "block" },
  { go = 0x02000000, posix = 0x1000, name = "fifo" },
  { go = 0x01000000, posix = 0xc000, name = "socket" },
  { go = 0x00080000, posix = 0x0000, name = "other" },
}

local REGULAR = { go = 0, posix = 0x8000, name = "file" }
local POSIX_TYPE = 0xf000

local flags = { { go = 0x00800000, posix = 0x800 }, { go = 0x00400000, posix = 0x400 }, { go = 0x00100000, posix = 0x200 } }

local by_posix, by_name = { [REGULAR.posix] = REGULAR }, { file = REGULAR }
for _, each in ipairs(types) do
  by_posix[each.posix] = each
  by_name[each.name] = each
end

local function type_of(go)
  for _, each in ipairs(types) do
    if go & each.go == each.go then return each end
  end
  return REGULAR
end

--- The st_mode for a mode on the wire: type, set-user-id, set-group-id, sticky, permissions.
---@param go integer
---@return integer st_mode
---@return string type "file", "directory", "link", "fifo", "socket", "char", "block", "other"
function M.to_posix(go)
  if go <= PERMISSIONS then return go | REGULAR.posix, REGULAR.name end -- the most frequent case
  local kind = type_of(go)
  local mode = go & PERMISSIONS | kind.posix
  for _, flag in ipairs(flags) do
    if go & flag.go ~= 0 then mode = mode | flag.posix end
  end
  return mode, kind.name
end

--- The mode on the wire for an st_mode. Without type bits, the type may be named as core.fs.stat does; a mode without
--- either is that of a regular file.
---@param mode integer
---@param name? string
---@return integer go
function M.from_posix(mode, name)
  local kind = mode & POSIX_TYPE ~= 0 and by_posix[mode & POSIX_TYPE] or by_name[name or "file"] or by_name.other
  local go = mode & PERMISSIONS | kind.go
  for _, flag in ipairs(flags) do
    if mode & flag.posix ~= 0 then go = go | flag.go end
  end
  return go
end

--- A file's properties, in POSIX' terms.
---@param info table as a decoder's file_info gives it
---@return { name: string, size: integer, mode: integer, type: string, mtime: integer, is_dir: boolean, is_symlink: boolean }
function M.shown(info)
  local posix, kind = M.to_posix(info.mode)
  return {
    name = info.name, size = info.size, mode = posix & ~POSIX_TYPE, type = kind, mtime = info.mod_time, is_dir = info.is_dir,
    is_symlink = info.is_symlink,
  }
end

return M
