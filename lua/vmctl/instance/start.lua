--- Starting an instance: a process of its own runs it, which outlives the one that starts it.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local json = require "vmctl.json"
local log = require "vmctl.log"
local process = require "vmctl.process"
local store = require "vmctl.instance.store"
local task = require "vmctl.base.task"
local text = require "vmctl.text"

local M = {}

local READY_TIMEOUT, GRACE = 120, 300 -- seconds; the second ones for a disk that is made, and a guest that looks for a disk's kernel
local MOST_LINE = 1 << 20             -- bytes of the owner's answer
local MOST_LOG, MOST_SHOWN = 1 << 16, 500

-- A shell starts it in the background of a session of its own, so that it belongs to no terminal and no job.
local SCRIPT = '"$@" </dev/null 2>"$0" &'
local PROGRAM = 'os.exit(require("vmctl.instance.owner").main(%q, %.17g, %q), true)'

local function interpreter()
  local own = core.fs.real "/proc/self/exe"
  if own and own:match "([^/]*)$":find "^lua" then return own end
  return "lua5.4" -- a program that has Lua inside runs this
end

local function spawn(name, folder, timeout, target)
  return process.spawn { "sh", "-c", SCRIPT, folder .. "/owner.log", interpreter(), "-e",
    PROGRAM:format(name, timeout, target), stdin = "null",
    stdout = "pipe", stderr = "null", session = true, env = { LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath } }
end

local function last_words(folder)
  local said = core.fs.read(folder .. "/owner.log", MOST_LOG) or ""
  return log.one_line(text.trim_end(said), MOST_SHOWN)
end

-- Reads the owner's answer, and shows progress meanwhile.
local function read_answer(stream, name, timeout)
  local begin = core.now()
  return task.scope(function(scope)
    task.spawn_in(scope, function()
      repeat log.progress(("%s: starting, %.0f s"):format(name, core.now() - begin)) until not core.sleep(1)
    end)
    local line, err, code = stream:read_line(MOST_LINE, timeout + GRACE)
    scope:cancel()
    log.progress(nil)
    return line, err, code
  end)
end

local REFUSED = {
  running = "the instance '%s' runs already",
  starting = "the instance '%s' is being started already",
}

--- Starts an instance. See vmctl.instance.start.
function M.start(name, timeout, target)
  timeout = timeout or READY_TIMEOUT
  local folder, err, code = store.folder(name)
  if not folder then return nil, err, code end
  local refused = REFUSED[store.state(folder).phase]
  if refused then return errors.fail("EBUSY", refused, name) end
  local child <close>, why, how = spawn(name, folder, timeout, target or "agent") -- luacheck: ignore
  if not child then return nil, why, how end
  local line
  line, err, code = read_answer(child.stdout, name, timeout)
  if not line and code == "EOF" then return errors.fail("EIO", "start %s: its process has ended: %s", name, last_words(folder)) end
  if not line then return nil, ("start %s: %s"):format(name, err), code end
  local told = json.decode(line)
  if type(told) ~= "table" then return errors.fail("EPROTO", "start %s: its process said %s", name, log.one_line(line, 200)) end
  if told.error then return nil, ("start %s: %s"):format(name, told.error), told.code end
  return told
end

return M
