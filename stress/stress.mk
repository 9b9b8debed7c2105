# Included by the top Makefile. Each program stops by itself and leaves nothing; stress/README.md tells what they do.

.PHONY: chaos soak faults
export MOST CALLS SEED ROUNDS

chaos:
	@tools/deps build guest
	@$(MAKE) -s all agent guest
	@eval "$$($(MAKE) -s env)" && LUA_PATH="./?.lua;$$LUA_PATH" $(LUA) stress/chaos.lua

soak:
	@tools/deps build
	@$(MAKE) -s all
	@eval "$$($(MAKE) -s env)" && LUA_PATH="./?.lua;$$LUA_PATH" $(LUA) stress/soak.lua

faults:
	@tools/deps build
	@$(MAKE) -s all
	@eval "$$($(MAKE) -s env)" && LUA_PATH="./?.lua;$$LUA_PATH" $(LUA) stress/faults.lua
