--- The version of vmctl: of the module, the agent, the command line and the rock.
return "0.2.0"
