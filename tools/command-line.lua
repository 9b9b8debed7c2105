-- The command line with the modules that LUA_PATH and LUA_CPATH name: those of another build, too. bin/vmctl takes those beside it.
os.exit(require("vmctl.cli").main(arg), true)
