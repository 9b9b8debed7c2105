# Included by the top Makefile. `make bench` compares vmctl with its peers, `make bench ONLY=frame-echo` in one
# benchmark alone; `make bench-peers` builds the C programs in build/bench/. ROUNDS=n, CORE=n: see bench/run.lua.

LUA ?= lua5.4
BENCH_DIR := build/bench
BENCH_NAMES := echo_epoll stream_libev bulk_loop spawn_wait cat_reader relay_splice relay_driver hold
BENCH_PROGRAMS := $(BENCH_NAMES:%=$(BENCH_DIR)/%)
BENCH_CFLAGS := -std=gnu11 -O2 -D_GNU_SOURCE -MMD -MP -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Werror

.PHONY: bench bench-peers
bench: all bench-peers
	@eval "$$($(MAKE) -s env)" && LUA="$(LUA)" $(LUA) bench/run.lua

bench-peers: $(BENCH_PROGRAMS)

$(BENCH_DIR)/stream_libev: BENCH_LIBS := -lev
$(BENCH_PROGRAMS): $(BENCH_DIR)/%: $(BENCH_DIR)/%.o $(BENCH_DIR)/bench.o
	$(CC) $(LDFLAGS) -o $@ $^ $(BENCH_LIBS)

$(BENCH_DIR)/%.o: bench/peers/%.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -c -o $@ $<

.SECONDARY: $(BENCH_NAMES:%=$(BENCH_DIR)/%.o)
-include $(wildcard $(BENCH_DIR)/*.d)
