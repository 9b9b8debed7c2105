--- Reads ELF files (64 bit, little endian), as far as building an image needs it.
local M = {}

-- A table of the file: where it starts, the size of an entry, how many there are. This and what is built on it
-- raises when the file is cut short; each table's numbers are at fixed places in the header.
local function part(bytes, start_field, size_field)
  local size, count = ("<I2I2"):unpack(bytes, size_field + 1)
  return ("<I8"):unpack(bytes, start_field + 1) + 1, size, count
end

--- The dynamic linker that a program needs, nil for a static program. Raises for a damaged file.
---@param bytes string
---@return string|nil
function M.interpreter(bytes)
  local start, size, count = part(bytes, 0x20, 0x36)
  for at = start, start + size * (count - 1), size do
    if ("<I4"):unpack(bytes, at) == 3 then return ("z"):unpack(bytes, ("<I8"):unpack(bytes, at + 8) + 1) end
  end
end

--- The bytes of a section, nil where there is none of that name. Raises for a damaged file.
---@param bytes string
---@param wanted string its name
---@return string|nil
function M.section(bytes, wanted)
  local start, size, count = part(bytes, 0x28, 0x3a)
  local names = ("<I8"):unpack(bytes, start + size * ("<I2"):unpack(bytes, 0x3f) + 0x18)
  for at = start, start + size * (count - 1), size do
    if ("z"):unpack(bytes, names + ("<I4"):unpack(bytes, at) + 1) == wanted then
      local offset, length = ("<I8I8"):unpack(bytes, at + 0x18)
      return (("c%d"):format(length):unpack(bytes, offset + 1))
    end
  end
end

return M
