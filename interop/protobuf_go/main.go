// containerd's messages in Go: their descriptors, each of them with all its fields, and its task service.
// Usage: protobuf_go set FILE      writes the descriptor set of all that is linked in
//
//	protobuf_go fill FILE     writes a line "NAME HEX" for each message
//	protobuf_go check FILE    reads such lines, and says which are not what it would have written
//	protobuf_go call PATH     calls a task service at a Unix socket
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"sort"
	"strings"

	_ "github.com/containerd/containerd/api/events"
	_ "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	_ "github.com/gogo/protobuf/gogoproto" // whose .proto files the suite loads
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "protobuf_go:", err)
		os.Exit(1)
	}
}

func isOurs(file protoreflect.FileDescriptor) bool {
	return strings.HasPrefix(string(file.Package()), "containerd.")
}

func writeSet(path string) {
	set, seen := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := 0; i < file.Imports().Len(); i++ {
			add(file.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if isOurs(file) {
			add(file)
		}
		return true
	})
	bytes, err := proto.Marshal(set)
	check(err)
	check(os.WriteFile(path, bytes, 0o600))
}

// All of containerd's messages by name, each filled.
func messages() map[string]proto.Message {
	all := map[string]proto.Message{}
	protoregistry.GlobalTypes.RangeMessages(func(kind protoreflect.MessageType) bool {
		if isOurs(kind.Descriptor().ParentFile()) && !kind.Descriptor().IsMapEntry() {
			message := kind.New()
			fill(message, 3)
			all[string(kind.Descriptor().FullName())] = message.Interface()
		}
		return true
	})
	return all
}

func writeFilled(path string) {
	all, names := messages(), []string{}
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	file, err := os.Create(path)
	check(err)
	for _, name := range names {
		bytes, err := proto.Marshal(all[name])
		check(err)
		fmt.Fprintf(file, "%s %s\n", name, hex.EncodeToString(bytes))
	}
	check(file.Close())
}

func checkFilled(path string) {
	file, err := os.Open(path)
	check(err)
	all, good := messages(), 0
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		bytes, err := hex.DecodeString(text)
		check(err)
		got := all[name].ProtoReflect().New().Interface()
		if err := proto.Unmarshal(bytes, got); err != nil {
			fmt.Printf("%s\t%v\n", name, err)
		} else if !proto.Equal(got, all[name]) {
			fmt.Printf("%s\tanother message\n", name)
		} else {
			good++
		}
	}
	check(lines.Err())
	fmt.Printf("good\t%d\n", good)
}

func main() {
	if len(os.Args) != 3 {
		check(fmt.Errorf("usage: protobuf_go set|fill|check|call PATH"))
	}
	parts := map[string]func(string){"set": writeSet, "fill": writeFilled, "check": checkFilled, "call": call}
	part := parts[os.Args[1]]
	if part == nil {
		check(fmt.Errorf("no part is called %s", os.Args[1]))
	}
	part(os.Args[2])
}
