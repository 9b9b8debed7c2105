# Included by the top Makefile. Each program stops by itself and leaves nothing; stress/README.md tells what they do.

.PHONY: soak faults
export MOST CALLS SEED ROUNDS

soak:
	@tools/deps build
	@$(MAKE) -s all
	@eval "$$($(MAKE) -s env)" && LUA_PATH="./?.lua;$$LUA_PATH" $(LUA) stress/soak.lua

faults:
	@tools/deps build
	@$(MAKE) -s all
	@eval "$$($(MAKE) -s env)" && LUA_PATH="./?.lua;$$LUA_PATH" $(LUA) stress/faults.lua
