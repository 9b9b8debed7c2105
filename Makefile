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

clean:
	rm -rf $(BUILD)

.PHONY: all clean
