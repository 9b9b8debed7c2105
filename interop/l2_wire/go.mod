module vmctl.test/l2_wire

go 1.22

require github.com/KarpelesLab/pktkit v0.1.2
