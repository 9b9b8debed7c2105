--- Reads the output of a busted with our handler: events, and the tests' own output between them.
local cjson = require "cjson"

local M = {}

local MARK = "\30"
local OUTPUT_MOST = 1 << 20     -- bytes of output that are kept: the last ones
local LINE_MOST = 16 << 20      -- bytes of an event

---@class vmctl.SuiteEvents
local methods = {}
local mt = { __name = "vmctl.SuiteEvents", __index = methods }

--- A reader that has read nothing.
---@param on_event fun(event: table)
---@return vmctl.SuiteEvents
function M.reader(on_event)
  return setmetatable({ _on_event = on_event, _line = nil, _line_size = 0, _output = {}, _size = 0 }, mt)
end

local function keep(self, text)
  if text == "" then return end
  local list = self._output
  list[#list + 1] = text
  self._size = self._size + #text
  if self._size > 2 * OUTPUT_MOST then
    local all = table.concat(list):sub(-OUTPUT_MOST)
    self._output, self._size = { all }, #all
  end
end

local function finish_line(self)
  local line = table.concat(self._line)
  self._line = nil
  local ok, event = pcall(cjson.decode, line)
  if ok and type(event) == "table" and type(event.event) == "string" then
    self._on_event(event)
  else
    keep(self, MARK .. line .. "\n") -- a test printed the mark itself
  end
end

local function add_to_line(self, text)
  self._line_size = self._line_size + #text
  if self._line_size > LINE_MOST then
    self._line = nil
  else
    table.insert(self._line, text)
  end
end

--- Takes the next bytes, cut anywhere.
---@param bytes string
function methods:feed(bytes)
  local at = 1
  while at <= #bytes do
    local stop = bytes:find(self._line and "\n" or MARK, at, true)
    local part = bytes:sub(at, (stop or #bytes + 1) - 1)
    if self._line then
      add_to_line(self, part)
      if stop and self._line then finish_line(self) end
    else
      keep(self, part)
      if stop then self._line, self._line_size = {}, 0 end
    end
    at = (stop or #bytes) + 1
  end
end

--- The tests' output: the last MiB of it.
---@return string
function methods:output()
  return table.concat(self._output):sub(-OUTPUT_MOST)
end

return M
