--- Command lines of small programs, by a table of their options: "--name VALUE", "--name=VALUE" and flags.
local M = {}

---@class vmctl.Argument how an option is read
---@field into string the member of the result
---@field flag? any an option without a value: the value of the member
---@field many? boolean may be given more than once: the member is a list, which `defaults` must have
---@field read? fun(text: string): any makes the value of the text; nil: it does not fit
---@field rest? boolean the words behind it, at least one, are not options: the member is a list with `n`

-- Sets an option's value. False: it does not fit.
local function put(opts, option, text)
  local value = text
  if option.read then value = option.read(text) end
  if value == nil then return false end
  if option.many then table.insert(opts[option.into], value) else opts[option.into] = value end
  return true
end

-- Reads the option at `i`. The index of the next one, or nil, message.
local function take(opts, known, args, i)
  local name, value = args[i]:match "^(%-%-?[%w-]+)=(.*)$"
  name = name or args[i]
  local option = known[name]
  if not option or option.flag ~= nil and value then return nil, ("unknown option '%s' (see --help)"):format(name) end
  if option.flag ~= nil then
    opts[option.into] = option.flag
    return i + 1
  elseif option.rest then
    if value or not args[i + 1] then return nil, name .. ": a value expected" end
    opts[option.into] = table.pack(table.unpack(args, i + 1))
    return #args + 1
  end
  local following = i + (value and 1 or 2)
  value = value or args[i + 1]
  if not value or not put(opts, option, value) then return nil, name .. ": a value expected" end
  return following
end

--- Reads a command line.
---@param args string[]
---@param known table<string, vmctl.Argument> by the options' names, with their dashes
---@param defaults? table members that are there in any case
---@return table|nil options, string? message that names the option
function M.parse(args, known, defaults)
  local opts, i = defaults or {}, 1
  while args[i] do
    local following, err = take(opts, known, args, i)
    if not following then return nil, err end
    i = following
  end
  return opts
end

return M
