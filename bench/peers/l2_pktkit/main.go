// pktkit: two ports of its qemu package, wired to each other. Usage: l2_pktkit A B
package main

import (
	"fmt"
	"os"

	"github.com/KarpelesLab/pktkit"
	"github.com/KarpelesLab/pktkit/qemu"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "l2_pktkit:", err)
		os.Exit(1)
	}
}

func main() {
	if len(os.Args) != 3 {
		check(fmt.Errorf("usage: l2_pktkit A B"))
	}
	var listeners [2]*qemu.Listener
	var ports [2]*qemu.Conn
	var err error
	for i := range listeners {
		listeners[i], err = qemu.Listen("unix", os.Args[1+i])
		check(err)
	}
	fmt.Println("ready")
	for i := range ports {
		ports[i], err = listeners[i].Accept()
		check(err)
	}
	pktkit.ConnectL2(ports[0], ports[1])
	<-ports[0].Done()
}
