# The agent with libraries that are made of Debian's sources (tools/fetch-sources), where the distribution's own do not serve:
#   LIBC=musl                  with musl instead of glibc, in build/musl         make agent LIBC=musl, make test-musl
#   CC=aarch64-linux-gnu-gcc   for another architecture, in build/MACHINE        make agent CC=…, make test-arm64
#   LIBS=own                   for this machine, whose distribution has no static ones: in build            make demo LIBS=own
SOURCES := build/sources

ifeq ($(LIBC),musl)
BUILD := build/musl
CC := musl-gcc
STRIP := strip
# musl-gcc knows only musl's headers; the kernel's come behind them.
LIBC_CFLAGS := -idirafter /usr/include -idirafter /usr/include/$(shell gcc -print-multiarch)
else ifneq ($(FOREIGN),)
BUILD := build/$(FOREIGN)
AR := $(patsubst %gcc,%ar,$(CC))
endif
LIBC_CFLAGS += -isystem $(SOURCES)/lua5.4/src -isystem $(SOURCES)/libev -isystem $(SOURCES)/protobuf-c
LUA_CFLAGS :=

# Make reads this file again once it is there.
include $(SOURCES)/ready
$(SOURCES)/ready:
	@tools/fetch-sources $(SOURCES)

OWN_LIBS := $(BUILD)/lib
LUA_PARTS := $(filter-out lua luac,$(basename $(notdir $(wildcard $(SOURCES)/lua5.4/src/*.c))))
OWN_OBJ := $(LUA_PARTS:%=$(OWN_LIBS)/lua5.4/src/%.o) $(OWN_LIBS)/libev/ev.o $(OWN_LIBS)/protobuf-c/protobuf-c/protobuf-c.o \
  $(addprefix $(OWN_LIBS)/lua-cjson/,lua_cjson.o strbuf.o fpconv.o)
OWN_FLAGS := -Os -w -std=gnu99 -ffunction-sections -fdata-sections -DLUA_USE_POSIX -DLUA_COMPAT_5_3 -DEV_STANDALONE=1 \
  -DEV_USE_MONOTONIC=1 -DEV_USE_CLOCK_SYSCALL=0 -DEV_USE_EPOLL=1 -DEV_USE_EVENTFD=1 -DEV_USE_NANOSLEEP=1 -DEV_USE_SELECT=0

$(OWN_LIBS)/%.o: $(SOURCES)/%.c
	@mkdir -p $(@D)
	$(V)$(CC) $(LIBC_CFLAGS) $(OWN_FLAGS) -c -o $@ $<

$(OWN_LIBS)/libvmctl-needs.a: $(OWN_OBJ)
	$(V)rm -f $@ && $(AR) rcs $@ $^
