-- Properties that hold for any value that a guest agent answers with. Returns a function that raises when one does not.
local clock = require "vmctl.clock"
local json = require "vmctl.json"
local methods = {}
for _, part in ipairs { "exec", "file" } do
  for name, fn in pairs(require("vmctl.qga." .. part)) do methods[name] = fn end
end
local qga = require "vmctl.qga.client"
local shapes = require "vmctl.qga.shapes"

local GOOD = {
  ["guest-exec"] = { pid = 1 }, ["guest-exec-status"] = { exited = true, exitcode = 0 }, ["guest-file-open"] = 7,
  ["guest-file-read"] = { count = 0, eof = true, ["buf-b64"] = "" }, ["guest-file-write"] = { count = 3 }, ["guest-file-close"] = {},
}

-- A client whose agent answers one command with the input, and the others well.
local function client_of(value, odd)
  local client = setmetatable({ _timeout = 1 }, { __index = methods, __tostring = function() return "the agent" end })
  function client:_execute(name) -- luacheck: ignore self
    local answer = name == odd and value or GOOD[name] or json.object {}
    local why = shapes.wrong(name, answer)
    if why then return nil, why, "EPROTO" end
    return answer
  end
  return client
end

assert(qga.connect)

local function try(value)
  for name in pairs(GOOD) do
    local client = client_of(value, name)
    local calls = { { "run", { "x", check = true, timeout = 0.001 } }, { "read_file", "/x", { limit = 1000 } },
      { "write_file", "/x", "abc" } }
    for _, call in ipairs(calls) do
      local result, err, code = client[call[1]](client, table.unpack(call, 2))
      assert(result ~= nil or type(err) == "string" and type(code) == "string", "a failure without a code")
    end
  end
  for _, name in ipairs { "guest-info", "guest-get-host-name", "guest-get-time", "guest-network-get-interfaces" } do
    local why = shapes.wrong(name, value)
    assert(why == nil or not why:find "[%c\127]")
  end
end

-- A command that never ends is waited for and killed in no real time.
return function(bytes)
  local value = json.decode(bytes)
  if value ~= nil then clock.virtual(function() try(value) end, { grace = 0 }) end
end
