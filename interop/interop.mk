# Included by the top Makefile. `make interop` lets programs in Go, on the reference's packages where they are to be had,
# talk to vmctl, and vmctl to them. Without Go nothing is tried, and it says so.

GO ?= go

.PHONY: interop
interop: all
	@eval "$$($(MAKE) -s env)" && GO="$(GO)" $(LUA) interop/run.lua
