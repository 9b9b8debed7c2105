--- What differs between the processor architectures that guests have, in one place; and whether KVM can be used.

local M = {}

---@class vmctl.Machine  a kind of board that QEMU imitates
---@field type string  QEMU's -M
---@field suffix string  ending of the names of virtio devices: "virtio-serial" .. suffix
---@field kernel_args string  what the kernel has to be told about this board

---@class vmctl.Platform
---@field arch string  as "uname -m" prints it
---@field debian string  Debian's name for it
---@field qemu string  the emulator's command
---@field cpu string  QEMU's -cpu under software emulation (under KVM it is "host")
---@field console string  the kernel's name of the first serial port
---@field kernel_package string
---@field kvm_flags? string[]  flags in /proc/cpuinfo, one of which a processor has that can run guests
---@field default string  key of the machine to take when none is asked for
---@field machines table<string, vmctl.Machine>

---@type table<string, vmctl.Platform>
M.platforms = {
  x86_64 = {
    arch = "x86_64",
    debian = "amd64",
    qemu = "qemu-system-x86_64",
    cpu = "max",
    console = "ttyS0",
    kernel_package = "linux-image-cloud-amd64",
    kvm_flags = { "vmx", "svm" },
    default = "microvm",
    machines = {
      microvm = { type = "microvm", suffix = "-device", kernel_args = "" },
      q35 = { type = "q35", suffix = "-pci", kernel_args = "" },
    },
  },
  aarch64 = {
    arch = "aarch64",
    debian = "arm64",
    qemu = "qemu-system-aarch64",
    cpu = "max",
    console = "ttyAMA0",
    kernel_package = "linux-image-cloud-arm64",
    default = "virt",
    machines = {
      virt = { type = "virt", suffix = "-pci", kernel_args = "" },
    },
  },
}

return M
