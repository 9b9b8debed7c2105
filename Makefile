# vmctl: a Lua 5.4 module with a C core that runs virtual machines. `make help` lists the targets.

CC = gcc
CLANG ?= clang
LUA ?= $(or $(shell tools/find-lua),lua5.4)
LUA := $(LUA)
LUA_PC := $(or $(shell tools/find-lua pc),lua5.4)
BUILD ?= build
# A compiler of another machine, such as aarch64-linux-gnu-gcc, has libraries of its own, as musl has.
FOREIGN := $(filter %-linux-gnu-gcc %-linux-gnueabihf-gcc,$(notdir $(CC)))
ifneq ($(FOREIGN),)
FOREIGN := $(patsubst %-gcc,%,$(filter-out $(shell gcc -print-multiarch)-gcc,$(FOREIGN)))
endif
ifneq ($(filter musl,$(LIBC))$(filter own,$(LIBS))$(FOREIGN),)
include tools/libs.mk
endif
# The core and its modules are each one program to GCC, which then inlines small functions of one file in another. `make LTO=` links
# faster; so does who brings flags.
ifeq ($(origin CFLAGS),undefined)
LTO ?= $(if $(filter cc %gcc,$(notdir $(CC))),-flto=auto -fno-plt)
endif
CFLAGS ?= -O2 -g
ifndef OWN_LIBS
LUA_CFLAGS := $(shell pkg-config --cflags $(LUA_PC) 2>/dev/null)
endif
WARN := -Wall -Wextra -Wno-psabi -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -fPIC -fvisibility=hidden -pthread $(WARN) -Isrc $(LIBC_CFLAGS) $(LUA_CFLAGS) $(CFLAGS)

# Rules stand in front of the one for all.
.DEFAULT_GOAL := all

# Stands in lua/vmctl/base/version.lua; the core carries it, so that it is noticed when the two are not of one version.
VERSION := $(shell tools/version)
$(BUILD)/obj/lua/module.o $(BUILD)/agent/lua/module.o: ALL_CFLAGS += -DVMCTL_VERSION='"$(VERSION)"'
$(BUILD)/obj/lua/module.o $(BUILD)/agent/lua/module.o: lua/vmctl/base/version.lua

