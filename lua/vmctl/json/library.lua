--- lua-cjson, or an error that says what to install: Debian's and OpenResty's both serve.
local found, cjson = pcall(require, "cjson")
if not found or type(cjson) ~= "table" or not cjson.new then
  local place = found and (package.searchpath("cjson", package.path) or package.searchpath("cjson", package.cpath))
  error(("vmctl needs lua-cjson, and %s: install lua-cjson (Debian, Ubuntu), or: luarocks --lua-version 5.4 install lua-cjson"):format(
    found and ("%s is another module of that name"):format(place or "cjson") or "it is not here"), 0)
end
return cjson
