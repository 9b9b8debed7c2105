-- Each function that looks at bytes of a guest or a peer: twice the bytes cost twice the instructions, and no more than a few times
-- the time of one plain look (Lua's patterns run as one instruction, so that a quadratic one is seen by the clock alone: it takes a
-- thousand times as long).
local assert = require "luassert"
local address = require "vmctl.net.address"
local config = require "vmctl.config.jcard"
local console = require "vmctl.machine.console"
local exec = require "vmctl.exec.wire"
local failure = require "vmctl.scenario.failure"
local firmware = require "vmctl.machine.firmware"
local glob = require "vmctl.cc.backend.glob"
local journal = require "vmctl.system.journal"
local json = require "vmctl.json"
local keys = require "vmctl.guest.keys"
local log = require "vmctl.log"
local mask = require "vmctl.trace.mask"
local mounts = require "vmctl.guest.mounts"
local oci = require "vmctl.rootfs.oci"
local partitions = require "vmctl.machine.partitions"
local paths = require "vmctl.socketforward.paths"
local qmp = require "vmctl.qmp.wire"
local reader = require "vmctl.tar.read"
local rootfs = require "vmctl.rootfs.spec"
local safe_file = require "vmctl.base.safe_file"
local secrets = require "vmctl.guest.secrets"
local stereos = require "vmctl.stereos.wire"
local system = require "vmctl.system"
local systemctl = require "vmctl.system.systemctl"
local text = require "vmctl.text"
local writer = require "vmctl.tar.write"

local SIZE = 48 << 10
local ALLOWED = 2 -- seconds for what takes milliseconds; quadratic code takes a minute

-- Texts on which patterns backtrack: long runs, and repeated near matches.
local PIECES = { " ", "/", "\n", "\r", "a", "1", "\27[", "\27]", "\255", "a/", "./", "../", "a\n", "a ", "1 ", ": ", "\\", "\"", "[", ":",
  "{", "*", "%", "=", "a=b\n", "\27[1;", "//a", " - ", ".wh.", "Kernel panic", "\t \n", "\\u", "e1", "0.", ",", "1 2 3/" }

local function ring(bytes)
  local kept = console.ring(1 << 20)
  for at = 1, #bytes, 1000 do kept:add(bytes:sub(at, at + 999)) end
  return kept
end

