// Both ends of StereOS' control plane as Go programs have them (bufio.Scanner, encoding/json), with the standard library
// alone: written after the wire format, for machines where the reference client package is not to be had.
// Usage: stereos_go boot|raw|guest|talkative ADDRESS, with an address like unix:PATH or tcp:HOST:PORT
package main

import (
	"fmt"
	"os"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "stereos_go:", err)
		os.Exit(1)
	}
}

func main() {
	if len(os.Args) != 3 {
		check(fmt.Errorf("usage: stereos_go boot|raw|guest|talkative ADDRESS"))
	}
	switch address := os.Args[2]; os.Args[1] {
	case "boot":
		boot(address)
	case "raw":
		raw(address)
	case "guest", "talkative":
		serve(address, os.Args[1] == "talkative")
	default:
		check(fmt.Errorf("no part is called %s", os.Args[1]))
	}
}
