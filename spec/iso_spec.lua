-- A small ISO 9660, read as ECMA-119 says.
local assert = require "luassert"
local iso = require "vmctl.machine.iso"

local SECTOR = 2048

-- The records of the volume's only folder: contents by name.
local function read(volume)
  local sector, size = ("<I4xxxxI4"):unpack(volume, 16 * SECTOR + 156 + 2 + 1)
  local at, last, files = sector * SECTOR + 1, sector * SECTOR + size, {}
  while at < last and volume:byte(at) > 0 do
    local length = volume:byte(at)
    local where, bytes = ("<I4xxxxI4"):unpack(volume, at + 2)
    local where_big, bytes_big = (">xxxxI4xxxxI4"):unpack(volume, at + 2)
    assert.same({ where, bytes }, { where_big, bytes_big })
    local name = ("s1"):unpack(volume, at + 32)
    if #name > 1 then files[name] = volume:sub(where * SECTOR + 1, where * SECTOR + bytes) end
    at = at + length
  end
  return files
end

describe("vmctl.machine.iso", function()
  it("has its label, its size and its files where they belong", function()
    local files = { ["user-data"] = ("x"):rep(SECTOR), ["meta-data"] = "m\n", empty = "",
      long = ("y"):rep(3 * SECTOR + 1) }
    local volume = iso.make("cidata", files)
    assert.equal("\1CD001\1", volume:sub(16 * SECTOR + 1, 16 * SECTOR + 7))
    assert.equal("cidata" .. (" "):rep(26), volume:sub(16 * SECTOR + 41, 16 * SECTOR + 72))
    assert.equal("\255CD001\1", volume:sub(17 * SECTOR + 1, 17 * SECTOR + 7))
    assert.equal(#volume, SECTOR * ("<I4"):unpack(volume, 16 * SECTOR + 81))
    assert.equal(1, volume:byte(16 * SECTOR + 882)) -- the version of its structure, behind all dates
    assert.same({ ["USER-DATA.;1"] = files["user-data"], ["META-DATA.;1"] = "m\n", ["EMPTY.;1"] = "", ["LONG.;1"] = files.long },
      read(volume))
  end)
end)
