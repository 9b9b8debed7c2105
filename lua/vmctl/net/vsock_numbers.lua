--- The numbers of AF_VSOCK that have a meaning of their own.
return {
  CID_ANY = 0xffffffff,  -- to listen on: any CID of this machine
  CID_HYPERVISOR = 0,
  CID_LOCAL = 1,         -- this machine itself, where the loopback transport is loaded
  CID_HOST = 2,          -- the machine that runs this guest
  FIRST_GUEST = 3,       -- the lowest CID of a guest
  PORT_ANY = 0xffffffff, -- to listen on: a free port
}
