-- The journal's lines and systemd's words, without a guest of systemd: spec/system_guest_spec.lua has them with one.
local assert = require "luassert"
local host = require "vmctl.host"
local json = require "vmctl.json"
local journal = require "vmctl.system.journal"
local support = require "spec.support"
local system = require "vmctl.system"

local function line(fields)
  fields.__REALTIME_TIMESTAMP = fields.__REALTIME_TIMESTAMP or "1795949294291104"
  return json.encode(fields)
end

describe("an entry of a journal", function()
  it("has its time, message, unit, priority and process", function()
    local fields = { MESSAGE = "Started.", PRIORITY = "6", UNIT = "a.service", _SYSTEMD_UNIT = "init.scope", _PID = "1",
      SYSLOG_IDENTIFIER = "systemd", __CURSOR = "s=1" }
    local entry = journal.parse(line(fields))
    assert.same({ 1795949294.291104, "Started.", "a.service", 6, 1, "systemd", "s=1" },
      { entry.time, entry.message, entry.unit, entry.priority, entry.pid, entry.identifier, entry.cursor })
    assert.same(fields, entry.fields)
  end)

  it("is of the unit that has said it, where systemd speaks of none", function()
    assert.equal("b.service", journal.parse(line { MESSAGE = "x", _SYSTEMD_UNIT = "b.service" }).unit)
    assert.equal("cat", journal.parse(line { MESSAGE = "x", _COMM = "cat" }).identifier)
  end)

  it("may be of bytes, of several texts, or without a message", function()
    assert.equal("\1\255x", journal.parse(line { MESSAGE = { 1, 255, 120 } }).message)
    assert.equal("one\ntwo", journal.parse(line { MESSAGE = { "one", "two" } }).message)
    assert.equal("one\n\1", journal.parse(line { MESSAGE = { "one", { 1 } } }).message)
    assert.equal("", journal.parse(line { MESSAGE = json.null }).message)
    assert.equal("", journal.parse(line {}).message)
    assert.equal("", journal.parse(line { MESSAGE = { -1, 256, 2.5, { { {} } } } }).message)
  end)

  it("is none where its line is no entry", function()
    for _, text in ipairs { "", "{}", "[]", "null", "1", "{", '"text"', '[{"__REALTIME_TIMESTAMP":"1"}]', '{"__REALTIME_TIMESTAMP":"1x"}',
      '{"__REALTIME_TIMESTAMP":["1"]}', '{"__REALTIME_TIMESTAMP":"-1"}', '{"__REALTIME_TIMESTAMP":"123456789012345678901"}' } do
      assert.is_nil(journal.parse(text), text)
    end
    local entry = journal.parse(line { PRIORITY = "high", _PID = {}, __CURSOR = {} })
    assert.same({ nil, nil, "" }, { entry.priority, entry.pid, entry.cursor })
  end)
end)

describe("a system", function()
  local function complaint(...) return select(2, pcall(...)) end

  it("takes no option for a unit's name, and no word for a list", function()
    local nobody = function() error "asked" end
    for _, name in ipairs { "", "-H", "a b", "a\nb", ("x"):rep(256), 7, false } do
      assert.truthy(complaint(system.unit, nobody, name, "unit"):find("unit: the name of a unit expected", 1, true), tostring(name))
    end
    for _, name in ipairs { "a.service", "getty@tty1.service", "dev-disk-by\\x2dlabel-a.device", "-.mount:x" } do
      if name:sub(1, 1) ~= "-" then assert.equal(name, system.unit(nobody, name, "unit").name) end
    end
    assert.truthy(complaint(system.systemctl, host, 7):find("a list of words or a string expected, got number", 1, true))
    assert.truthy(complaint(system.journal, host, { unit = { 1 } }):find("unit: a name or a list of names expected", 1, true))
    assert.truthy(complaint(system.journal, host, { fields = { "--file=/x" } }):find("names of the journal's fields expected", 1, true))
    assert.truthy(complaint(system.journal, host, { unt = "a" }):find("unt", 1, true))
  end)

  it("is called by a program that its guest may not have", support.run(function()
    local bare = { run = function(_, command)
      command.env = { PATH = "/nonexistent" }
      return host:run(command)
    end, start = function(_, command)
      command.env = { PATH = "/nonexistent" }
      return host:start(command)
    end }
    local _, err, code = system.systemctl(bare, "status")
    local why = ': its services are not systemd\'s (those of OpenRC: vm:run { "rc-service", NAME, "start" })'
    assert.same({ "this guest has no systemctl" .. why, "ENOTSUP" }, { err, code })
    _, err, code = system.journal(bare)
    assert.same({ "this guest has no journalctl" .. why, "ENOTSUP" }, { err, code })
  end))
end)
