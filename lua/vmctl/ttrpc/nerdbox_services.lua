--- The services of nerdbox's guest (docs/wire/socketforward.md#schema, docs/wire/socketforward.md#other-guest-services),
--- as tables for service.lua. Those of containerd's own APIs (Task, Transfer) are not described: their messages are bytes.
local EMPTY = "google.protobuf.Empty"

return {
  ["nerdbox.services.socketforward.v1.SocketForward"] = {
    Bind = {
      request = "nerdbox.services.socketforward.v1.BindRequest", response = "nerdbox.services.socketforward.v1.BindResponse",
    },
    Unbind = { request = "nerdbox.services.socketforward.v1.UnbindRequest", response = EMPTY },
    Accept = {
      request = "nerdbox.services.socketforward.v1.ConnectResult",
      response = "nerdbox.services.socketforward.v1.ConnectRequest", client_stream = true, server_stream = true,
    },
  },
  ["containerd.vminitd.services.bundle.v1.Bundle"] = {
    Create = {
      request = "containerd.vminitd.services.bundle.v1.CreateRequest",
      response = "containerd.vminitd.services.bundle.v1.CreateResponse",
    },
  },
  ["containerd.vminitd.services.mount.v1.Mount"] = {
    MountAll = { request = "containerd.vminitd.services.mount.v1.MountAllRequest", response = EMPTY },
    Unmount = { request = "containerd.vminitd.services.mount.v1.UnmountRequest", response = EMPTY },
    UnmountAll = { request = EMPTY, response = EMPTY },
  },
  ["containerd.vminitd.services.system.v1.System"] = {
    Info = { request = EMPTY, response = "containerd.vminitd.services.system.v1.InfoResponse" },
  },
  ["nerdbox.services.vmevents.v1.Events"] = {
    Stream = { request = EMPTY, response = "containerd.types.Envelope", server_stream = true },
  },
}
