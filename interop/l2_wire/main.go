// One end of an Ethernet wire for vmctl to talk to: each frame goes back to whom it came from. Built with the tag pktkit it is
// on that package, else on the standard library alone, for machines where that package is not to be had.
// Usage: l2_wire dial|listen NETWORK ADDRESS
package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
)

const (
	ethernet = 14     // bytes of two addresses and a type
	command  = 0x88b6 // the type of frames that say what to do
	number   = ethernet + 4
	oversize = 4096 + 65536 // the longest frame that QEMU takes
)

type port interface {
	Handle(fn func(frame []byte)) // a frame stays only until fn returns
	Send(frame []byte) error
	Done() <-chan struct{}
	Close() error
}

type listener interface {
	Accept() (port, error)
	Addr() net.Addr
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "l2_wire:", err)
		os.Exit(1)
	}
}

// To all, from an address of our own.
func frame(kind uint16, size int) []byte {
	f := make([]byte, size)
	copy(f, []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 1, 1})
	binary.BigEndian.PutUint16(f[12:], kind)
	return f
}

// A failure is the end of the wire, of which Done tells.
func burst(p port, count, size int) {
	for i := 1; i <= count; i++ {
		f := frame(0x88b5, size)
		binary.BigEndian.PutUint32(f[ethernet:], uint32(i))
		_ = p.Send(f)
	}
}

func obey(p port, text string) {
	var count, size int
	if text == "close" {
		_ = p.Close()
	} else if text == "oversize" {
		_ = p.Send(frame(0x88b5, oversize))
	} else if n, _ := fmt.Sscanf(text, "burst %d %d", &count, &size); n == 2 && size >= number {
		go burst(p, count, size) // who reads must not wait for who writes
	} else {
		check(fmt.Errorf("no command is called %q", text))
	}
}

func reply(p port, f []byte) {
	var to [6]byte
	copy(to[:], f)
	copy(f, f[6:12])
	copy(f[6:12], to[:])
	_ = p.Send(f)
}

// Says hello when frames are heard: what came before might be lost.
func converse(p port) {
	p.Handle(func(f []byte) {
		if binary.BigEndian.Uint16(f[12:]) == command {
			obey(p, string(f[ethernet:]))
		} else {
			reply(p, f)
		}
	})
	hello := frame(command, ethernet+len("hello"))
	copy(hello[ethernet:], "hello")
	_ = p.Send(hello)
	<-p.Done()
	fmt.Println("closed")
}

func main() {
	if len(os.Args) == 4 && os.Args[1] == "dial" {
		p, err := dial(os.Args[2], os.Args[3])
		check(err)
		converse(p)
	} else if len(os.Args) == 4 && os.Args[1] == "listen" {
		l, err := listen(os.Args[2], os.Args[3])
		check(err)
		fmt.Println(l.Addr())
		for {
			p, err := l.Accept()
			check(err)
			go converse(p)
		}
	} else {
		check(fmt.Errorf("usage: l2_wire dial|listen NETWORK ADDRESS"))
	}
}
