--- Many guests at a time: polls that are spread over time, and changes that go out in waves.
local poll = require "vmctl.fleet.poll"
local progress = require "vmctl.fleet.progress"
local waves = require "vmctl.fleet.waves"

return { poll = poll.poll, waves = waves.waves, progress = progress.new }
