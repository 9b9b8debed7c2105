package main

import (
	"fmt"
	"net"
)

type step struct {
	name    string
	kind    uint16
	payload []byte
}

// A session with a helper whose machine is an empty folder.
var steps = []step{
	{"no instance", 0x0205, fields("/")},
	{"new", 0x0100, fields(uint8(1), "/", "", "", uint64(0), int32(0), uint64(0), "", uint8(0), uint32(0))},
	{"running", 0x0104, nil},
	{"write", 0x0204, fields("/a", "hello", uint32(0o640))},
	{"read", 0x0203, fields("/a")},
	{"open", 0x0200, fields("/a")},
	{"piece", 0x0301, fields(uint64(1), uint32(3))},
	{"rest", 0x0301, fields(uint64(1), uint32(100))},
	{"end", 0x0301, fields(uint64(1), uint32(100))},
	{"seek", 0x0303, fields(uint64(1), int64(-2), int32(2))},
	{"close", 0x0300, fields(uint64(1))},
	{"closed", 0x0300, fields(uint64(1))},
	{"short", 0x0200, []byte{0, 0}},
	{"unknown", 0x0999, nil},
	{"free of none", 0x0402, fields(uint64(77))},
	{"command", 0x0400, fields("/bin/echo", []string{"a", "b"})},
	{"output", 0x040a, fields(uint64(2))},
	{"list", 0x020e, fields("/")},
}

// Prints the type and the payload of each answer.
func drive(path string) {
	conn, err := net.Dial("unix", path)
	check(err)
	defer conn.Close()
	for _, each := range steps {
		send(conn, each.kind, each.payload)
		kind, payload, err := receive(conn)
		check(err)
		fmt.Printf("%s\t%04x\t%x\n", each.name, kind, payload)
	}
}
