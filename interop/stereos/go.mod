module vmctl.test/stereos

go 1.22

require github.com/papercomputeco/masterblaster v0.2.1
