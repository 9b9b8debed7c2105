-- A pipeline of three commands, streamed from one to the next, with every exit code kept.
-- Usage: lua5.4 examples/pipeline.lua
-- You will see the most frequent word, then how a pipeline names the stage that failed.
local vmctl = require "vmctl"

local text = ("the quick brown fox jumps over the lazy dog while the cat sleeps "):rep(2000):gsub(" ", "\n")

local top = assert(vmctl.pipeline {
  { "sort" }, { "uniq", "-c" }, "sort -rn | head -1",
  stdin = text, timeout = 20,
})
print("most frequent: " .. top.stdout:gsub("%s+", " "))
for i, stage in ipairs(top.stages) do print(("stage %d: exit code %s"):format(i, stage.exit_code)) end

local bad = assert(vmctl.pipeline { { "echo", "x" }, { "grep", "y" }, { "cat" } })
local failed = assert(bad.failed)
print(("failed: stage %d (%s): %s"):format(failed.stage, failed.name, failed.reason))
