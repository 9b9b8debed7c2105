# vmctl: a Lua 5.4 module with a C core that runs virtual machines. `make help` lists the targets.

CC = gcc
BUILD ?= build
LUA ?= lua5.4
CFLAGS ?= -O2 -g
LUA_CFLAGS := $(shell pkg-config --cflags lua5.4 2>/dev/null)
WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread $(WARN) -Isrc $(LUA_CFLAGS) $(CFLAGS)

SRC := $(wildcard src/wire/*.c src/io/*.c src/lua/*.c)
OBJ := $(SRC:src/%.c=$(BUILD)/obj/%.o)
CORE := $(BUILD)/vmctl/core.so

all: $(CORE)

$(CORE): $(OBJ)
	@mkdir -p $(@D)
	$(CC) -shared -pthread $(CFLAGS) $(LDFLAGS) -o $@ $(OBJ) -lev -lm

$(BUILD)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJ:.o=.d)

# The agent: everything inside one static program. Its resolver knows no NSS, and what it does not use is left out.
AGENT := $(BUILD)/vmctl-agent
AGENT_LUA := $(sort $(shell find lua/vmctl -name '*.lua' ! -path 'lua/vmctl/machine/*'))
AGENT_SRC := $(SRC) $(wildcard src/agent/*.c)
AGENT_OBJ := $(AGENT_SRC:src/%.c=$(BUILD)/agent/%.o) $(BUILD)/agent/embedded.o
AGENT_FLAGS := -DVMCTL_STATIC_RESOLVER -Os -ffunction-sections -fdata-sections

agent: $(AGENT)

$(AGENT): $(AGENT_OBJ)
	$(CC) -static -pthread -Wl,--gc-sections -o $@.tmp $(AGENT_OBJ) -llua5.4-cjson -llua5.4 -lev -lm
	strip $@.tmp
	mv $@.tmp $@

$(BUILD)/agent/embedded.c: tools/embed.lua $(AGENT_LUA)
	@mkdir -p $(@D)
	$(LUA) tools/embed.lua $(AGENT_LUA) > $@.tmp
	mv $@.tmp $@

$(BUILD)/agent/embedded.o: $(BUILD)/agent/embedded.c
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/agent/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(AGENT_FLAGS) -MMD -MP -c -o $@ $<

-include $(AGENT_OBJ:.o=.d)

clean:
	rm -rf $(BUILD)

.PHONY: all agent clean
