module vmctl.test/stereos_go

go 1.19
