module vmctl.test/l2_pktkit

go 1.22

require github.com/KarpelesLab/pktkit v0.1.2
