--- The programs that unpack compressed files, found by their first bytes.
local M = {}

M.HEAD = 8 -- bytes to look at

local KNOWN = { { "\x1f\x8b", "gzip" }, { "\x28\xb5\x2f\xfd", "zstd" }, { "\xfd7zXZ\0", "xz" }, { "BZh", "bzip2" } }
local FOREIGN = { { "\x04\x22\x4d\x18", "lz4" }, { "LZIP", "lzip" }, { "\x89LZO", "lzop" }, { "\x1f\x9d", "compress" },
  { "PK\x03\x04", "zip" }, { "7z\xbc\xaf", "7z" } }

local function find(list, head)
  for _, each in ipairs(list) do
    if head:sub(1, #each[1]) == each[1] then return each[2] end
  end
end

--- The program that unpacks bytes which begin so; nil: none is needed, or none is known. Does not wait.
---@param head string
---@return "gzip"|"zstd"|"xz"|"bzip2"|nil
function M.program(head) return find(KNOWN, head) end

--- The program that has packed bytes which begin so, if it is one that cannot be used here; else nil. Does not wait.
---@param head string
---@return string|nil
function M.foreign(head) return find(FOREIGN, head) end

return M
