--- Starts a helper of one's own, which ends with its client (docs/wire/cc-ipc.md#starting-a-helper,
--- docs/wire/cc-ipc.md#call-close-isalive).
local client = require "vmctl.cc.client"
local core = require "vmctl.core"
local find = require "vmctl.cc.find"
local options = require "vmctl.base.options"
local process = require "vmctl.process"

local M = {}

local READY_TIMEOUT = 10 -- seconds until the helper must listen
local PAUSE = 0.01       -- between attempts to connect
local END_TIMEOUT = 2    -- seconds in which it must have ended by itself

local known = {
  helper = "string", library = "string", arguments = "table", env = "table", cwd = "string", stderr = "string|integer",
  ready_timeout = "number>0", timeout = "number>0", long_timeout = "number>0", max_payload = "integer>=1<=4294967295",
}

-- Owned by a client: the process, the socket (the helper may leave it behind) and its folder.
local owned = {}
local owned_mt = { __index = owned }

local function remove_files(self)
  if core.forked() then return end
  os.remove(self.path)
  os.remove(self.folder)
end

--- Waits for the helper's end, and kills it after the limit.
function owned:close()
  if self.child and not self.child:wait(END_TIMEOUT) then
    self.child:kill "KILL"
    self.child:wait(END_TIMEOUT)
  end
  self:abandon()
end

--- Kills the helper without waiting.
function owned:abandon()
  if self.child then self.child:close() end
  remove_files(self)
end

local function how_it_ended(record)
  return record.signal and "was killed by signal " .. record.signal or "ended with exit code " .. record.exit_code
end

-- Tries to connect until the helper listens or has ended.
local function connect(self, opts)
  local deadline = core.now() + (opts.ready_timeout or READY_TIMEOUT)
  local client_options = { timeout = opts.timeout, long_timeout = opts.long_timeout, max_payload = opts.max_payload }
  while true do
    local ended, why, how = self.child:wait(PAUSE)
    if ended then
      return nil, ("start %s: it %s before it listened"):format(self.name, how_it_ended(ended)), "EEXIT", ended
    elseif how ~= "ETIMEDOUT" then
      return nil, ("start %s: %s"):format(self.name, why), how
    end
    local connected, err = client.connect({ kind = "unix", path = self.path }, client_options)
    if connected then return connected end
    if core.now() >= deadline then
      return nil, ("start %s: it does not listen: %s"):format(self.name, err), "ETIMEDOUT"
    end
  end
end

local function start(self, opts)
  local command = {
    self.name, "-socket", self.path, cwd = opts.cwd, env = opts.env, stdin = "null", stdout = "null",
    stderr = opts.stderr or "inherit", sweep = true,
  }
  for _, argument in ipairs(opts.arguments or {}) do table.insert(command, argument) end
  return process.spawn(command)
end

local function launch(self, opts)
  local connected, err, code, more
  self.child, err, code = start(self, opts)
  if self.child then connected, err, code, more = connect(self, opts) end
  if connected then return connected:_own(self) end
  self:abandon()
  return nil, err, code, more
end

--- Starts a helper as `PROGRAM -socket PATH` and connects to it; the socket is in a folder of this user's own. It sends no
--- message: the machine is booted by client:instance. Waits until the helper listens.
---@param opts? { helper: string?, library: string?, arguments: string[]?, env: table?, cwd: string?, stderr?: string|integer,
--- ready_timeout: number?, timeout: number?, long_timeout: number?, max_payload: integer? } the program, found by
-- vmctl.cc.find_helper (with `library`) by default; arguments after the protocol's two; options of its process, see vmctl.process;
-- seconds until it must listen (10); the rest as for vmctl.cc.client
---@return vmctl.CcClient|nil client whose `close` ends the helper
---@return string? message
---@return string? code ENOENT: no helper, the fourth value lists the paths tried; EEXIT: it ended, the fourth value is its status;
-- ETIMEDOUT, ECANCELED, EACCES …
---@return table? more
function M.spawn(opts)
  opts = options.check(opts, known, "cc.spawn")
  local name, searched_for, absent, searched = opts.helper, nil, nil, nil
  if not name then name, searched_for, absent, searched = find.helper(opts.library) end
  if not name then return nil, searched_for, absent, searched end
  local folder, err, code = core.fs.temporary(find.temporary() .. "/cc-helper")
  if not folder then return nil, err, code end
  return launch(setmetatable({ name = name, folder = folder, path = folder .. "/s.sock" }, owned_mt), opts)
end

return M
