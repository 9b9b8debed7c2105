--- The bytes of a descriptor set: from its file, or from a .proto by protoc.
local core = require "vmctl.core"
local errors = require "vmctl.errors"
local fs = require "vmctl.base.fs"
local process = require "vmctl.process"
local schema = require "vmctl.protobuf.schema"

local M = {}

-- protoc-c before 1.6 is a protoc of its own.
local COMPILERS = { "protoc", "protoc-c" }
local MOST_WORDS, MOST_READ = 4096, 1 << 16

--- Tells if a file is a shared object. False also if it cannot be read. Waits for the disk.
function M.is_object(path)
  local file <close> = fs.open(path, "r")
  return file and file:read(4) == "\127ELF" or false
end

--- Reads a set. Waits for the disk.
---@return string|nil bytes, string?, string? code ENOENT …, ETOOBIG
function M.read(path)
  local bytes, err, code = fs.read(path, schema.LARGEST + 1)
  if not bytes then return nil, err, code end
  if #bytes > schema.LARGEST then return errors.fail("ETOOBIG", "%s: more than %d bytes", path, schema.LARGEST) end
  return bytes
end

local function arguments(compiler, path, include, target)
  local list = { compiler, "--include_imports", "--descriptor_set_out=" .. target }
  for _, folder in ipairs(include) do list[#list + 1] = "-I" .. folder end
  list[#list + 1] = path
  list.stdin, list.stdout, list.stderr = "null", "null", "pipe"
  return list
end

-- Reads the compiler's output; of very long output the rest is dropped.
local function words_of(child, timeout)
  local words = ""
  while true do
    local data, err, code = child.stderr:read(MOST_READ, timeout)
    if not data then
      if code ~= "EOF" then return nil, err, code end
      return words
    end
    words = (words .. data):sub(1, MOST_WORDS)
  end
end

-- Its first line that is no warning.
local function reason(words)
  for line in words:gmatch "[^\n]+" do
    if not line:find "^%[libprotobuf WARNING" and not line:find "warning:" then return line end
  end
  return words:match "^%s*([^\n]*)"
end

local function run(command, timeout)
  local child <close>, err, code = process.spawn(command)
  if not child then return nil, err, code end
  local words, ended
  words, err, code = words_of(child, timeout)
  if words then ended, err, code = child:wait(timeout) end
  if not ended then return nil, err, code end
  if ended.exit_code == 0 then return true end
  return errors.fail("EINVAL", "%s: %s", command[1], reason(words))
end

local function compile(path, include, target, timeout)
  for _, compiler in ipairs(COMPILERS) do
    local done, err, code = run(arguments(compiler, path, include, target), timeout)
    if done or code ~= "ENOENT" then return done, err, code end
  end
  return errors.fail("ENOENT", "no protoc here: install protobuf-compiler, or load what protoc --descriptor_set_out made elsewhere")
end

--- Compiles a .proto file. Waits.
---@param path string
---@param include? string[] folders in which imports are looked up; the file has to be in one of them (its own)
---@param timeout number seconds of silence
---@return string|nil bytes, string?, string? code ENOENT (no such file, or no protoc), EINVAL (protoc's message), ETIMEDOUT
function M.compile(path, include, timeout)
  local found, err, code = fs.stat(path)
  if not found then return nil, err, code end
  local folder
  folder, err, code = fs.temporary((os.getenv "TMPDIR" or "/tmp") .. "/vmctl-proto")
  if not folder then return nil, err, code end
  local target = folder .. "/set"
  local cleaning <close> = setmetatable({}, { __close = function() -- luacheck: ignore
    core.fs.remove(target) -- at once: a cancelled task waits for nothing
    core.fs.remove(folder)
  end })
  local bytes
  bytes, err, code = compile(path, include or { path:match "^(.*/)[^/]*$" or "." }, target, timeout)
  if not bytes then return nil, err, code end
  return M.read(target)
end

return M
