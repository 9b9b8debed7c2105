--- Other machines, and the commands that start `vmctl serve --stdio` there: "ssh:USER@HOST:PORT", "exec:COMMAND", or a table with more.
local errors = require "vmctl.errors"
local log = require "vmctl.log"
local options = require "vmctl.base.options"
local quote = require "vmctl.exec.quote"

local M = {}

local CONNECT = 10      -- seconds for ssh
local LONGEST = 255     -- bytes of a host's name
local MOST = 64         -- of ssh's options

local KNOWN = {
  [1] = "string", ssh_options = "table", command = "string|table", argv = "table", timeout = "number>0", keepalive = "number>=1<=3600",
}

---@class vmctl.RemoteWhere where guests may run: the first element is the text of `on`
---@field [1]? string "ssh:USER@HOST:PORT", "exec:COMMAND"
---@field argv? string[] instead: a program and its arguments whose standard streams lead to a `vmctl serve --stdio`
---@field ssh_options? string[] words for ssh, before the host: { "-F", "ssh_config", "-i", "key" }
---@field command? string|string[] vmctl there, for ssh ("vmctl"): its path, or words before `serve --stdio`
---@field timeout? number seconds until it has said hello (30)
---@field keepalive? number seconds within which a host that has gone away is noticed (15)

local function invalid(text, why) return errors.fail("EINVAL", "on '%s': %s", log.one_line(tostring(text), 80), why) end

-- Checks a name: ssh takes text that begins with "-" for an option, and its configuration may put a name into a command of the shell.
local function is_name(text) return text ~= "" and #text <= LONGEST and text:find "^[%w_.:%%+-]+$" ~= nil and text:sub(1, 1) ~= "-" end

local function split(text)
  local user, rest = text:match "^([^@]*)@(.*)$"
  rest = rest or text
  local host, port = rest:match "^%[([%x:.%%%w]+)%]:?(%d*)$"
  if not host then host, port = rest:match "^([^:]*):?(%d*)$" end
  return user, host, port
end

local function words_of(list, most, where)
  for i, word in ipairs(list) do
    if type(word) ~= "string" or word:find "%z" or i > most then return invalid(where, ("at most %d words expected"):format(most)) end
  end
  return list
end

local function ssh(text, opts)
  local user, host, port = split(text)
  if not host or not is_name(host) or user and (not is_name(user) or user:find ":") then
    return invalid("ssh:" .. text, "USER@HOST:PORT expected, in letters, digits and ._-")
  end
  local number = port ~= "" and math.tointeger(tonumber(port)) or nil
  if port ~= "" and (not number or number < 1 or number > 65535) then return invalid("ssh:" .. text, "no such port") end
  local more, err, code = words_of(opts.ssh_options or {}, MOST, "ssh_options")
  if not more then return nil, err, code end
  local command = type(opts.command) == "table" and opts.command or { opts.command or "vmctl" }
  command, err, code = words_of(command, MOST, "command")
  if not command then return nil, err, code end
  local argv = { "ssh", "-T", "-o", "BatchMode=yes", "-o", ("ConnectTimeout=%d"):format(CONNECT) }
  if number then table.move({ "-p", tostring(number) }, 1, 2, #argv + 1, argv) end
  table.move(more, 1, #more, #argv + 1, argv)
  local words = table.move(command, 1, #command, 1, {})
  table.move({ "serve", "--stdio" }, 1, 2, #words + 1, words)
  for i, word in ipairs(words) do words[i] = quote.word(word) end
  table.move({ "--", user and user .. "@" .. host or host, "exec " .. table.concat(words, " ") }, 1, 3, #argv + 1, argv)
  return argv
end

--- Reads where a guest may run. A wrong option raises at the line that `level` names. Does not wait.
---@param on string|vmctl.RemoteWhere
---@param level? integer as for `error` (3)
---@return { label: string, argv: string[], ssh: boolean, timeout: number?, keepalive: number? }|nil, string?, string? code EINVAL
function M.parse(on, level)
  local opts = type(on) == "table" and options.check(on, KNOWN, "on", (level or 3) + 1) or { on }
  local text = opts[1]
  local argv, err, code
  if opts.argv then
    argv, err, code = words_of(opts.argv, 4096, "argv")
    if argv and #argv == 0 then argv, err, code = invalid("argv", "a program expected") end
    text = text or argv and "exec:" .. log.one_line(table.concat(argv, " "), 60)
  elseif type(text) == "string" and text:sub(1, 4) == "ssh:" then
    argv, err, code = ssh(text:sub(5), opts)
  elseif type(text) == "string" and text:find "^exec:." and not text:find "%z" then
    argv = { "/bin/sh", "-c", text:sub(6) }
  else
    argv, err, code = invalid(text, "ssh:USER@HOST or exec:COMMAND expected")
  end
  if not argv then return nil, err, code end
  return { label = log.one_line(text, 80), argv = argv, ssh = argv[1] == "ssh" and not opts.argv, timeout = opts.timeout,
    keepalive = opts.keepalive }
end

return M
