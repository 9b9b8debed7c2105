-- Groups, users and units of a set, before a guest sees them: spec/system_guest_spec.lua has them in one.
local assert = require "luassert"
local check = require "vmctl.config.check"

local WAYS = { exec = true, stereos = true }

local function steps(set, opts) return check.steps(set, WAYS, opts or {}, 1) end

local function refused(set, text, opts)
  local ok, err, code = steps(set, opts)
  assert.same({ nil, text, "EINVAL" }, { ok, err, code })
end

describe("a set's units", function()
  it("are texts, or sections, whose keys may have several values", function()
    local list = assert(steps { units = {
      ["a.service"] = { Install = { WantedBy = "multi-user.target" }, Unit = { Description = "a" },
        Service = { ExecStart = { "", "/bin/a" }, RemainAfterExit = true, TimeoutSec = 5 } },
      ["b.timer"] = "[Timer]\nOnBootSec=1\n", ["c@.service"] = "[Service]\nExecStart=/bin/c\n[Install]\nWantedBy=x.target\n",
      ["d.socket"] = false,
    } })
    assert.equal("[Unit]\nDescription=a\n[Service]\nExecStart=\nExecStart=/bin/a\nRemainAfterExit=yes\nTimeoutSec=5\n" ..
      "[Install]\nWantedBy=multi-user.target\n", list[2].content)
    local seen = {}
    for i, step in ipairs(list) do seen[i] = ("%s %s %s"):format(step.kind, step.name, step.enable) end
    assert.same({ "unit d.socket false", "unit a.service true", "unit b.timer false", "unit c@.service false", "start a.service nil",
      "start b.timer nil" }, seen)
    assert.is_true(list[1].remove)
  end)

  it("are written for good or until the next boot, and only started where that is wanted", function()
    local list = assert(steps { units = { ["a.service"] = { content = "[Service]\n[Install]\n", runtime = true, start = false } } })
    assert.same({ 1, "/run/systemd/system/a.service", false }, { #list, list[1].path, list[1].enable })
    assert.is_true(steps({ units = { ["a.service"] = { content = "[Service]\n[Install]\n", runtime = true, enable = true } } })[1].enable)
    assert.equal("/etc/systemd/system/a.service", steps({ units = { ["a.service"] = "[Service]\n" } })[1].path)
  end)

  it("are refused where they are none", function()
    for _, name in ipairs { "a", "a.service/b", "../a.service", "-a.service", ".service", "a.conf", "a b.service",
      ("x"):rep(250) .. ".service" } do
      refused({ units = { [name] = "[Service]\n" } }, ("unit %s: it is no unit's name"):format(name:sub(1, 80)))
    end
    refused({ units = { ["a.service"] = "" } }, "unit a.service: it is empty")
    refused({ units = { ["a.service"] = {} } }, "unit a.service: it has neither content nor a section")
    refused({ units = { ["a.service"] = { Service = "x" } } }, "unit a.service: its section Service is no table")
    refused({ units = { ["a.service"] = { Service = { ExecStart = "a\nb" } } } },
      "unit a.service: ExecStart in its section Service is no text, number, boolean or list of these")
    refused({ units = { ["a.service"] = ("x"):rep((256 << 10) + 1) } }, "unit a.service: it has more than 262144 bytes")
    assert.truthy(select(2, pcall(steps, { units = { ["a.service"] = 7 } })):find("units: a text, a table or false expected", 1, true))
    assert.truthy(select(2, pcall(steps, { units = { ["a.service"] = { begin = true } } })):find("begin", 1, true))
    refused({ units = { ["a.service"] = "x" } }, "unit a.service: it needs a running guest, and no 'root'", { root = "/mnt" })
  end)
end)

describe("a set's users and groups", function()
  it("come first, and then what is theirs", function()
    local list = assert(steps { groups = { b = {}, a = { gid = 7 } }, users = { z = { groups = { "a" } } }, files = { ["/f"] = "" } })
    local seen = {}
    for i, step in ipairs(list) do seen[i] = step.kind .. " " .. step.name end
    assert.same({ "group a", "group b", "user z", "file /f" }, seen)
  end)

  it("go in the other order, before anything comes", function()
    local list = assert(steps { groups = { a = false, b = {} }, users = { z = false }, units = { ["a.service"] = false } })
    local seen = {}
    for i, step in ipairs(list) do seen[i] = ("%s %s %s"):format(step.kind, step.name, step.remove) end
    assert.same({ "unit a.service true", "user z true", "group a true", "group b false" }, seen)
  end)

  it("are refused where they are none", function()
    for _, name in ipairs { "", "-r", "A", "a:b", "a\nb", ("x"):rep(33), "0" } do
      refused({ users = { [name] = {} } }, ("user: '%s' is no user's name"):format((name:gsub("%c", "?"))))
      refused({ groups = { [name] = {} } }, ("group: '%s' is no group's name"):format((name:gsub("%c", "?"))))
    end
    refused({ users = { a = { home = "x" } } }, "user a: its home is no absolute path")
    refused({ users = { a = { shell = "/bin/a:b" } } }, "user a: its shell is no absolute path")
    refused({ users = { a = { groups = { "-x" } } } }, "user a: its groups are no list of names")
    refused({ users = { a = { uid = 1 << 33 } } }, "user a: no user has the number 8589934592")
    refused({ groups = { a = { gid = 1 << 33 } } }, "group a: no group has the number 8589934592")
    local ok, err, code = check.steps({ users = { a = {} } }, { stereos = true }, {}, 1)
    assert.same({ nil, "user a: a user needs a target that runs commands", "ENOTSUP" }, { ok, err, code })
  end)
end)
