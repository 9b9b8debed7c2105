--- The shapes of the agent's answers to this client's commands (docs/wire/qmp-qga.md#agent-commands): an answer of another shape
--- is EPROTO, and later code need not check types.
local shape = require "vmctl.json.shape"

local M = {}

local OBJECTS = { each = {} }

local answers = {
  ["guest-info"] = { version = "string", supported_commands = { optional = true,
    each = { name = "string", enabled = "boolean", ["success-response"] = "boolean?" } } },
  ["guest-get-host-name"] = { ["host-name"] = "string" },
  ["guest-get-time"] = "integer",
  ["guest-fsfreeze-freeze"] = "integer", ["guest-fsfreeze-thaw"] = "integer", ["guest-fsfreeze-status"] = "string",
  ["guest-exec"] = { pid = "integer" },
  ["guest-exec-status"] = { exited = "boolean", exitcode = "integer?", signal = "integer?", ["out-data"] = "string?",
    ["err-data"] = "string?", ["out-truncated"] = "boolean?", ["err-truncated"] = "boolean?" },
  ["guest-file-open"] = "integer",
  ["guest-file-read"] = { ["buf-b64"] = "string?", count = "integer", eof = "boolean?" },
  ["guest-file-write"] = { count = "integer" },
  ["guest-file-seek"] = { position = "integer" },
  ["guest-network-get-interfaces"] = OBJECTS, ["guest-get-osinfo"] = {}, ["guest-get-users"] = OBJECTS, ["guest-get-timezone"] = {},
  ["guest-get-fsinfo"] = OBJECTS, ["guest-get-disks"] = OBJECTS, ["guest-get-vcpus"] = OBJECTS,
}

--- The mistake in an answer's shape; nil when it has none, or the command is unknown.
---@param command string
---@param value any
---@return string|nil
function M.wrong(command, value)
  local want = answers[command]
  return want and shape.wrong(value, want, "the answer") or nil
end

return M
