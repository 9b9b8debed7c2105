module vmctl.test/protobuf_go

go 1.25

require (
	github.com/containerd/containerd/api v1.12.0
	github.com/containerd/ttrpc v1.2.9
	github.com/gogo/protobuf v1.3.2
	google.golang.org/protobuf v1.36.11
)