SRC := $(wildcard src/wire/*.c src/io/*.c src/lua/*.c)
OBJ := $(SRC:src/%.c=$(BUILD)/obj/%.o)
CORE := $(BUILD)/vmctl/core.so
ROCKSPEC := vmctl-$(VERSION)-1.rockspec
KERNEL_DIR := build/kernel
FULL_KERNEL_DIR := build/kernel-full
IMAGE := build/guest.img

HASH := \#

ifneq ($(filter-out clean help,$(or $(MAKECMDGOALS),all)),)
V ?= @
endif

.PHONY: all agent check-build guest env deps demo test test-nested test-kvm test-boots test-distributions test-report test-install test-pages test-slurm test-ssh test-musl test-debian13 test-i386 test-arm64 test-cjson check asan valgrind fuzz specs-of \
  examples rockspec annotations packages-table doc clean help

all: $(CORE)

help:
	@echo 'make demo         boot a guest, run a pipeline in it, and one of an OCI image (installs what is missing from Debian'"'"'s packages)'
	@echo '                  DISTRO=1: and a Debian with systemd, whose disk is made first, with root, and stays in build/'
	@echo 'make test         every spec, several files at a time, with real guests among them'
	@echo '                  SPECS="spec/exec_spec.lua …" only these, JOBS=4 files at a time, FILTER=text tests named so'
	@echo 'make install      everything below PREFIX (/usr/local), with DESTDIR in front; make uninstall; make dist: an archive'
	@echo 'make              the module; make agent: the static guest agent; make guest: kernel and image'
	@echo 'make examples     runs each example; make bench [ONLY=name] [RECORD=1]: speed against peers'
	@echo '                  make specs-of RUN=asan: the files of a run (all, asan, i386, debian13, kvm)'
	@echo 'make check        warnings as errors with gcc and clang, cppcheck, luacheck, the rockspec, the docstrings'
	@echo 'make asan         short specs under ASan and UBSan; make valgrind: the unit specs under valgrind'
	@echo 'make doc          a site in build/doc: guides and reference; manual pages'
	@echo 'make interop      programs in Go against vmctl, both ways, where Go is'
	@echo 'make fuzz         libFuzzer on every decoder (SECONDS_EACH=20)'
	@echo 'make faults       each call of a script fails once (MOST=40); make soak: CALLS=1000000 mixed calls'
	@echo 'make chaos        kills scripts, guests, agents and helpers at random (ROUNDS=200)'
	@echo 'make test-nested  guests with KVM and AF_VSOCK, inside an emulated guest (ACCEL=tcg: without KVM, some minutes)'
	@echo 'make test-kvm     some specs of machines, with KVM and AF_VSOCK, inside an emulated guest (some minutes)'
	@echo 'make test-arm64   an emulated guest of arm64; make test-musl: an agent with musl; make test-i386, make test-debian13: other systems'
	@echo 'make test-cjson   JSON with OpenResty'"'"'s lua-cjson instead of Debian'"'"'s'
	@echo 'make test-boots   guests'"'"' clocks beside a busy host, and reboots, BOOTS=10 in a row (some minutes)'
	@echo 'make test-slurm   vmctl test --on slurm on a Slurm of two nodes, started here (as root)'
	@echo 'make test-ssh     what goes over ssh, with real sshds on hosts that are namespaces (as root)'
	@echo 'make test-report  the page of vmctl report in a headless Chromium'
	@echo 'make test-install the rock and make install, each used from a place of its own; make test-pages: the programs in README.md and docs'
	@echo 'make test-distributions  disks of Debian 12 and 13 as guests, some minutes (DISTRIBUTIONS=bookworm: one of them, FILTER=boots)'
	@echo 'make deps         installs what is missing; make clean: removes build; make pack: the source rock'
	@echo 'make rockspec     made anew after a new file; make annotations: after a changed docstring; make packages-table: of tools/packages'
	@echo 'eval "$$(make -s env)" lets lua5.4 find the built module from any folder'

env:
	@echo 'export LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$${LUA_PATH:-;;}"'
	@echo 'export LUA_CPATH="$(abspath $(BUILD))/?.so;$${LUA_CPATH:-;;}"'

$(CORE): $(OBJ)
	@mkdir -p $(@D)
	$(V)$(CC) -shared -pthread $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $(OBJ) -lev -lm

$(BUILD)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(V)$(CC) $(ALL_CFLAGS) $(LTO) -MMD -MP -c -o $@ $<

-include $(OBJ:.o=.d)

# User networking for switches, where libslirp is. (pkg-config would want glib's headers as well, which are not needed.)
ifneq ($(shell echo '$(HASH)include <slirp/libslirp.h>' | $(CC) -E - >/dev/null 2>&1 && echo yes),)
SLIRP_SRC := $(wildcard src/slirp/*.c)
SLIRP_OBJ := $(SLIRP_SRC:src/%.c=$(BUILD)/slirp/%.o)
SLIRP := $(BUILD)/vmctl/slirp.so

all: $(SLIRP)

$(SLIRP): $(SLIRP_OBJ)
	@mkdir -p $(@D)
	$(V)$(CC) -shared -pthread $(CFLAGS) $(LDFLAGS) -o $@ $(SLIRP_OBJ) -lslirp

$(BUILD)/slirp/%.o: src/%.c
	@mkdir -p $(@D)
	$(V)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(SLIRP_OBJ:.o=.d)
endif

# Protobuf messages, where protobuf-c is. What protoc-c makes of proto/ is compiled without warnings: it is not ours.
ifneq ($(shell echo '$(HASH)include <protobuf-c/protobuf-c.h>' | $(CC) $(LIBC_CFLAGS) -E - >/dev/null 2>&1 && command -v protoc-c),)
PROTO := $(sort $(shell find proto -name '*.proto'))
PB_GEN := $(BUILD)/pb/gen
PB_MADE := $(PROTO:proto/%.proto=$(PB_GEN)/%.pb-c.c) $(PB_GEN)/builtin.c
PB_SRC := $(wildcard src/pb/*.c)
PB_OBJ := $(PB_SRC:src/%.c=$(BUILD)/pb/%.o) $(PB_MADE:.c=.o)
PB := $(BUILD)/vmctl/pb.so

all: $(PB)

$(PB): $(PB_OBJ)
	@mkdir -p $(@D)
	$(V)$(CC) -shared -pthread $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $(PB_OBJ) -lprotobuf-c

$(BUILD)/pb/%.o: src/%.c
	@mkdir -p $(@D)
	$(V)$(CC) $(ALL_CFLAGS) $(LTO) -MMD -MP -c -o $@ $<

$(PB_MADE) &: $(PROTO) tools/pb-messages
	@mkdir -p $(PB_GEN)
	$(V)protoc-c -Iproto --c_out=$(PB_GEN) $(PROTO) >$(PB_GEN)/log 2>&1 || { cat $(PB_GEN)/log >&2; exit 1; }
	$(V)cd $(PB_GEN) && $(CURDIR)/tools/pb-messages vmctl_pb_builtin $(PROTO:proto/%.proto=%.pb-c.h) > builtin.c

# Envelopes are made by the code of protoc-c.
$(BUILD)/pb/pb/envelope.o $(BUILD)/agent/pb/envelope.o: ALL_CFLAGS += -I$(PB_GEN)
$(BUILD)/pb/pb/envelope.o $(BUILD)/agent/pb/envelope.o: | $(PB_MADE)

# In sections, so that the agent has of it what is used: half are functions that nobody calls.
$(PB_GEN)/%.o: $(PB_GEN)/%.c
	$(V)$(CC) $(ALL_CFLAGS) -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -w -I$(PB_GEN) -c -o $@ $<

-include $(PB_OBJ:.o=.d)
endif

# The agent: everything inside one static program. Its resolver knows no NSS, and what it does not use is left out.
AGENT := $(BUILD)/vmctl-agent
AGENT_LUA := $(shell $(LUA) tools/agent-modules.lua 2>/dev/null)
AGENT_SRC := $(SRC) $(wildcard src/agent/*.c)
AGENT_OBJ := $(AGENT_SRC:src/%.c=$(BUILD)/agent/%.o) $(BUILD)/agent/embedded.o
STRIP ?= $(if $(filter %gcc,$(CC)),$(patsubst %gcc,%strip,$(CC)),strip)
# Where no static lua-cjson is, CJSON_SRC=DIR names a folder with its sources.
ifdef CJSON_SRC
AGENT_OBJ += $(patsubst %,$(BUILD)/agent/cjson/%.o,lua_cjson strbuf fpconv)
AGENT_CJSON :=

$(BUILD)/agent/cjson/%.o: $(CJSON_SRC)/%.c
	@mkdir -p $(@D)
	$(V)$(CC) $(ALL_CFLAGS) -w -DENABLE_CJSON_GLOBAL=0 -c -o $@ $<
else
AGENT_CJSON := -llua5.4-cjson
endif
AGENT_LUA_LIB ?= $(or $(shell pkg-config --libs-only-l $(LUA_PC) 2>/dev/null),-llua5.4)
AGENT_OPTIMIZE ?= -Os
AGENT_FLAGS := -DVMCTL_STATIC_RESOLVER -DVMCTL_WITHOUT_ROOTFS -DVMCTL_WITHOUT_SWITCH $(AGENT_OPTIMIZE) -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables
# Else gcc's -Os copies by `rep movsb`, which an emulated processor does byte by byte.
AGENT_COPIES := -mstringop-strategy=libcall
AGENT_FLAGS += $(shell $(CC) $(AGENT_COPIES) -Werror -fsyntax-only -x c /dev/null 2>/dev/null && echo $(AGENT_COPIES))
ifdef PB
AGENT_SRC += $(PB_SRC)
AGENT_OBJ += $(PB_SRC:src/%.c=$(BUILD)/agent/%.o) $(PB_MADE:.c=.o)
AGENT_FLAGS += -DVMCTL_PB_STATIC
AGENT_LIBS := -lprotobuf-c

$(BUILD)/agent/agent/main.o: $(PB_GEN)/builtin.c # compiled anew once messages can be had
endif

ifdef OWN_LIBS
AGENT_LIBS := $(OWN_LIBS)/libvmctl-needs.a
AGENT_CJSON :=
AGENT_LUA_LIB :=
AGENT_EV :=
else
AGENT_EV := -lev
endif

agent: $(AGENT)

$(AGENT): $(AGENT_OBJ) $(filter %.a,$(AGENT_LIBS))
	$(V)$(CC) -static -pthread -Wl,--gc-sections,-z,noseparate-code $(LDFLAGS) -o $@.tmp $(AGENT_OBJ) $(AGENT_LIBS) $(AGENT_CJSON) \
	  $(AGENT_LUA_LIB) $(AGENT_EV) -lm >$@.log 2>&1 || { cat $@.log >&2; exit 1; }
	$(V)$(STRIP) $@.tmp && mv $@.tmp $@

$(BUILD)/agent/embedded.c: tools/embed.lua tools/agent-modules.lua $(AGENT_LUA)
	@mkdir -p $(@D)
	$(V)$(LUA) tools/embed.lua $(AGENT_LUA) > $@.tmp && mv $@.tmp $@

$(BUILD)/agent/embedded.o: $(BUILD)/agent/embedded.c
	$(V)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/agent/%.o: src/%.c
	@mkdir -p $(@D)
	$(V)$(CC) $(ALL_CFLAGS) $(AGENT_FLAGS) -MMD -MP -c -o $@ $<

-include $(AGENT_SRC:src/%.c=$(BUILD)/agent/%.d)

# The guest. fetch-kernel looks by itself whether there is anything to do (KERNEL=path takes another kernel).
guest: agent $(CORE)
	@tools/fetch-kernel $(KERNEL_DIR)
	@$(MAKE) -s $(IMAGE)

$(IMAGE): $(AGENT) $(KERNEL_DIR)/version tools/build-image.lua $(wildcard lua/vmctl/machine/*.lua) | $(CORE)
	@eval "$$($(MAKE) -s env)" && $(LUA) tools/build-image.lua $(KERNEL_DIR) $(AGENT) $@

# Installs the needs of the targets first. A make of its own then finds them: pkg-config is asked when make starts.
deps:
	@tools/deps build guest test check

demo:
	@tools/deps build guest $(if $(DISTRO),distributions)
	@$(MAKE) -s all guest
	@$(if $(DISTRO),tools/debian-root bookworm build/debian-bookworm)
	@eval "$$($(MAKE) -s env)" && $(LUA) tools/demo.lua $(KERNEL_DIR)/vmlinuz $(IMAGE) $(if $(DISTRO),build/debian-bookworm/disk.img)

test:
	@tools/deps build guest test
	@$(MAKE) -s all guest
	@eval "$$($(MAKE) -s env)" && eval "$$($(LUA) tools/unpacked-guest.lua $(KERNEL_DIR) $(IMAGE) $(BUILD)/unpacked)" && \
	  $(LUA) tools/specs.lua $(SPECS)

# Slow specs that depend on little: the installed forms, and the programs of all pages.
test-install:
	@tools/deps build guest test
	@$(MAKE) -s all guest
	@eval "$$($(MAKE) -s env)" && VMCTL_INSTALL=1 $(LUA) tools/specs.lua spec/rock_spec.lua

test-pages:
	@tools/deps build guest test
	@$(MAKE) -s all guest
	@eval "$$($(MAKE) -s env)" && VMCTL_PAGES=1 $(LUA) tools/specs.lua spec/pages_guest_spec.lua

# Other systems, in root folders of their own (tools/chroot): the next Debian, and 32 bits, where no guest of ours boots.
test-debian13:
	@tools/deps chroot
	@PACKAGES="make git" tools/chroot trixie 'make demo && make check && eval "$$(make -s env)" && lua5.4 tools/specs.lua $(or $(SPECS),$(SPECS_debian13))'

test-i386:
	@tools/deps chroot
	@PACKAGES="make git" tools/chroot bookworm/i386 'tools/deps build guest test && make -s all agent && \
	  eval "$$(make -s env)" && lua5.4 tools/specs.lua $(or $(SPECS),$(SPECS_i386))'

# The agent of another architecture, and its guests, emulated. What is there for it is in a folder of its own.
ARM64 := build/arm64
ARM64_CC := aarch64-linux-gnu-gcc
ARM64_AGENT := build/aarch64-linux-gnu/vmctl-agent
ARM64_SPECS := spec/root_empty_guest_spec.lua spec/arch_guest_spec.lua spec/copies_guest_spec.lua spec/forward_guest_spec.lua spec/socketforward_guest_spec.lua spec/stereos_guest_spec.lua

test-arm64:
	@tools/deps build guest test arm64
	@tools/fetch-foreign arm64 $(ARM64)
	@$(MAKE) -s all
	@$(MAKE) -s agent CC=$(ARM64_CC)
	@eval "$$($(MAKE) -s env)" && $(LUA) tools/build-image.lua $(ARM64) $(ARM64_AGENT) $(ARM64)/guest.img && \
	  VMCTL_GUEST=$(ARM64) VMCTL_GUEST_ARCH=aarch64 VMCTL_AGENT=$(ARM64_AGENT) $(LUA) tools/specs.lua $(or $(SPECS),$(ARM64_SPECS))

# JSON with OpenResty's lua-cjson instead of Debian's.
CJSON_SPECS := $(sort $(wildcard spec/json_spec.lua spec/exec_wire_spec.lua spec/exec_spec.lua spec/exec_files_spec.lua spec/exec_reference_spec.lua \
  spec/stereos_client_spec.lua spec/stereos_server_spec.lua spec/qmp_wire_spec.lua spec/qmp_client_spec.lua spec/qga_client_spec.lua \
  spec/trace_spec.lua spec/config_spec.lua spec/cli_json_spec.lua))

test-cjson:
	@tools/deps build guest test
	@tools/fetch-other-cjson build/other-cjson
	@$(MAKE) -s all agent
	@eval "$$($(MAKE) -s env)" && export LUA_CPATH="$(CURDIR)/build/other-cjson/?.so;$$LUA_CPATH" && \
	  $(LUA) -e 'assert(require "cjson".empty_array, "this is the same lua-cjson")' && $(LUA) tools/specs.lua $(or $(SPECS),$(CJSON_SPECS))

# The agent with musl.
test-musl:
	@tools/deps build guest test musl
	@$(MAKE) -s all guest
	@$(MAKE) -s agent LIBC=musl
	@eval "$$($(MAKE) -s env)" && VMCTL_AGENT=build/musl/vmctl-agent $(LUA) tools/specs.lua spec/agent_spec.lua \
	  spec/config_spec.lua spec/config_exec_spec.lua spec/exec_big_spec.lua spec/guest_files_spec.lua

test-nested:
	@tools/deps build guest test
	@$(MAKE) -s all guest
	@tools/fetch-kernel $(FULL_KERNEL_DIR) full
	@eval "$$($(MAKE) -s env)" && VMCTL_NESTED=1 $(LUA) tools/specs.lua spec/nested_spec.lua

# Specs of machines as they are where KVM and AF_VSOCK are, which most machines have.
test-kvm:
	@tools/deps build guest test
	@$(MAKE) -s all guest
	@tools/fetch-kernel $(FULL_KERNEL_DIR) full
	@eval "$$($(MAKE) -s env)" && $(LUA) tools/test-kvm.lua $(or $(SPECS),$(SPECS_kvm))

# Boots many guests in a row: their clock beside a busy host, and reboots. Takes some minutes.
BOOTS ?= 10

test-boots:
	@tools/deps build guest test
	@$(MAKE) -s all guest
	@eval "$$($(MAKE) -s env)" && VMCTL_BOOTS=$(BOOTS) VMCTL_REBOOTS=$(BOOTS) busted --lua=$(LUA) -o plainTerminal \
	  spec/regress/guest_time_runs_slow_spec.lua spec/regress/reboot_of_a_microvm_spec.lua

# Unchanged disks of distributions. They are made once, with root, and stay in build/. Some minutes.
DISTRIBUTIONS ?= bookworm trixie cloud dracut openrc btrfs

test-distributions:
	@tools/deps build guest test distributions
	@$(MAKE) -s all guest
	@for suite in $(DISTRIBUTIONS); do case $$suite in \
	  cloud) tools/debian-root bookworm build/debian-bookworm-cloud cloud-init ;; \
	  dracut) tools/debian-root bookworm build/debian-bookworm-dracut dracut && tools/debian-root trixie build/debian-trixie-dracut dracut ;; \
	  openrc) tools/debian-root bookworm build/debian-bookworm-openrc openrc ;; \
	  btrfs) tools/debian-root bookworm build/debian-bookworm-btrfs btrfs-progs ;; \
	  *) tools/debian-root $$suite build/debian-$$suite ;; \
	esac || exit 1; done
	@eval "$$($(MAKE) -s env)" && VMCTL_DISTRIBUTIONS="$(DISTRIBUTIONS)" $(LUA) tools/specs.lua $(or $(SPECS),spec/distribution_guest_spec.lua spec/distribution_kinds_guest_spec.lua spec/scenario_distribution_guest_spec.lua spec/system_guest_spec.lua)

# Spec files as tasks of a real Slurm of two nodes, which this machine is. Needs root. Each file has a cluster: one at a time.
test-slurm:
	@tools/deps build guest test slurm
	@$(MAKE) -s all guest
	@eval "$$($(MAKE) -s env)" && VMCTL_SLURM=1 JOBS=$(or $(JOBS),1) $(LUA) tools/specs.lua $(or $(SPECS),spec/slurm_spec.lua spec/remote_slurm_spec.lua)

# Specs of ssh, with real sshds on hosts that are namespaces. Needs root; a network namespace keeps them apart from this machine.
SSH_SPECS := $(shell grep -lE '^describe.* \#ssh"' $(wildcard spec/*_spec.lua))

test-ssh:
	@tools/deps build guest test ssh
	@$(MAKE) -s all guest
	@eval "$$($(MAKE) -s env)" && unshare --net sh -c 'ip link set lo up && VMCTL_SSH=1 exec "$$@"' sh \
	  $(LUA) tools/specs.lua $(or $(SPECS),$(SSH_SPECS))

# A suite's report, and the site, in a real browser.
test-report:
	@tools/deps build test browser doc
	@$(MAKE) -s all doc
	@eval "$$($(MAKE) -s env)" && VMCTL_BROWSER=1 $(LUA) tools/specs.lua spec/report_browser_spec.lua spec/site_browser_spec.lua

check-build: $(CORE) $(AGENT_OBJ) $(SLIRP) $(PB) $(BUILD)/examples/embed

check:
	@tools/deps build test check
	@tools/check

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
# What a run beside `make test` has: the files that start no guest and take no long time; another where a comment in it says so,
# "-- Also in asan, debian13: REASON". Make prints the files of a run: make -s specs-of RUN=asan (all, i386, debian13, kvm).
SPECS_all = $(sort $(shell find spec -name '*_spec.lua'))
GUEST_SUPPORT = $(patsubst spec/support/%.lua,%,$(shell grep -l '"spec\.support\.guest"' spec/support/*.lua))
NULL :=
SPACE := $(NULL) $(NULL)
LONG_SPECS = $(filter %_guest_spec.lua,$(SPECS_all)) \
  $(shell grep -lE '"spec\.support\.(guest|$(subst $(SPACE),|,$(GUEST_SUPPORT)))"|^--.*Takes about [0-9]+ seconds' $(SPECS_all))
SHORT_SPECS = $(filter-out $(LONG_SPECS),$(SPECS_all))
also_in = $(shell grep -lE '^-- Also in ([a-z0-9]+, )*$(1)[,:]' $(SPECS_all))

# ASan finds mistakes of our C: these read texts, or run the whole command line many times.
SPECS_asan = $(call also_in,asan) $(filter-out spec/layout% spec/docs% spec/cli_spec.lua spec/cli_switch%,$(SHORT_SPECS))

# Specs that need no guest, no kernel and no other program: those worth running on other systems.
UNIT_SPECS = $(filter-out spec/layout% spec/docs% spec/cli_spec.lua spec/cli_switch% spec/machine% spec/image_spec.lua spec/doctor% \
  spec/deps% spec/embed% spec/cc_build%,$(SHORT_SPECS))
SPECS_i386 = $(call also_in,i386) $(UNIT_SPECS)
SPECS_debian13 = $(call also_in,debian13) $(UNIT_SPECS)

# Where KVM and AF_VSOCK are, a guest has another processor and another channel.
SPECS_kvm = $(call also_in,kvm)

RUN ?= all
specs-of:
	@printf '%s\n' $(or $(SPECS_$(RUN)),$(error RUN is all, asan, i386, debian13 or kvm))

asan:
	@tools/deps build guest test
	@$(MAKE) -s all agent guest
	@$(MAKE) -s -j$$(nproc) BUILD=build/asan CFLAGS="-O1 -g $(SANITIZE)" all
	@eval "$$($(MAKE) -s BUILD=build/asan env)" && VMCTL_BUILD=./build/asan SPEC_RETRY=1 tools/with-asan $(LUA) tools/specs.lua $(or $(SPECS),$(SPECS_asan))

valgrind:
	@tools/deps build test check
	@$(MAKE) -s all
	@tools/valgrind-specs

fuzz:
	@tools/deps build check
	@$(MAKE) -s all
	@fuzz/run

# The example in C. The module finds Lua in the program that loads it, or in the library which that uses.
EMBED := $(BUILD)/examples/embed

$(EMBED): examples/embed.c
	@mkdir -p $(@D)
	$(V)$(CC) $(ALL_CFLAGS) -o $@ $< $(LDFLAGS) $$(pkg-config --libs $(LUA_PC)) -lm

examples:
	@tools/deps build guest
	@$(MAKE) -s all guest $(EMBED)
	@eval "$$($(MAKE) -s env)" && $(LUA) tools/examples.lua $(EMBED)

rockspec:
	@$(LUA) tools/rockspec.lua > $(ROCKSPEC)

# Makes the annotations of the Lua modules for editors, from their docstrings. lua/vmctl/annotations/core.lua has the C core's classes.
annotations:
	@$(MAKE) -s all
	@eval "$$($(MAKE) -s env)" && $(LUA) tools/annotations.lua > lua/vmctl/annotations/modules.lua.tmp && \
	  mv lua/vmctl/annotations/modules.lua.tmp lua/vmctl/annotations/modules.lua

# Updates the table of packages in docs/start.md from tools/packages.
packages-table:
	@tools/deps --table build guest > build/packages.md
	@$(LUA) tools/doc/packages.lua build/packages.md docs/start.md

doc:
	@tools/deps build doc
	@$(MAKE) -s all
	@eval "$$($(MAKE) -s env)" && tools/build-doc

clean:
	rm -rf build

include tools/install.mk
include bench/bench.mk
include stress/stress.mk
include interop/interop.mk
