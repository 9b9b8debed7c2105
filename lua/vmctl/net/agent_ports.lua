--- The ports of a guest's agent, by service. Reference implementations have the same numbers; that of
--- cc is ours.
return {
  STEREOS = 1024, FORWARD = 1025, FORWARD_STREAMS = 1026, EXEC = 5000, EXEC_FILES = 5001, READY = 5002, CC = 5004,
}
