module vmctl.test/socketforward_go

go 1.22

require (
	github.com/containerd/ttrpc v1.2.8
	google.golang.org/protobuf v1.36.6
)
