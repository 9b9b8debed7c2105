// go: a wire between two ports with the standard library alone. A goroutine a port reads through a buffer; each frame goes
// out in one gather write, under a mutex, as anybody might send to a port.
// Usage: l2_go A B
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

const (
	head     = 4 // bytes of a frame's length
	shortest = 14
	longest  = 65535
	room     = 64 * 1024 // of one read
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "l2_go:", err)
		os.Exit(1)
	}
}

type port struct {
	conn  net.Conn
	mutex sync.Mutex // of what is written
	head  [head]byte
}

func (p *port) send(frame []byte) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	binary.BigEndian.PutUint32(p.head[:], uint32(len(frame)))
	pieces := net.Buffers{p.head[:], frame}
	_, err := pieces.WriteTo(p.conn)
	return err
}

// Hands each frame that comes to fn, until there are no more.
func (p *port) receive(fn func([]byte) error) error {
	reader, buffer := bufio.NewReaderSize(p.conn, room), make([]byte, longest)
	var size [head]byte
	for {
		if _, err := io.ReadFull(reader, size[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(size[:])
		if n < shortest || n > longest {
			return fmt.Errorf("a frame of %d bytes", n)
		}
		if _, err := io.ReadFull(reader, buffer[:n]); err != nil {
			return err
		}
		if err := fn(buffer[:n]); err != nil {
			return err
		}
	}
}

func main() {
	if len(os.Args) != 3 {
		check(fmt.Errorf("usage: l2_go A B"))
	}
	var listeners [2]net.Listener
	var ports [2]port
	var err error
	for i := range listeners {
		listeners[i], err = net.Listen("unix", os.Args[1+i])
		check(err)
	}
	fmt.Println("ready")
	for i := range ports {
		ports[i].conn, err = listeners[i].Accept()
		check(err)
	}
	over := make(chan error, 2)
	go func() { over <- ports[0].receive(ports[1].send) }()
	go func() { over <- ports[1].receive(ports[0].send) }()
	<-over
}
