--- The screen and keyboard of a guest launched with `display`. A machine has the methods of its screen.
local core = require "vmctl.core"
local errors = require "vmctl.errors"

local M = {}

local HOLD = 20         -- milliseconds that a typed key is held
local PACE = 0.025      -- seconds between two keys: a keyboard's buffer holds few

-- The devices for each kind of `display`. A microvm has no keyboard of its own.
local devices = {
  std = function() return { "-device", "VGA" } end,
  virtio = function(suffix) return { "-device", "virtio-gpu" .. suffix, "-device", "virtio-keyboard" .. suffix } end,
}

--- QEMU's arguments for a screen.
---@param display? boolean|"std"|"virtio"
---@param suffix string of the machine's virtio devices
---@return string[]|nil, string?, string? code EINVAL
function M.arguments(display, suffix)
  if not display then return {} end
  if display == true then display = suffix == "-pci" and "std" or "virtio" end
  if display == "std" and suffix ~= "-pci" then
    return errors.fail("EINVAL", "launch: display 'std' needs a machine with PCI; this one can have 'virtio'")
  end
  return devices[display](suffix)
end

-- Common names of keys that QEMU names otherwise.
local NAMES = { enter = "ret", ["return"] = "ret", space = "spc", escape = "esc", del = "delete", ins = "insert",
  control = "ctrl", win = "meta_l", super = "meta_l", pageup = "pgup", pagedown = "pgdn" }

-- The characters of a US keyboard by QEMU's key names: without and with shift.
local PLAIN = {
  [" "] = "spc", ["\n"] = "ret", ["\t"] = "tab", ["\b"] = "backspace", ["\27"] = "esc", ["-"] = "minus", ["="] = "equal",
  ["["] = "bracket_left", ["]"] = "bracket_right", ["\\"] = "backslash", [";"] = "semicolon", ["'"] = "apostrophe",
  ["`"] = "grave_accent", [","] = "comma", ["."] = "dot", ["/"] = "slash",
}
local SHIFTED = {
  _ = "minus", ["+"] = "equal", ["{"] = "bracket_left", ["}"] = "bracket_right", ["|"] = "backslash", [":"] = "semicolon",
  ['"'] = "apostrophe", ["~"] = "grave_accent", ["<"] = "comma", [">"] = "dot", ["?"] = "slash", [")"] = "0", ["!"] = "1",
  ["@"] = "2", ["#"] = "3", ["$"] = "4", ["%"] = "5", ["^"] = "6", ["&"] = "7", ["*"] = "8", ["("] = "9",
}

local function keys_of(char)
  if char:find "[%l%d]" then return { char } end
  if char:find "%u" then return { "shift", char:lower() } end
  if PLAIN[char] then return { PLAIN[char] } end
  return SHIFTED[char] and { "shift", SHIFTED[char] }
end

local function press(self, keys, hold)
  local list = {}
  for i, key in ipairs(keys) do list[i] = { type = "qcode", data = NAMES[key] or key } end
  local ok, err, code, problem = self._control:execute("send-key", { keys = list, ["hold-time"] = hold })
  if ok == nil then return nil, err, code, problem end
  return true
end

---@class vmctl.Screen
local methods = {}
local mt = { __name = "vmctl.Screen", __index = methods }

---@param control vmctl.Control of the machine
function M.new(control)
  return setmetatable({ _control = control }, mt)
end

--- Presses keys together: "ctrl-alt-delete", "f2", "ret", "minus". Waits for QEMU's answer only.
---@param chord string QEMU's names of keys, joined by "-"
---@return true|nil, string?, string?, table? EREMOTE: no such key
function methods:send_key(chord)
  if type(chord) ~= "string" or chord == "" then error("send_key: keys expected, such as 'ctrl-alt-delete'", 2) end
  local keys = {}
  for key in chord:gmatch "[^-]+" do keys[#keys + 1] = key end
  if #keys == 0 then error("send_key: '-' joins keys; the key is called 'minus'", 2) end
  return press(self, keys)
end

--- Types a text on a US keyboard, about 40 characters a second. Waits until it is typed.
---@param text string ASCII; a line feed is the return key
---@return true|nil, string?, string?, table? EINVAL: the keyboard does not have a character; nothing was typed
function methods:send_chars(text)
  local strokes = {}
  for char in text:gmatch "." do
    local keys = keys_of(char)
    if not keys then return errors.fail("EINVAL", "send_chars to %s: no key for %q", self._control:name(), char) end
    strokes[#strokes + 1] = keys
  end
  for _, keys in ipairs(strokes) do
    local ok, err, code, problem = press(self, keys, HOLD)
    if ok then ok, err, code = core.sleep(PACE) end
    if not ok then return nil, err, code, problem end
  end
  return true
end

-- A file that is there already has to be this user's.
local function check_place(path)
  if not core.fs.stat(path, true) then return true end
  local file, err, code = core.fs.private(path)
  if not file then return nil, err, code end
  file:close()
  return true
end

--- Takes a picture of the guest's screen, as PNG. Waits until it is written, by QEMU itself,
--- which gets the open file. After a failure the old file is still there.
---@param path string of a file that is this user's alone then (0600)
---@return true|nil, string?, string?, table? EREMOTE: the guest has no `display`, or the file cannot be written; EPERM (another user's
--- file), ELOOP (a link)
function methods:screendump(path)
  if type(path) ~= "string" or path == "" then error("screendump: a path expected", 2) end
  local ok, err, code = check_place(path)
  if not ok then return nil, err, code end
  local staged = ("%s.part-%08x"):format(path, math.random(0) & 0xffffffff)
  local file, problem
  file, err, code = core.fs.private(staged, true)
  if not file then return nil, err, code end
  ok, err, code, problem = self._control:with_file(file, function(client, name)
    return client:execute("screendump", { filename = name, format = "png" })
  end)
  file:close()
  if ok ~= nil then ok, err, code = core.fs.rename(staged, path) end
  if not ok then
    core.fs.remove(staged)
    return nil, err, code, problem
  end
  return true
end

return M
