--- How the reference is ordered: which part belongs to what, and where to begin for what one wants to do. A part that is not
-- named here comes under "Further".
return {
  kinds = {
    { "Core", "vmctl", "vmctl.address", "vmctl.vsock", "vmctl.process", "vmctl.signals" },
    { "Machines", "vmctl.machine", "vmctl.machine.image", "vmctl.host", "vmctl.ready", "vmctl.config", "vmctl.files" },
    { "Testing", "vmctl.scenario", "vmctl.clock", "vmctl.trace", "vmctl.doctor" },
    { "Protocols", "vmctl.exec", "vmctl.stereos", "vmctl.socketforward", "vmctl.ttrpc", "vmctl.protobuf", "vmctl.l2",
      "vmctl.cc", "vmctl.cc_helper", "vmctl.qmp", "vmctl.qga", "vmctl.mux" },
    { "Helpers", "vmctl.json", "vmctl.log", "vmctl.errors" },
  },

  wishes = {
    { "Boot, reach and end a guest", "vmctl.machine.launch", "vmctl.Machine:wait_ready", "vmctl.Machine:address",
      "vmctl.Machine:inside", "vmctl.Machine:wait", "vmctl.Machine:shutdown", "vmctl.Machine:kill", "vmctl.machine.image.build" },
    { "Run commands", "vmctl.Machine:run", "vmctl.Machine:start", "vmctl.pipeline", "vmctl.ExecClient:run", "vmctl.exec.client",
      "vmctl.process.spawn" },
    { "Wait for something", "vmctl.ready.wait", "vmctl.ready.all", "vmctl.Machine:wait_console", "vmctl.StereosClient:wait_for_ready" },
    { "Move files", "vmctl.files.push", "vmctl.files.pull", "vmctl.Machine:read_file", "vmctl.Machine:write_file" },
    { "Bring a guest into a declared state", "vmctl.config.push", "vmctl.Machine:push_config" },
    { "Pause, snapshot, look at the screen, type", "vmctl.Machine:pause", "vmctl.Machine:snapshot", "vmctl.Machine:restore",
      "vmctl.Machine:screendump", "vmctl.Machine:send_key", "vmctl.Machine:qmp" },
    { "Forward ports and sockets", "vmctl.forward", "vmctl.Machine:socketforward", "vmctl.socketforward.forward", "vmctl.relay" },
    { "Connect guests by a network, and break it", "vmctl.l2.switch", "vmctl.l2.dial", "vmctl.L2Switch:partition",
      "vmctl.L2Switch:faults", "vmctl.L2Switch:capture" },
    { "Write test scenarios", "vmctl.scenario.machines", "vmctl.scenario.run", "vmctl.scenario.subtest", "vmctl.clock.virtual" },
    { "Record a session and play it back", "vmctl.trace.start", "vmctl.trace.read", "vmctl.replay" },
    { "Do many things at once", "vmctl.run", "vmctl.spawn", "vmctl.all", "vmctl.map", "vmctl.race", "vmctl.timeout", "vmctl.scope",
      "vmctl.channel", "vmctl.lock" },
    { "Speak a protocol of one's own", "vmctl.dial", "vmctl.listen", "vmctl.format", "vmctl.Stream:read_frame", "vmctl.Stream:read_line",
      "vmctl.ttrpc.service", "vmctl.protobuf.load" },
    { "Use vmctl inside another event loop", "vmctl.Loop.pollfd", "vmctl.Loop.timeout", "vmctl.Loop.step", "vmctl.wrap" },
  },
}
