--- Addresses as users have them: vmctl.net.address makes them, vmctl.net.dial gives them their `dial`.
local address = require "vmctl.net.address"
require "vmctl.net.dial"

return address
