// cc-helper's protocol after its document, with encoding/binary alone.
// Usage: cc_go serve SOCKET (a helper) | cc_go drive SOCKET (a client, which says what it was answered)
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
)

const (
	headerSize   = 6
	typeResponse = 0xFF00
	typeError    = 0xFF01
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cc_go:", err)
		os.Exit(1)
	}
}

// Header and payload go out in two writes, as the reference sends them.
func send(conn net.Conn, kind uint16, payload []byte) {
	var header [headerSize]byte
	binary.BigEndian.PutUint16(header[:], kind)
	binary.BigEndian.PutUint32(header[2:], uint32(len(payload)))
	_, err := conn.Write(header[:])
	check(err)
	if len(payload) > 0 {
		_, err = conn.Write(payload)
		check(err)
	}
}

func receive(conn net.Conn) (uint16, []byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return 0, nil, err
	}
	payload := make([]byte, binary.BigEndian.Uint32(header[2:]))
	_, err := io.ReadFull(conn, payload)
	return binary.BigEndian.Uint16(header[:]), payload, err
}

// Puts fields together: integers by their width, strings and bytes with their length.
func fields(values ...any) []byte {
	var b []byte
	for _, value := range values {
		switch v := value.(type) {
		case string:
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
		case []string:
			b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
			for _, each := range v {
				b = append(b, fields(each)...)
			}
		case uint8:
			b = append(b, v)
		case uint32:
			b = binary.BigEndian.AppendUint32(b, v)
		case int32:
			b = binary.BigEndian.AppendUint32(b, uint32(v))
		case uint64:
			b = binary.BigEndian.AppendUint64(b, v)
		case int64:
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		default:
			panic("a field of no type")
		}
	}
	return b
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: cc_go serve|drive SOCKET")
		os.Exit(2)
	}
	if os.Args[1] == "serve" {
		serve(os.Args[2])
	} else {
		drive(os.Args[2])
	}
}
