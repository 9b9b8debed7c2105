//go:build !pktkit

package main

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// Written after docs/wire/qemu-l2.md#framing. It takes no frame longer than the reference does.
const (
	head     = 4
	shortest = ethernet
	longest  = 65535
)

type standin struct {
	conn    net.Conn
	sending sync.Mutex
	closing sync.Once
	done    chan struct{}
}

func begin(conn net.Conn) port {
	return &standin{conn: conn, done: make(chan struct{})}
}

func (s *standin) Close() error {
	var err error
	s.closing.Do(func() {
		err = s.conn.Close()
		close(s.done)
	})
	return err
}

func (s *standin) Done() <-chan struct{} { return s.done }

func (s *standin) Send(frame []byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	size := binary.BigEndian.AppendUint32(nil, uint32(len(frame)))
	pieces := net.Buffers{size, frame}
	_, err := pieces.WriteTo(s.conn)
	if err != nil {
		_ = s.Close()
	}
	return err
}

func (s *standin) Handle(fn func([]byte)) {
	go s.read(fn)
}

func (s *standin) read(fn func([]byte)) {
	defer s.Close()
	buffer := make([]byte, longest)
	for {
		if _, err := io.ReadFull(s.conn, buffer[:head]); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(buffer)
		if size < shortest || size > longest {
			return
		}
		if _, err := io.ReadFull(s.conn, buffer[:size]); err != nil {
			return
		}
		fn(buffer[:size])
	}
}

type standinListener struct{ net.Listener }

func (l standinListener) Accept() (port, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return begin(conn), nil
}

func dial(network, address string) (port, error) {
	conn, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	return begin(conn), nil
}

func listen(network, address string) (listener, error) {
	l, err := net.Listen(network, address)
	return standinListener{l}, err
}
