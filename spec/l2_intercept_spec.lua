-- Which frames are hit: by an expression of libpcap's, and by a Lua function that decides about each.
local assert = require "luassert"
local l2s = require "spec.support.l2"
local support = require "spec.support"
local vmctl = require "vmctl"

local code, frame = support.code, l2s.frame
local LIMIT = 60

local function run(fn) return support.run(fn, LIMIT) end

local has_libpcap = require("vmctl.core").pcap_check "ip" == true

-- The texts that have come to a port once `last` has.
local function until_text(port, last)
  local list = {}
  repeat list[#list + 1] = assert(port:recv(LIMIT)):sub(15) until list[#list] == last
  return list
end

local function send_all(port, ...)
  for _, text in ipairs { ... } do assert(port:send(frame { from = 1, text = text })) end
end

for _, thread in ipairs { false, true } do
  describe(("vmctl.L2Switch:intercept%s"):format(thread and " with a thread" or ""), function()
    local function switch(names) return l2s.switch(names, { thread = thread, seed = 1 }) end

    it("lets a function lose, change and multiply frames of a port", run(function()
      local sw, far = switch { "a", "b" }
      local ports = {}
      local intercept = assert(sw:intercept("a", function(bytes, port)
        ports[port.name] = true
        local text = bytes:sub(15)
        if text == "lose" then return false end
        if text == "change" then return bytes:sub(1, 14) .. "changed" end
        if text == "twice" then return { bytes, bytes } end
        if text == "keep" then return true end
      end))
      send_all(far.a, "plain", "lose", "change", "twice", "keep", "end")
      assert.same({ "plain", "changed", "twice", "twice", "keep", "end" }, until_text(far.b, "end"))
      assert.same({ a = true }, ports)
      assert(far.b:send(frame { from = 2, text = "lose" })) -- another port's
      assert.same({ "lose" }, until_text(far.a, "lose"))
      assert.equal(0, intercept:lost())
      assert.equal(6, sw:port("a"):counts().frames_in)
      intercept:close()
      send_all(far.a, "lose")
      assert.same({ "lose" }, until_text(far.b, "lose"))
      sw:close()
    end))

    it("gives it those alone that are asked for, and the port's faults come behind it", run(function()
      local sw, far = switch { "a", "b" }
      local seen = {}
      assert(sw:intercept("a", function(bytes) seen[#seen + 1] = bytes:sub(15) end, { only = { ethertype = 0x88b5, first = 2, last = 3 } }))
      send_all(far.a, "1", "2", "3", "4", "end")
      local got = {}
      while #got < 5 do got[#got + 1] = assert(far.b:recv(LIMIT)):sub(15) end
      table.sort(got)
      assert.same({ "1", "2", "3", "4", "end" }, got) -- those that it does not get may overtake
      assert.same({ "2", "3" }, seen)
      assert(sw:port("a"):faults({ loss = 1 }, { direction = "from" }))
      assert(sw:intercept("a", function() return true end))
      send_all(far.a, "lost")
      support.eventually(function() return sw:port("a"):counts().dropped_loss == 1 end, LIMIT)
      sw:close()
    end))

    it("goes on after an error, and with a function that waits", run(function()
      local sw, far = switch { "a", "b" }
      local gate = vmctl.channel(1)
      local lines = l2s.logged(function()
        assert(sw:intercept("a", function(bytes)
          if bytes:sub(15) == "wait" then assert(gate:recv(LIMIT)) end
          if bytes:sub(15) == "fail" then error "no" end
          if bytes:sub(15) == "wrong" then return 7 end
        end))
        send_all(far.a, "fail", "wrong", "wait", "end")
        assert.same({ "fail", "wrong" }, until_text(far.b, "wrong"))
        gate:send(true, LIMIT)
        assert.same({ "wait", "end" }, until_text(far.b, "end"))
      end)
      assert.equal(2, #l2s.about(lines, "the function for frames of a"))
      sw:close()
      assert.equal("ECLOSED", code(sw:intercept("a", print)))
    end))

    it("is bounded: what finds no room is lost and counted", run(function()
      local sw, far = switch { "a", "b" }
      local gate = vmctl.channel(1)
      local intercept = assert(sw:intercept("a", function() assert(gate:recv(LIMIT)) end, { queue = 2000 }))
      for i = 1, 20 do assert(far.a:send(frame { from = 1, text = tostring(i), size = 1000 })) end
      support.eventually(function() return sw:port("a"):counts().frames_in == 20 end, LIMIT)
      assert.is_true(intercept:lost() >= 14, intercept:lost())
      sw:close()
    end))

    if has_libpcap then
      it("takes an expression of libpcap's, and so do faults", run(function()
        local sw, far = switch { "a", "b" }
        assert(sw:intercept("a", function(bytes) return bytes .. "!" end, { only = { filter = "ether[14] = 0x78" } }))
        send_all(far.a, "xa", "ya")
        assert.same({ "xa!", "ya" }, (function()
          local list = { assert(far.b:recv(LIMIT)):sub(15), assert(far.b:recv(LIMIT)):sub(15) }
          table.sort(list)
          return list
        end)())
        assert(sw:faults("a", "b", { loss = 1, only = { filter = "ether[14] = 0x79", nth = 2 } }))
        send_all(far.a, "y1", "z", "y2", "y3")
        assert.same({ "y1", "z", "y3" }, until_text(far.b, "y3"))
        sw:faults("a", "b", nil)
        send_all(far.a, "y1", "y2")
        assert.same({ "y1", "y2" }, until_text(far.b, "y2"))
        local ok, err = pcall(sw.faults, sw, "a", "b", { loss = 1, only = { filter = "no such thing" } })
        assert.is_false(ok)
        assert.truthy(err:find("filter 'no such thing': ", 1, true), err)
        sw:close()
      end))
    end
  end)
end
