-- lua5.4 tools/annotations.lua: prints annotations of the Lua modules for an editor's language server, which cannot see modules that are
-- loaded on first use. (make annotations; the modules must be built and found.)
package.path = "tools/?.lua;" .. package.path
local model = require("doc.model").read()

local META = "lua/vmctl/annotations/core.lua"

local function sorted(map)
  local names = {}
  for name in pairs(map) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function say(format, ...) io.write((format:format(...):gsub(" +$", "")), "\n") end

local function prose(text)
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do say("--- %s", line) end
end

local function tail(text)
  text = text:gsub("%s+", " "):gsub("%s+$", "")
  if text == "" then return "" end
  return (text:find "^[%a_][%w_]*%f[^%w_]" and " " or " # ") .. text
end

local function describe(entry)
  local doc = entry.block
  if not doc then return end
  prose(doc.text)
  for _, param in ipairs(doc.params) do
    if not param.name:find "%." or param.name == "..." then
      say("---@param %s%s %s %s", param.name, param.optional and param.name ~= "..." and "?" or "", param.type, param.text)
    end
  end
  for _, value in ipairs(doc.returns) do say("---@return %s%s", value.type, tail(value.text)) end
end

local function functions(owner, entries)
  for _, entry in ipairs(entries) do
    if not entry.ours then
      describe(entry)
      say("function %s%s%s(%s) end\n", owner, entry.method and ":" or ".", entry.name, table.concat(entry.params, ", "))
    end
  end
end

local RESERVED = { public = true, private = true, protected = true, package = true }

local function field(one)
  local name = RESERVED[one.name] and ("[%q]"):format(one.name) or one.name
  say("---@field %s%s %s %s", name, one.optional and "?" or "", one.type, (one.text:gsub("%s+", " ")))
end

local function part(name)
  local known, owner = model.parts[name], name:match "[^.]+$"
  say("---@class %s", name)
  for _, constant in ipairs(known.fields) do
    if name ~= "vmctl" or constant.name ~= "loop" then field(constant) end
  end
  for _, inner in ipairs(sorted(model.parts)) do
    local short = inner:match("^" .. name:gsub("%.", "%%.") .. "%.([%w_]+)$")
    if short then say("---@field %s %s", short, short == "host" and "vmctl.ExecClient" or inner) end
  end
  if name == "vmctl" then say "---@field loop vmctl.Loop" end
  say("local %s = {}\n", owner)
  functions(owner, known.functions)
end

say "---@meta"
say "-- Made of the docstrings by `make annotations`: the parts of vmctl and their classes, for editors. Nothing here is loaded.\n"
for _, name in ipairs(sorted(model.parts)) do
  if name ~= "vmctl.host" then
    say "do"
    part(name)
    say "end\n"
  end
end
for _, name in ipairs(sorted(model.reached)) do
  local class = model.reached[name]
  if class.path ~= META then
    say "do"
    if class.text ~= "" then prose(class.text) end
    say("---@class %s%s%s", class.exact and "(exact) " or "", name, class.parent and " : " .. class.parent or "")
    for _, one in ipairs(class.fields) do field(one) end
    say("local %s = {}\n", name:match "[^.]+$")
    functions(name:match "[^.]+$", class.methods)
    say "end\n"
  end
end
