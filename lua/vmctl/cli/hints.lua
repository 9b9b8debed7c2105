--- Advice about failures that beginners meet: a line below the message.
local M = {}

local DISK = "free some room, or name another place: TMPDIR for sockets and disks, XDG_CACHE_HOME for images, XDG_STATE_HOME for what is "
  .. "kept"
local NO_KVM, REFUSED = "Could not access KVM kernel module: No such file", "Could not access KVM kernel module: Permission denied"

-- The first whose code and text fit; a text alone fits any code.
local HINTS = {
  { code = "EADDRINUSE",
    hint = "another program has this address: end it (ss -ltnp shows which), or take another; port 0 is any free one" },
  { text = "hostfwd", hint = "a port of this machine is taken: ss -ltnp shows by which program; -p takes another" },
  { code = "ENOSPC", hint = DISK },
  { text = "No space left on device", hint = DISK },
  { code = "ENOENT", text = "start qemu-system-",
    hint = "QEMU is missing: apt install qemu-system-x86, or what docs/start.md says; vmctl doctor" },
  { text = NO_KVM, hint = "there is no KVM here: leave out --accel kvm, and the guest is emulated, some ten times as slow; vmctl doctor "
    .. "says how to turn it on" },
  { text = REFUSED, hint = "let this user read and write /dev/kvm: adduser USER kvm, and log in anew; or leave out --accel kvm" },
  { text = "kvm", code = "ERESET", hint = "this machine's KVM does not work: leave out --accel kvm; vmctl doctor says why" },
  { code = "EACCES",
    hint = "this user may not: look at the owner and the mode of what is named, or be its owner; vmctl doctor looks at devices" },
  { text = "cannot set up guest memory", hint = "the guest wants more memory than there is: --memory 128M" },
}

--- A sentence that says what to do next, or nil. Does not wait.
---@param message string
---@param code? string
---@return string|nil
function M.of(message, code)
  for _, each in ipairs(HINTS) do
    local fits_code = not each.code or each.code == code
    if fits_code and (not each.text or message:find(each.text, 1, true)) then return each.hint end
  end
end

return M
