--- Exact arguments through a POSIX shell: agents of the reference run `sh -c`, and its JSON carries no bytes that are not
-- UTF-8, so such bytes travel as printf's octal escapes.
local M = {}

local function is_text(bytes)
  return utf8.len(bytes) ~= nil
end

-- 'It'\''s': inside single quotes only the quote itself is special.
local function single(bytes)
  return "'" .. bytes:gsub("'", "'\\''") .. "'"
end

local function octal(bytes)
  return (bytes:gsub("[^%w]", function(c) return ("\\%03o"):format(c:byte()) end))
end

--- One word for the shell. Text is quoted; other bytes need `prepare` first, which names the variable that holds them.
---@param bytes string
function M.word(bytes)
  if bytes:find "^[%w_@%%+=:,./-]+$" then return bytes end
  return single(bytes)
end

-- A command substitution drops line feeds at its end. An x is put behind them, which the expansion cuts off.
local function assignment(name, bytes)
  return ("%s=$(printf '%sx'); %s=${%s%%x}; "):format(name, octal(bytes), name, name)
end

-- The variables of an environment, as a list of commands.
local function exports(env)
  local list = {}
  for name, value in pairs(env or {}) do
    list[#list + 1] = assignment(name, value) .. "export " .. name .. "; "
  end
  return list
end

--- A shell command that becomes `argv` with exactly these arguments, in an environment with `env` added where its values are
-- not text. `exec` keeps the shell from seeing anything else in the first word: a builtin (whose echo knows backslashes), a
-- reserved word, an assignment.
---@param argv string[]
---@param env? table<string, string> values that JSON cannot carry
---@return string command
function M.command(argv, env)
  local before, words = exports(env), {}
  for i, arg in ipairs(argv) do
    if is_text(arg) then
      words[i] = M.word(arg)
    else
      before[#before + 1] = assignment("vmctl_" .. i, arg)
      words[i] = ('"$vmctl_%d"'):format(i)
    end
  end
  return table.concat(before) .. (argv[1]:find "^%-" and "exec -- " or "exec ") .. table.concat(words, " ")
end

--- A shell command of any bytes, as text, in an environment with `env` added.
---@param command string
---@param env table<string, string> values that JSON cannot carry
---@return string
function M.script(command, env)
  local before = table.concat(exports(env))
  if is_text(command) then return before .. command end
  return before .. assignment("vmctl_0", command) .. 'eval "$vmctl_0"'
end

--- Splits an environment into values that JSON can carry and those that it cannot.
---@return table<string, string> text, table<string, string> bytes
function M.split_env(env)
  local text, bytes = {}, {}
  for name, value in pairs(env or {}) do
    (is_text(value) and text or bytes)[name] = value
  end
  return text, bytes
end

return M
