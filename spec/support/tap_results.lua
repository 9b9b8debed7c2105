--- Reads the output of tap.lua inside a guest, for the spec that turns each check into an `it`.
local assert = require "luassert"

local M, methods = {}, {}
local mt = { __index = methods }

--- From the TAP text.
---@param stdout string
---@param stderr string
---@param record? table the command's end
---@param why? string the message if there was none
function M.parse(stdout, stderr, record, why)
  local self, last = setmetatable({ stdout = stdout, stderr = stderr, record = record, why = why, checks = {} }, mt), nil
  for line in stdout:gmatch "[^\n]+" do
    local verdict, name = line:match "^(.-ok) %d+ %- (.*)$"
    if name then
      last = { ok = verdict == "ok", said = "" }
      self.checks[name] = last
    elseif last and line:sub(1, 1) == "#" then
      last.said = last.said .. line .. "\n"
    end
  end
  return self
end

--- Before anything was said.
function M.none()
  return M.parse("", "")
end

--- That the run came to its end and said how many checks there are.
function methods:assert_complete(checks)
  assert.truthy(self.record, self.why or "it did not begin")
  assert.equal("", self.stderr)
  assert.equal(0, self.record.exit_code)
  assert.truthy(("\n" .. self.stdout):find(("\n1..%d\n"):format(#checks), 1, true), self.stdout)
end

--- That a check passed: one of which the guest said nothing has failed.
function methods:assert_ok(name)
  local result = self.checks[name]
  assert.truthy(result, "the guest said nothing about it: " .. self.stdout .. self.stderr .. (self.why or ""))
  assert.is_true(result.ok, result.said)
end

return M
