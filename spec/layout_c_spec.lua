local c_layout = require "spec.support.c_layout"
local cycles = require "spec.support.cycles"

-- The headers of the project that each room may include, and the foreign ones that it must not.
local rooms = {
  wire = { own = { "wire" }, never = { "lua.h", "lauxlib.h", "lualib.h", "ev.h", "sys/socket.h", "unistd.h" } },
  io = { own = { "io", "wire" }, never = { "lua.h", "lauxlib.h", "lualib.h" } },
  lua = { own = { "lua", "io", "wire" }, never = {} },
  pb = { own = { "pb", "lua/rpc_envelope.h", "ttrpc/ttrpc.pb-c.h" }, never = { "ev.h" } },
  slirp = { own = { "slirp" }, never = { "ev.h" } },
  agent = { own = { "agent", "wire", "io/fs_root.h", "io/standard_fds.h" }, never = { "ev.h" } },
}

local function contains(list, value)
  for _, one in ipairs(list) do
    if one == value then return true end
  end
  return false
end

local function wrong_includes(name, rules)
  local wrong = {}
  local own, system = c_layout.includes(name)
  for _, included in ipairs(own) do
    local allowed = contains(rules.own, included) or contains(rules.own, included:match "^%w+")
    if not allowed then wrong[#wrong + 1] = name .. ": " .. included end
  end
  for _, included in ipairs(system) do
    if contains(rules.never, included) then wrong[#wrong + 1] = name .. ": " .. included end
  end
  return wrong
end

describe("the circles of a graph", function()
  it("are found, with what they are made of", function()
    local graph = { a = { b = "f" }, b = { c = "g" }, c = { b = "h" }, d = { a = "i" }, e = { e = "j" } }
    assert.same({ { "b", "c" }, { "e" } }, cycles.find(graph))
    assert.equal("b -> c (g)\nc -> b (h)\ne -> e (j)", cycles.describe(graph))
    assert.equal("", cycles.describe { a = { b = "f" }, b = {} })
  end)
end)

describe("the C files", function()
  for room, rules in pairs(rooms) do
    it(("of %s include only what their floor may"):format(room), function()
      local wrong, files = {}, c_layout.files(room)
      assert.is_true(#files > 1)
      for _, name in ipairs(files) do
        for _, line in ipairs(wrong_includes(name, rules)) do wrong[#wrong + 1] = line end
      end
      assert.same({}, wrong)
    end)

    it(("of %s begin with a sentence that says what they are for"):format(room), function()
      local without = {}
      for _, name in ipairs(c_layout.files(room)) do
        local comment = c_layout.beginning(name)
        if not comment or not comment:find "%.$" then without[#without + 1] = name end
      end
      assert.same({}, without)
    end)
  end

  it("include each other in no circle", function()
    assert.equal("", cycles.describe(c_layout.header_graph { "wire", "io", "lua", "pb", "slirp", "agent" }))
  end)

  it("call each other in no circle, and never upward", function()
    local graph = c_layout.call_graph { "wire", "io", "lua" }
    assert.equal("", cycles.describe(graph))
    local floor, upward = { wire = 1, io = 2, lua = 3 }, {}
    for name, uses in pairs(graph) do
      for used, symbol in pairs(uses) do
        if floor[used:match "^%w+"] > floor[name:match "^%w+"] then upward[#upward + 1] = name .. " -> " .. symbol end
      end
    end
    assert.same({}, upward)
  end)

  it("have external names that a host program will not clash with, and that somebody uses", function()
    local _, definers, used = c_layout.call_graph { "wire", "io", "lua" }
    local wrong = {}
    for symbol, name in pairs(definers) do
      local of_compiler = symbol:find "^__x86%."
      if not (of_compiler or symbol:find "^vmctl_" and used[symbol] or symbol == "luaopen_vmctl_core") then
        wrong[#wrong + 1] = name .. ": " .. symbol
      end
    end
    assert.same({}, wrong)
  end)
end)
