module vmctl.test/cc_go

go 1.19
