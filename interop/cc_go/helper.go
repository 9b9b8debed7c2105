package main

import (
	"encoding/binary"
	"fmt"
	"net"
)

// The helper's answers, whatever the fields: its machine is made up.
var answers = map[uint16][]byte{
	0x0103: fields(uint8(0), "0a1b2c3d-0102-0304-0506-0708090a0b0c"),
	0x0104: fields(uint8(0), uint8(7)), // any byte but 0 is true
	0x0200: fields(uint8(0), uint64(1)<<63),
	0x0205: fields(uint8(0), "tmp", int64(4096), uint32(0x801001ff), int64(-1), uint8(1), uint8(0)),
	0x020e: fields(uint8(0), uint32(2), "b", uint8(0), uint32(0), "a", uint8(1), uint32(0x80000000)),
	0x0300: fields(uint8(0)),
	0x0400: fields(uint8(0), uint64(5)),
	0x0402: fields(uint8(0)),
	0x040a: fields(uint8(0), "h\x00\xff", int32(-2)),
	0x0500: fields(uint8(0), uint64(7)),
	0x0501: fields(uint8(0), uint64(8)),
}

var failures = map[uint16][]byte{
	0x0101: fields(uint8(1), "no instance", "", ""),
	0x0207: fields(uint8(7), "remove /x: no such file", "remove", "/x"),
	0x0504: fields(uint8(99), "EOF", "", ""),
}

func converse(conn net.Conn) {
	defer conn.Close()
	for {
		kind, payload, err := receive(conn)
		if err != nil {
			return
		}
		switch {
		case kind == 0x0301: // a file's bytes: as many as were asked for, but only three
			n := binary.BigEndian.Uint32(payload[8:])
			send(conn, typeResponse, fields(uint8(0), "abc"[:min(n, 3)]))
		case failures[kind] != nil:
			send(conn, typeError, failures[kind])
		case answers[kind] != nil:
			send(conn, typeResponse, answers[kind])
		default:
			send(conn, typeError, fields(uint8(2), fmt.Sprintf("unknown message type: 0x%04x", kind), "", ""))
		}
	}
}

func min(a, b uint32) uint32 {
	if a < b {
		return a
	}
	return b
}

func serve(path string) {
	listener, err := net.Listen("unix", path)
	check(err)
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		check(err)
		go converse(conn)
	}
}
