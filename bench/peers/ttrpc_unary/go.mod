module vmctl.test/ttrpc_unary

go 1.22

require (
	github.com/containerd/ttrpc v1.2.10
	google.golang.org/protobuf v1.36.11
)
