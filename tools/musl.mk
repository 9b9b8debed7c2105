# LIBC=musl: the agent with musl instead of glibc, in build/musl. Its libraries are made of Debian's sources (tools/fetch-sources),
# since the distribution's own are glibc's. `make agent LIBC=musl`, `make test-musl`.
SOURCES := build/sources
BUILD := build/musl
CC := musl-gcc
STRIP := strip
# musl-gcc knows only musl's headers; the kernel's come behind them.
LIBC_CFLAGS := -idirafter /usr/include -idirafter /usr/include/$(shell gcc -print-multiarch) \
  -isystem $(SOURCES)/lua5.4/src -isystem $(SOURCES)/libev -isystem $(SOURCES)/protobuf-c
LUA_CFLAGS :=

MUSL_LIB := $(BUILD)/lib
LUA_PARTS := $(filter-out lua luac,$(basename $(notdir $(wildcard $(SOURCES)/lua5.4/src/*.c))))
MUSL_OBJ := $(LUA_PARTS:%=$(MUSL_LIB)/lua5.4/src/%.o) $(MUSL_LIB)/libev/ev.o $(MUSL_LIB)/protobuf-c/protobuf-c/protobuf-c.o \
  $(addprefix $(MUSL_LIB)/lua-cjson/,lua_cjson.o strbuf.o fpconv.o)
MUSL_FLAGS := -Os -w -std=gnu99 -ffunction-sections -fdata-sections -DLUA_USE_POSIX -DLUA_COMPAT_5_3 -DEV_STANDALONE=1 \
  -DEV_USE_MONOTONIC=1 -DEV_USE_CLOCK_SYSCALL=0 -DEV_USE_EPOLL=1 -DEV_USE_EVENTFD=1 -DEV_USE_NANOSLEEP=1 -DEV_USE_SELECT=0

$(MUSL_LIB)/%.o: $(SOURCES)/%.c
	@mkdir -p $(@D)
	$(V)$(CC) $(LIBC_CFLAGS) $(MUSL_FLAGS) -c -o $@ $<

$(MUSL_LIB)/libvmctl-needs.a: $(MUSL_OBJ)
	$(V)rm -f $@ && ar rcs $@ $^
