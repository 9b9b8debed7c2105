# Included by the top Makefile. `make bench` compares vmctl with its peers, `make bench ONLY="frame-echo tasks"` in some
# benchmarks alone, `make bench RECORD=1` keeps the figures in docs/speed; `make bench-deps` installs peers, `make bench-peers` builds the programs in build/bench/, those in Go where Go is, those on packages (pktkit,
# containerd's ttrpc) where these are to be had as well. ROUNDS=n, CORE=n: see bench/run.lua.

LUA ?= lua5.4
GO ?= go
BENCH_DIR := build/bench
BENCH_NAMES := echo_epoll stream_libev bulk_loop spawn_wait cat_reader relay_splice relay_driver hold l2_driver l2_isolation l2_traffic l2_bare fleet_guests
BENCH_PROGRAMS := $(BENCH_NAMES:%=$(BENCH_DIR)/%)
BENCH_CFLAGS := -std=gnu11 -O2 -D_GNU_SOURCE -MMD -MP -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Werror

BENCH_GO := $(if $(shell command -v $(GO) 2>/dev/null),$(BENCH_DIR)/stereos_go $(BENCH_DIR)/cc_go $(BENCH_DIR)/l2_go $(BENCH_DIR)/l2_pktkit \
  $(BENCH_DIR)/ttrpc_unary)
GO_BUILD = GOCACHE=$(CURDIR)/build/go-cache GOPROXY=off GOFLAGS= timeout 120 $(GO) build

.PHONY: bench bench-deps bench-peers bench-picture
bench: bench-deps all bench-peers
	@$(if $(BENCH_GO),,echo 'bench: no Go here: the peers in Go are left out';) true
	@case "$(ONLY)" in ''|*image*) $(LUA) -e 'package.path = "bench/?.lua;" .. package.path; require("images").prepare()';; esac
	@eval "$$($(MAKE) -s env)" && LUA="$(LUA)" $(LUA) bench/run.lua

bench-deps:
	@tools/deps build guest
	@tools/deps bench || echo 'bench: peers that are not here are left out'

# docs/speed/speed.svg and figures.md from the figures that are there.
bench-picture: all
	@eval "$$($(MAKE) -s env)" && $(LUA) -e 'package.path = "bench/?.lua;" .. package.path; require("picture").draw("docs/speed")'

bench-peers: $(BENCH_PROGRAMS) $(BENCH_GO)

$(BENCH_DIR)/stream_libev: BENCH_LIBS := -lev
$(BENCH_PROGRAMS): $(BENCH_DIR)/%: $(BENCH_DIR)/%.o $(BENCH_DIR)/bench.o
	$(CC) $(LDFLAGS) -o $@ $^ $(BENCH_LIBS)

$(BENCH_DIR)/%.o: bench/peers/%.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -c -o $@ $<

$(BENCH_DIR)/%_go: bench/peers/%.go
	@mkdir -p $(@D)
	$(GO_BUILD) -o $@ $<

# On packages from the module proxy.
$(BENCH_DIR)/l2_pktkit $(BENCH_DIR)/ttrpc_unary: $(BENCH_DIR)/%: $(wildcard bench/peers/l2_pktkit/* bench/peers/ttrpc_unary/*)
	@mkdir -p $(@D)
	@GO=$(GO) timeout 120 tools/build-go bench/peers/$* $@ >$@.log 2>&1; case $$? in \
	  0) ;; \
	  3|124) echo 'bench: the packages of $* are not to be had here ($@.log): it is left out' ;; \
	  *) cat $@.log >&2; exit 1 ;; \
	esac

.SECONDARY: $(BENCH_NAMES:%=$(BENCH_DIR)/%.o)
-include $(wildcard $(BENCH_DIR)/*.d)
