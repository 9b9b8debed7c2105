// Both ends of ttrpc as Go programs have them, on the reference package.
// Usage: ttrpc_go serve|drive ADDRESS, with an address like unix:PATH
package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

const service = "vmctl.test.Echo"

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "ttrpc_go:", err)
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

func main() {
	if len(os.Args) != 3 {
		check(fmt.Errorf("usage: ttrpc_go serve|drive ADDRESS"))
	}
	switch name := path(os.Args[2]); os.Args[1] {
	case "serve":
		listener, err := net.Listen("unix", name)
		check(err)
		serve(listener)
	case "drive":
		conn, err := net.Dial("unix", name)
		check(err)
		drive(conn)
	default:
		check(fmt.Errorf("no part is called %s", os.Args[1]))
	}
}