local function archive(path)
  local parts = {}
  local function write(bytes)
    parts[#parts + 1] = bytes
    return true
  end
  assert(writer.entry(write, { path = path, type = "directory", mode = 0, uid = 0, gid = 0, mtime = 0, nsec = 5 }, nil, "pax"))
  assert(writer.finish(write))
  return table.concat(parts)
end

local function read_tar(bytes)
  local at = 1
  return reader.each({
    read = function(_, n)
      local data = bytes:sub(at, at + n - 1)
      at = at + #data
      return data ~= "" and data or nil
    end,
    skip = function(_, n)
      at = at + n
      return true
    end,
  }, function() return true end)
end

local skip = assert(glob.compile { "*a*", "/**/b*", "?" })

-- A guest that says `bytes` to whatever it is asked, but is this kind of system, in this state.
local function await_system(kind, state, bytes)
  local guest = { run = function(_, command)
    local said = command[1] == "sh" and kind == "systemd" and kind or command[2] == "is-system-running" and state or bytes
    if kind == "openrc" and command[3]:find("readlink", 1, true) then said = kind end
    if command[1] == "journalctl" or command[3] == "show" then said = "" end -- these are asked for each unit
    return { stdout = said, stderr = "", exit_code = 0 }
  end }
  return system.await(guest, 0)
end

local function list_partitions(bytes)
  return partitions.list(function(offset, size) return bytes:sub(offset + 1, offset + size) end, #bytes)
end

local functions = {
  ["text.trim_end"] = text.trim_end, ["text.strip_slashes"] = text.strip_slashes, ["text.strip_folder"] = text.strip_folder,
  ["text.last_line"] = text.last_line, ["text.base"] = text.base, ["text.split"] = text.split, ["text.unix_lines"] = text.unix_lines,
  ["text.bare"] = text.bare,
  ["firmware.answered"] = function(bytes) return firmware.answered { run = function() return { stdout = bytes } end } end,
  ["text.tail"] = function(bytes) return text.tail(bytes, 20) end,
  ["text.find_last"] = function(bytes) return text.find_last(bytes, "Kernel panic") end,
  ["log.sanitize"] = log.sanitize, ["log.one_line"] = log.one_line, ["log.mask"] = log.mask,
  ["ring:tail"] = function(bytes) return ring(bytes):tail(20) end,
  ["failure.tail"] = failure.tail, ["failure.section"] = function(bytes) return failure.section("x", bytes) end,
  ["address.parse"] = address.parse,
  ["address.parse of tcp"] = function(bytes) return address.parse("tcp:" .. bytes) end,
  ["address.parse of tcp:["] = function(bytes) return address.parse("tcp:[" .. bytes) end,
  ["jcard.without"] = function(bytes) return config.without(bytes, "secrets") end,
  ["json.decode"] = json.decode, ["json.decode of a list"] = function(bytes) return json.decode("[" .. bytes) end,
  ["json.decode of a string"] = function(bytes) return json.decode(json.encode { bytes:gsub("\255", "?") }) end,
  ["oci.describe"] = function(bytes) return oci.describe { config = { Env = { bytes }, Cmd = { bytes }, User = bytes } } end,
  ["rootfs.parse"] = rootfs.parse, ["rootfs.parse of oci"] = function(bytes) return rootfs.parse("oci:" .. bytes) end,
  ["exec.decode_request"] = exec.decode_request, ["exec.decode_response"] = exec.decode_response, ["exec.text"] = exec.text,
  ["stereos.parse"] = stereos.parse, ["stereos.hearing"] = stereos.hearing,
  ["safe_file.unfit"] = safe_file.unfit, ["safe_file.split"] = safe_file.split, ["secrets.unfit"] = secrets.unfit,
  ["paths.prepare"] = function(bytes) return paths.prepare("/" .. bytes, false) end,
  ["keys.check"] = keys.check, ["mounts.parse"] = mounts.parse, ["qmp.parse"] = qmp.parse,
  ["mask.line of qga"] = function(bytes) return mask.line({ protocol = "qga" }, bytes) end,
  ["mask.line of stereos"] = function(bytes) return mask.line({ protocol = "stereos" }, bytes) end,
  ["journal.parse"] = journal.parse, ["systemctl.parse"] = systemctl.parse, ["partitions.list"] = list_partitions,
  ["system.await of one that is late"] = function(bytes) return await_system("systemd", "starting", bytes) end,
  ["system.await of one that is degraded"] = function(bytes) return await_system("systemd", "degraded", bytes) end,
  ["system.await of OpenRC"] = function(bytes) return await_system("openrc", "", bytes) end,
  ["glob"] = function(bytes) return skip("/" .. bytes:sub(1, 4096)) end,
  ["tar of a long path"] = function(bytes) return read_tar(archive(bytes)) end,
  ["tar of rubbish"] = function(bytes) return read_tar(bytes) end,
}

local function cost(fn, bytes)
  local count, began = 0, os.clock()
  debug.sethook(function() count = count + 1 end, "", 100)
  local ok, err = pcall(fn, bytes)
  debug.sethook()
  assert(ok, err)
  return count, os.clock() - began
end

describe("bytes of a guest", function()
  local names = {}
  for name in pairs(functions) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    it("are looked at once by " .. name, function()
      for _, piece in ipairs(PIECES) do
        local bytes = piece:rep(SIZE // #piece) .. "x"
        local half = cost(functions[name], bytes)
        local whole, seconds = cost(functions[name], bytes .. bytes)
        assert(whole <= 2.5 * half + 200, ("%q: %d00 and %d00 instructions"):format(piece, half, whole))
        assert(seconds < ALLOWED, ("%q: %.1f s"):format(piece, seconds))
      end
    end)
  end
end)
