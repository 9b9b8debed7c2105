-- lua5.4 tools/doc/packages.lua TABLE PAGE: puts the table between the page's comments for it.
local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local table_of, page = read(arg[1]), read(arg[2])
local head, tail = page:match "^(.-<!%-%- packages:[^\n]*\n).-(<!%-%- end of packages %-%->.*)$"
local file <close> = assert(io.open(arg[2], "w"))
assert(file:write(assert(head, "no place for the table"), table_of, tail))
