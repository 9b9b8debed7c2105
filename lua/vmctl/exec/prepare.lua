--- Changes a command for agents of the reference: puts its input into it, and shortens a command line that is too long.
local core = require "vmctl.core"
local quote = require "vmctl.exec.quote"
local request = require "vmctl.exec.request"
local runner = require "vmctl.process.collect"
local task = require "vmctl.base.task"
local upload = require "vmctl.exec.upload"

local M = {}

local EMBED = 90 << 10 -- bytes of input that go into a command line
local LINE = 130000    -- bytes of a command line: the kernel's limit for one argument is 128 KiB
local CLEANUP = 10     -- seconds

-- A copy of the command with other options: those of `changed`, where false removes one.
local function with(parsed, command, changed)
  local opts = {}
  for name, value in pairs(parsed.options) do opts[name] = value end
  for name, value in pairs(changed) do opts[name] = value or nil end
  return { command = command, title = request.title(parsed), options = opts, uploads = parsed.uploads or {} }
end

-- Removes a file of the guest. Waits for that if the caller may wait.
local function remove(file)
  local removing = file:discard(CLEANUP)
  if removing then removing:join(CLEANUP) end
end

local function as_shell(parsed)
  return parsed.argv and quote.command(parsed.argv) or parsed.command
end

--- A file for the input of a command.
---@param client vmctl.ExecClient
---@return vmctl.ExecUpload
function M.input(client)
  return upload.new(client, "standard input")
end

-- The command with its whole input: a short one inside its command line, a longer one in a file of the guest.
local function with_input(parsed, input, deadline)
  local content = input:content()
  if content and #content <= EMBED then
    local command = ("printf %%s %s | base64 -d | { %s\n}"):format(core.base64_encode(content), as_shell(parsed))
    return with(parsed, command, { stdin = false })
  end
  local ok, err, code = input:finish(deadline)
  if not ok then return nil, err, code end
  local changed = with(parsed, input:as_input(as_shell(parsed)), { stdin = false })
  table.insert(changed.uploads, input)
  return changed
end

-- Reads an input to its end.
local function gather(input, parsed, deadline)
  local next_chunk = runner.chunks(parsed.options.stdin)
  while true do
    local chunk, err, code = next_chunk()
    if not chunk and err then return nil, "standard input: " .. err, code end
    if not chunk then return with_input(parsed, input, deadline) end
    local ok
    ok, err, code = input:write(chunk, deadline)
    if not ok then return nil, err, code end
  end
end

-- The same with the command's time limit. After a failure the file is removed.
local function gather_in_time(client, parsed, deadline)
  local input = M.input(client)
  local changed, err, code = task.scope(function(scope)
    local gathering = task.spawn_in(scope, gather, input, parsed, deadline)
    local changed, err, code = gathering:join(math.max(0, deadline - core.now()))
    gathering:cancel()
    return changed, err, code
  end)
  if changed then return changed end
  remove(input)
  return nil, err, code
end

-- Puts a command line that is too long into a file.
local function shorten(client, parsed, deadline)
  local text, bytes = quote.split_env(parsed.options.env)
  local line = request.shell_command(parsed, bytes)
  if #line <= LINE then return parsed end
  local file = upload.new(client, "a long command line")
  local ok, err, code = file:write(line, deadline)
  if ok then ok, err, code = file:finish(deadline) end
  if not ok then
    remove(file)
    return nil, err, code
  end
  local changed = with(parsed, file:as_command(), { env = text, merge_stderr = false })
  table.insert(changed.uploads, file)
  return changed
end

-- Tells if an input is put into the command for the reference's newer revision as well, because the plain mode can then be used: any
-- text, but of a command with merged streams a short one only.
local function is_plain(stdin, parsed)
  return type(stdin) == "string" and (#stdin <= EMBED or not parsed.options.merge_stderr)
end

--- Returns the command as the agent can take it. Waits.
---@param client vmctl.ExecClient
---@param parsed table of request.parse
---@param revision string
---@param deadline number
---@param input? vmctl.ExecUpload all of its input, in place of the option `stdin`
---@return table|nil parsed with `uploads`, which the command removes when it begins, string?, string?
function M.prepare(client, parsed, revision, deadline, input)
  if revision == "vmctl" then return parsed end
  local stdin, err, code = parsed.options.stdin, nil, nil
  if input then
    parsed, err, code = with_input(parsed, input, deadline)
  elseif stdin and not parsed.options.tty and (revision == "0.1.9" or is_plain(stdin, parsed)) then
    parsed, err, code = gather_in_time(client, parsed, deadline)
  end
  if not parsed then return nil, err, code end
  local changed
  changed, err, code = shorten(client, parsed, deadline)
  if changed then return changed end
  M.discard(parsed)
  return nil, err, code
end

--- Removes the files of a command that could not be started. Waits.
function M.discard(parsed)
  for _, file in ipairs(parsed.uploads or {}) do remove(file) end
end

return M
