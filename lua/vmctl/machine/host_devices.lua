--- The means of this host for guests: its devices, and programs that are outside of PATH.
return {
  KVM = "/dev/kvm",
  VHOST_VSOCK = "/dev/vhost-vsock",
  VIRTIOFSD = { "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd", "/usr/bin/virtiofsd" },
  BUSYBOX = { "/bin/busybox", "/usr/bin/busybox" },
}
