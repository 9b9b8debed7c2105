-- Properties that hold for any payloads that an agent or a host sends. Returns a function that raises when one does not.
local files = require "vmctl.exec.files"
local launch = require "vmctl.exec.launch"
local result_reader = require "vmctl.exec.result"
local wire = require "vmctl.exec.wire"

local T = wire.types

-- A client whose agent answers with the input.
local function client_of(bytes)
  return {
    address = "the agent", _timeout = 1, probe = function() return "vmctl" end,
    _ask = function() return T.FILE_RESULT, bytes end,
    run = function() return nil, "no commands here", "ENOTSUP" end,
  }
end

local function check_failure(err, code)
  assert(type(err) == "string" and type(code) == "string" and not err:find "[%z\1-\8\14-\31\127]", "a failure that cannot be shown")
end

local function check_request(bytes)
  local request, err, code = wire.decode_request(bytes)
  if not request then return assert(type(err) == "string" and code == "EPROTO") end
  assert(request.command == nil or type(request.command) == "string")
  for _, name in ipairs { "rows", "cols" } do
    local value = request[name]
    assert(value == nil or math.type(value) == "integer" and value >= 0 and value < 65536, "an odd size of a terminal")
  end
  for _, name in ipairs { "env", "env_b64" } do
    for key, value in pairs(request[name] or {}) do assert(type(key) == "string" and type(value) == "string") end
  end
  assert(wire.encode_request(request), "a request that cannot be said")
end

local function check_answers(bytes)
  local response, err, code = wire.decode_response(bytes)
  if response then
    assert(type(response.stdout) == "string" and type(response.stderr) == "string" and math.type(response.exit_code) == "integer")
    assert(not response.error:find "[%c\127]", "words that are not one line")
  else
    check_failure(err, code)
  end
  local number, _, more = wire.decode_exit(bytes)
  assert(number == nil or math.type(number) == "integer")
  assert(type(more) ~= "table" or not more.error or not more.error:find "[%c\127]", "words that are not one line")
  wire.decode_resize(bytes)
end

-- A message that is decoded as it comes, in pieces of a size. Returns its output and what else it says; or the failure.
local function read_result(bytes, size)
  local at, out = 1, { stdout = {}, stderr = {} }
  local said, name, code
  local reader = result_reader.new { read_skipped = function()
    at = at + size
    return bytes:sub(at - size, at - 1)
  end }
  repeat
    said, name, code = reader:read(1)
    if type(said) == "string" then table.insert(out[name], said) end
  until type(said) ~= "string"
  if said then return table.concat(out.stdout), table.concat(out.stderr), said end
  check_failure(name, code)
  return nil
end

-- The result of decoding does not depend on where a message is cut, nor on whether it is decoded as it comes.
local function check_pieces(bytes)
  local stdout, stderr, said = read_result(bytes, 1)
  for _, size in ipairs { 7, #bytes + 1 } do
    local out, err_out, again = read_result(bytes, size)
    assert(out == stdout and err_out == stderr and (not said or said.exit_code == again.exit_code and said.error == again.error))
  end
  local whole = wire.decode_response(bytes)
  if not whole or not said or select(2, bytes:gsub("std", "")) > 2 or bytes:find("\\u", 1, true) then return end
  assert(whole.stdout == stdout and whole.stderr == stderr and whole.exit_code == said.exit_code and whole.error == said.error)
end

-- The command and environment that an agent would start are well formed.
local function check_spec(bytes)
  local spec, request = launch.describe(bytes, {})
  if not spec then return assert(type(request) == "string", "a refusal without a reason") end
  assert(type(spec[1]) == "string" and type(request) == "table")
  for _, word in ipairs(spec) do assert(not word:find("\0", 1, true), "a word that would be cut short") end
  for name, value in pairs(spec.env) do
    assert(type(name) == "string" and name ~= "" and not name:find "[=%z]", "an odd variable")
    assert(value == false or not value:find("\0", 1, true), "an odd variable") -- false: the command shall not have the agent's
  end
end

return function(bytes)
  check_request(bytes)
  check_spec(bytes)
  check_answers(bytes)
  check_pieces(bytes)
  for _, name in ipairs { "read_file", "write_file", "list_files" } do
    local result, err, code = files[name](client_of(bytes), "/x", name == "write_file" and "abc" or nil)
    if result == nil then check_failure(err, code) end
    if name == "list_files" and result then
      for _, file in ipairs(result) do assert(file.name ~= "" and not file.name:find "[/%z]" and math.type(file.size) == "integer") end
    end
  end
end
