--- An output handler of busted that reports events to its parent: each is a line of JSON behind a record separator, between the tests'
--- own output. `vmctl test --jobs` reads it.
local busted = require "busted"
local cjson = require "cjson"

local MARK = "\30"

local function say(event)
  io.stdout:write(MARK, cjson.encode(event), "\n")
  io.stdout:flush()
end

local function text_of(message)
  if message == nil then return "error without a message" end
  return type(message) == "string" and message or tostring(message)
end

-- The failure of a test: busted keeps it in a list of its own.
local function reason(handler, status)
  local list = status == "failure" and handler.failures or status == "error" and handler.errors
  local last = list and list[#list]
  if not last then return nil end
  local trace = last.trace or {}
  return { message = text_of(last.message), trace = trace.traceback, file = trace.short_src, line = trace.currentline }
end

local function pending_reason(handler)
  local last = handler.pendings[#handler.pendings]
  return last and last.message and text_of(last.message) or nil
end

return function()
  local handler = require "busted.outputHandlers.base"()
  local began

  local function test_start(element)
    began = busted.monotime()
    say { event = "begin", name = handler.getFullName(element), line = element.trace and element.trace.currentline }
    return nil, true
  end

  local function test_end(element, _, status)
    local event = reason(handler, status) or {}
    event.event, event.name, event.status = "end", handler.getFullName(element), status
    event.seconds = busted.monotime() - (began or busted.monotime())
    if status == "pending" then event.message = pending_reason(handler) end
    say(event)
    return nil, true
  end

  -- A mistake outside of any test: in a file, a describe or a hook.
  local function mistake(element)
    if element.descriptor ~= "it" then
      local event = reason(handler, "error") or {}
      event.event, event.name = "mistake", handler.getFullName(element)
      say(event)
    end
    return nil, true
  end

  busted.subscribe({ "test", "start" }, test_start, { predicate = handler.cancelOnPending })
  busted.subscribe({ "test", "end" }, test_end, { predicate = handler.cancelOnPending })
  busted.subscribe({ "error" }, mistake)
  busted.subscribe({ "suite", "end" }, function()
    say { event = "finish" }
    return nil, true
  end)
  return handler
end
