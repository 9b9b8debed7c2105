--- Tells if stage 1 with our kernel can mount the file systems of a disk, before anything starts and as far as can be seen from outside.
local M = {}

-- The file systems that stage 1 takes for a root; the module of each has its name.
local MOUNTED = { ext4 = true, xfs = true, btrfs = true, erofs = true, squashfs = true, f2fs = true }
local EXTENDED = { ["05"] = true, ["0F"] = true, ["85"] = true } -- kinds of an MBR's entry that has partitions inside
local ESP = "EFI system partition"               -- as vmctl.machine.partitions tells it
local LOADED = { vfat = true, iso9660 = true }   -- what an EFI looks into
local FIRMWARE = 'let the disk\'s own loader start it (boot = "firmware", --boot firmware)'
-- Contents that are no file system, and so no root of stage 1's.
local CLOSED = {
  LVM = { "is a physical volume of LVM, whose volumes stage 1 does not open", FIRMWARE },
  RAID = { "is a part of a RAID (md), which stage 1 does not join", FIRMWARE },
  iso9660 = { "is an ISO image, of an installer or of a live system, which stage 1 has no root in",
    "name a disk that has a system installed, or " .. FIRMWARE },
  LUKS = { "is encrypted with LUKS, which stage 1 does not open", FIRMWARE .. ", which asks for the passphrase on its console" },
}

local NOTHING = "it has neither a table of partitions nor a file system that is known here: a disk (raw, qcow2) with an installed system "
  .. "is expected"

local function place(each) return each.number == 0 and "it" or ("partition %d"):format(each.number) end

-- As stage 1 reads the word: a number, or a label, a UUID, a name of the table.
local function is_wanted(each, which)
  local number = math.tointeger(tonumber(which))
  if number then return each.number == number end
  return each.label == which or each.name == which or each.uuid == tostring(which):lower()
end

local function candidates(list, which)
  local found = {}
  for _, each in ipairs(list) do
    if EXTENDED[each.kind] then return nil end -- the partitions inside are not known here
    if which == nil or is_wanted(each, which) then found[#found + 1] = each end
    if which ~= nil and found[1] then break end
  end
  return found
end

local function without_module(found, lacks, modules_dir)
  local holds, names, seen = {}, {}, {}
  for _, each in ipairs(found) do
    if lacks[each.type] then holds[#holds + 1] = ("%s holds %s"):format(place(each), each.type) end
    if lacks[each.type] and not seen[each.type] then names[#names + 1] = each.type end
    seen[each.type or ""] = true
  end
  return ("%s, and our kernel has no %s (neither built in nor below %s): name a kernel that has it (kernel, modules_dir), or %s"):format(
    table.concat(holds, ", "), table.concat(names, ", "), modules_dir, FIRMWARE)
end

local function contents(list)
  local texts = {}
  for i, each in ipairs(list) do
    local name = each.label or each.name
    texts[i] = ("%s: %s%s"):format(place(each), each.type or "nothing known", name and (" '%s'"):format(name) or "")
  end
  return table.concat(texts, ", ")
end

local function nothing_known(found)
  return ("there is no file system that stage 1 takes for a root (%s): name a disk with ext4, xfs, btrfs, erofs, squashfs or f2fs, or %s")
    :format(contents(found), FIRMWARE)
end

-- A name is certain where both sides read it alike.
local function no_such(list, which)
  if not tostring(which):find "^[!-~]+$" or list[1] and list[1].type == "iso9660" then return nil end
  return ("there is no partition %s, by number, label, UUID or name (%s)"):format(which, contents(list))
end

--- The reason why no EFI can start a disk without a BIOS's boot code, if that is certain: it has no partition for loaders. Does not wait.
---@param list vmctl.Partition[]|nil nil: it cannot be read
---@return string|nil why
function M.no_loader(list)
  if not list then return nil end
  for _, each in ipairs(list) do
    if each.role == ESP or each.kind == "EF" or EXTENDED[each.kind] or LOADED[each.type] then return nil end
  end
  return ("no loader is on it: its first sector has no boot code, and there is no EFI system partition (%s): boot = \"ours\" needs none")
    :format(#list > 0 and contents(list) or "it has no table of partitions")
end

--- The reason why stage 1 certainly cannot mount the root, or nil. Does not wait.
---@param list vmctl.Partition[] of the disk, empty where it has no table and nothing that is known
---@param which? string|integer the partition that is asked for
---@param lacks table<string, true> modules that our kernel has not
---@param modules_dir? string for the message
---@return string|nil why nil: it can, or the disk must be looked into to know
function M.refusal(list, which, lacks, modules_dir)
  local found = candidates(list, which)
  if not found then return nil end
  if #found == 0 and which ~= nil then return no_such(list, which) end
  if #found == 0 then return NOTHING end
  local closed, blocked
  for _, each in ipairs(found) do
    if MOUNTED[each.type] and not lacks[each.type] or which ~= nil and each.type == "vfat" then return nil end
    blocked = blocked or MOUNTED[each.type]
    closed = closed or CLOSED[each.type] and each
  end
  if blocked then return without_module(found, lacks, modules_dir) end
  if closed then return ("%s %s: %s"):format(place(closed), CLOSED[closed.type][1], CLOSED[closed.type][2]) end
  return nothing_known(found)
end

return M
