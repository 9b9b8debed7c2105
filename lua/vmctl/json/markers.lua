--- Shared by both directions of vmctl.json: the metatables that mark lists and objects, and how deep values may be.

return {
  array = { __name = "vmctl.json.array" },
  object = { __name = "vmctl.json.object" },
  MAX_DEPTH = 100,
}
