--- The settings that an image has for its commands: the defaults of a guest's commands, and the folder that they run in.
local errors = require "vmctl.errors"
local options = require "vmctl.base.options"

local M = {}

local LONGEST = 255 -- bytes of a folder that stage 1 makes: STAGE1_PATH of src/agent/stage1.h

local function given(text) return text ~= "" and text or nil end

-- An image's configuration has a list of NAME=VALUE.
local function environment(env)
  local all = {}
  for name, value in pairs(env or {}) do
    if math.type(name) == "integer" then name, value = value:match "^([^=]+)=(.*)$" end
    if name then all[name] = value end
  end
  return all
end

-- The image's own program, with its own arguments.
local function add_program(config, all)
  for _, list in ipairs { config.entrypoint or {}, config.cmd or {} } do table.move(list, 1, #list, #all + 1, all) end
  if all[1] ~= nil then return true end
  return errors.fail("EINVAL", "no program is named, and the guest's root names none of its own")
end

--- Completes a command by the image's settings: environment, folder and user, and its own program where the command names none. Does
--- not wait.
---@param config table env, user, cwd, entrypoint, cmd
---@param command string|table as for `run`
---@return string|table|nil, string?, string? code EINVAL: no program is named, here or there
function M.complete(config, command)
  local is_table = type(command) == "table"
  if next(config) == nil and not (is_table and command[1] == nil) then return command end
  local all = is_table and options.merge({}, command) or { "sh", "-c", command }
  if all[1] == nil then
    local ok, err, code = add_program(config, all)
    if not ok then return nil, err, code end
  end
  all.env = options.merge(environment(config.env), all.env or {})
  all.cwd, all.user = all.cwd or given(config.cwd), all.user or given(config.user)
  return all
end

--- A word of the kernel's command line that has stage 1 make the image's folder; "" if there is none. Does not wait.
---@param config table
---@param encode fun(text: string): string
---@return string
function M.word(config, encode)
  local cwd = given(config.cwd)
  if not cwd or #cwd > LONGEST or cwd:sub(1, 1) ~= "/" or cwd == "/" then return "" end
  return " vmctl.folder=" .. encode(cwd)
end

return M
