// Both ends of yamux as Go programs have them, on the reference package, in either role; and the hello of vmctl's ports with
// the CONNECT of the hybrid sockets in each stream.
// Usage: yamux_go serve|drive client|server|mux ADDRESS, with an address like unix:PATH. "serve" listens there, "drive" dials.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/yamux"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "yamux_go:", err)
		os.Exit(1)
	}
}

func path(address string) string {
	name, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		check(fmt.Errorf("no address of a Unix socket: %s", address))
	}
	return name
}

const closeTimeout = 2 * time.Second // for the other side to end a stream that this one has closed

func begin(conn net.Conn, role string) *yamux.Session {
	config := yamux.DefaultConfig()
	config.StreamCloseTimeout = closeTimeout
	config.LogOutput = io.Discard // it tells of every stream that was given up
	make := yamux.Server
	if role == "client" {
		config.MaxStreamWindowSize = 1 << 20 // four times what is the default and the least
		make = yamux.Client
	}
	session, err := make(conn, config)
	check(err)
	return session
}

func main() {
	if len(os.Args) != 4 {
		check(fmt.Errorf("usage: yamux_go serve|drive client|server|mux ADDRESS"))
	}
	part, role, name := os.Args[1], os.Args[2], path(os.Args[3])
	var conn net.Conn
	var err error
	if part == "serve" {
		listener, err := net.Listen("unix", name)
		check(err)
		fmt.Println("ready")
		conn, err = listener.Accept()
		check(err)
	} else {
		conn, err = net.Dial("unix", name)
		check(err)
	}
	switch part + " " + role {
	case "serve mux":
		check(answerHello(conn))
		serve(begin(conn, "server"), welcome)
	case "drive mux":
		check(sayHello(conn))
		driveMux(begin(conn, "client"))
	case "serve client", "serve server":
		serve(begin(conn, role), work)
	case "drive client", "drive server":
		session := begin(conn, role)
		go serve(session, work)
		drive(session)
	default:
		check(fmt.Errorf("no part is called %s %s", part, role))
	}
}
