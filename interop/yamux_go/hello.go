package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/hashicorp/yamux"
)

const (
	hello, answer = "\xff\xfevmctl?\n", "\xff\xfevmctl!\n"
	nonce         = 16
	port          = 5000
)

// Reads up to a text and what follows it, byte by byte: what comes then is yamux' own.
func skipPast(conn net.Conn, text string, more int) ([]byte, error) {
	var seen []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(seen, []byte(text)) {
		if _, err := io.ReadFull(conn, one); err != nil {
			return nil, err
		}
		seen = append(seen, one[0])
	}
	rest := make([]byte, more)
	_, err := io.ReadFull(conn, rest)
	return rest, err
}

// The guest's side.
func answerHello(conn net.Conn) error {
	number, err := skipPast(conn, hello, nonce)
	if err == nil {
		_, err = conn.Write(append([]byte(answer), number...))
	}
	return err
}

// The host's.
func sayHello(conn net.Conn) error {
	number := make([]byte, nonce)
	rand.Read(number)
	if _, err := conn.Write(append([]byte(hello), number...)); err != nil {
		return err
	}
	_, err := skipPast(conn, answer+string(number), 0)
	return err
}

// The guest's side of a stream: one port is served.
func welcome(session *yamux.Session, stream *yamux.Stream) {
	in := bufio.NewReader(stream)
	line, err := in.ReadString('\n')
	if err != nil || strings.TrimSpace(line) != fmt.Sprint("CONNECT ", port) {
		stream.Close()
		return
	}
	fmt.Fprintf(stream, "OK %d\n", port)
	do(session, stream, in)
}

// The host's: what a port says to a text after its CONNECT.
func askPort(session *yamux.Session, number int, text string) string {
	stream, err := session.OpenStream()
	if err != nil {
		return err.Error()
	}
	defer stream.Close()
	fmt.Fprintf(stream, "CONNECT %d\n", number)
	in := bufio.NewReader(stream)
	line, err := in.ReadString('\n')
	if err != nil {
		return err.Error()
	}
	fmt.Fprint(stream, text)
	stream.Close()
	rest, err := io.ReadAll(in)
	return shown(line+string(rest), err)
}
