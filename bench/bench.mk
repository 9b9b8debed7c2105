# Included by the top Makefile. `make bench` compares vmctl with its peers, `make bench ONLY=frame-echo` in one
# benchmark alone; `make bench-peers` builds the programs in build/bench/, the one in Go where Go is. ROUNDS=n, CORE=n:
# see bench/run.lua.

LUA ?= lua5.4
GO ?= go
BENCH_DIR := build/bench
BENCH_NAMES := echo_epoll stream_libev bulk_loop spawn_wait cat_reader relay_splice relay_driver hold
BENCH_PROGRAMS := $(BENCH_NAMES:%=$(BENCH_DIR)/%)
BENCH_CFLAGS := -std=gnu11 -O2 -D_GNU_SOURCE -MMD -MP -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Werror

BENCH_GO := $(if $(shell command -v $(GO) 2>/dev/null),$(BENCH_DIR)/stereos_go)
GO_BUILD = GOCACHE=$(CURDIR)/build/go-cache GOPROXY=off GOFLAGS= timeout 120 $(GO) build

.PHONY: bench bench-peers
bench: all bench-peers
	@$(if $(BENCH_GO),,echo 'bench: no Go here: the peer in Go is left out';) true
	@eval "$$($(MAKE) -s env)" && LUA="$(LUA)" $(LUA) bench/run.lua

bench-peers: $(BENCH_PROGRAMS) $(BENCH_GO)

$(BENCH_DIR)/stream_libev: BENCH_LIBS := -lev
$(BENCH_PROGRAMS): $(BENCH_DIR)/%: $(BENCH_DIR)/%.o $(BENCH_DIR)/bench.o
	$(CC) $(LDFLAGS) -o $@ $^ $(BENCH_LIBS)

$(BENCH_DIR)/%.o: bench/peers/%.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -c -o $@ $<

$(BENCH_DIR)/stereos_go: bench/peers/stereos.go
	@mkdir -p $(@D)
	$(GO_BUILD) -o $@ $<

.SECONDARY: $(BENCH_NAMES:%=$(BENCH_DIR)/%.o)
-include $(wildcard $(BENCH_DIR)/*.d)
