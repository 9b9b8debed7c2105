--- Validates the groups, users and units of a set, and makes their steps.
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

local NAME_MAX, ID_MAX = 255, 4294967294
local UNIT_MOST = 256 << 10 -- bytes

local group_members = { gid = "integer>=0", system = "boolean" }
local user_members = {
  uid = "integer>=0", groups = "table", home = "string", shell = "string", system = "boolean",
}
local unit_members = { content = "string", enable = "boolean", start = "boolean", runtime = "boolean" }
local KINDS = {
  service = true, socket = true, timer = true, path = true, mount = true, automount = true, swap = true, target = true, slice = true,
}

local function wrong(text, ...) return errors.fail("EINVAL", text, ...) end

local function plain(text) return (text:sub(1, 80):gsub("[%c\127-\255]", "?")) end

local function sorted(map, what, level)
  local names = {}
  for name in pairs(map) do
    if type(name) ~= "string" then error(("config.push: %s: a name expected, got %s"):format(what, type(name)), level) end
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function is_account(name) return #name <= 32 and name:find "^[%l_][%w_.-]*%$?$" ~= nil end

--- Adds a step for each group: `{ docker = { gid = 990, system = true }, old = false }`.
---@param steps table[]
---@param groups table<string, table|false>
---@param level integer as for `error`
---@return true|nil, string?, string? code EINVAL
function M.add_groups(steps, groups, level)
  for _, name in ipairs(sorted(groups, "groups", level)) do
    local group = groups[name]
    if not is_account(name) then return wrong("group: '%s' is no group's name", plain(name)) end
    if group ~= false then options.check(group, group_members, "config.push: groups", level + 1) end
    if group and group.gid and group.gid > ID_MAX then return wrong("group %s: no group has the number %d", name, group.gid) end
    steps[#steps + 1] = { kind = "group", name = name, remove = group == false, gid = group and group.gid, system = group and group.system }
  end
  return true
end

local function user_fault(user)
  if user.uid and user.uid > ID_MAX then return ("no user has the number %d"):format(user.uid) end
  for _, what in ipairs { "home", "shell" } do
    local path = user[what]
    if path and not path:find "^/[^%c:]*$" then return ("its %s is no absolute path"):format(what) end
  end
  for key, group in pairs(user.groups or {}) do
    if math.type(key) ~= "integer" or type(group) ~= "string" or not is_account(group) then return "its groups are no list of names" end
  end
end

--- Adds a step for each user: `{ alice = { uid = 1000, groups = { "docker" }, shell = "/bin/bash", home =, system = }, bob = false }`.
---@param steps table[]
---@param users table<string, table|false>
---@param level integer as for `error`
---@return true|nil, string?, string? code EINVAL
function M.add_users(steps, users, level)
  for _, name in ipairs(sorted(users, "users", level)) do
    local user = users[name]
    if not is_account(name) then return wrong("user: '%s' is no user's name", plain(name)) end
    local step = { kind = "user", name = name, remove = user == false }
    if user then
      options.check(user, user_members, "config.push: users", level + 1)
      local fault = user_fault(user)
      if fault then return wrong("user %s: %s", name, fault) end
      for key, value in pairs(user) do step[key] = value end
    end
    steps[#steps + 1] = step
  end
  return true
end

local function value_text(value)
  if type(value) == "boolean" then return value and "yes" or "no" end
  if type(value) == "string" or type(value) == "number" then return tostring(value) end
end

-- Lines of a key; a list is the key several times.
local function add_key(lines, key, value)
  for _, each in ipairs(type(value) == "table" and value or { value }) do
    local text = value_text(each)
    if not text or text:find "[%z\n]" then return nil end
    lines[#lines + 1] = ("%s=%s"):format(key, text)
  end
  return true
end

local ORDER = { Unit = 1, Install = 3 }

-- The file of a unit that is given as sections: { Unit = { Description = "…" }, Service = { ExecStart = "…" } }.
local function from_sections(unit)
  local names, lines = {}, {}
  for name in pairs(unit) do
    if name:find "^%u[%w-]*$" then names[#names + 1] = name end
  end
  table.sort(names, function(a, b)
    local first, second = ORDER[a] or 2, ORDER[b] or 2
    if first ~= second then return first < second end
    return a < b
  end)
  for _, name in ipairs(names) do
    if type(unit[name]) ~= "table" then return nil, ("its section %s is no table"):format(name) end
    lines[#lines + 1] = ("[%s]"):format(name)
    local keys = {}
    for key in pairs(unit[name]) do keys[#keys + 1] = tostring(key) end
    table.sort(keys)
    for _, key in ipairs(keys) do
      if not key:find "^%u[%w]*$" or not add_key(lines, key, unit[name][key]) then
        return nil, ("%s in its section %s is no text, number, boolean or list of these"):format(plain(key), name)
      end
    end
  end
  if #names == 0 then return nil, "it has neither content nor a section" end
  return table.concat(lines, "\n") .. "\n"
end

local function read_unit(unit, level)
  if type(unit) == "string" then unit = { content = unit } end
  if type(unit) ~= "table" then error("config.push: units: a text, a table or false expected", level) end
  local own = {}
  for key, value in pairs(unit) do
    if type(key) ~= "string" or not key:find "^%u" then own[key] = value end
  end
  options.check(own, unit_members, "config.push: units", level + 1)
  local text, fault = own.content, nil
  if not text then text, fault = from_sections(unit) end
  return text, fault, own
end

local function unit_fault(name, text)
  local kind = name:match "%.(%l+)$"
  if #name > NAME_MAX or not name:find "^[%w:_\\][%w:_.\\@-]*$" or not KINDS[kind] then return "it is no unit's name" end
  if text == "" then return "it is empty" end
  if text and #text > UNIT_MOST then return ("it has more than %d bytes"):format(UNIT_MOST) end
end

--- Adds steps for each unit: all are written before one is started. `{ ["x.service"] = "[Service]\n…" }`, or a table with `content` or
--- with sections, and enable (true where it has [Install]), start (true, but for templates), runtime (until the next boot); false: it goes.
---@param steps table[]
---@param units table<string, string|table|false>
---@param level integer as for `error`
---@return true|nil, string?, string? code EINVAL
function M.add_units(steps, units, level)
  local starts = {}
  for _, name in ipairs(sorted(units, "units", level)) do
    local unit, text, fault, own = units[name], nil, nil, {}
    if unit ~= false then text, fault, own = read_unit(unit, level + 1) end
    fault = fault or unit_fault(name, text)
    if fault then return wrong("unit %s: %s", plain(name), fault) end
    local is_template, enable = name:find("@.", 1, true) ~= nil, own.enable
    if enable == nil then enable = not (own.runtime or is_template) and ("\n" .. (text or "")):find("\n[Install]", 1, true) ~= nil end
    steps[#steps + 1] = { kind = "unit", name = name, remove = unit == false, content = text or "", size = #(text or ""), mode = 420,
      path = (own.runtime and "/run/systemd/system/" or "/etc/systemd/system/") .. name, enable = enable }
    if text and own.start ~= false and not (is_template and own.start == nil) then
      starts[#starts + 1] = { kind = "start", name = name, unit = steps[#steps] }
    end
  end
  table.move(starts, 1, #starts, #steps + 1, steps)
  return true
end

return M
