//go:build pktkit

package main

import (
	"github.com/KarpelesLab/pktkit"
	"github.com/KarpelesLab/pktkit/qemu"
)

type reference struct{ *qemu.Conn }

func (r reference) Handle(fn func([]byte)) {
	r.SetHandler(func(f pktkit.Frame) error {
		fn(f)
		return nil
	})
}

func (r reference) Send(frame []byte) error {
	return r.Conn.Send(pktkit.Frame(frame))
}

type referenceListener struct{ *qemu.Listener }

func (l referenceListener) Accept() (port, error) {
	conn, err := l.Listener.Accept()
	return reference{conn}, err
}

func dial(network, address string) (port, error) {
	conn, err := qemu.Dial(network, address)
	return reference{conn}, err
}

func listen(network, address string) (listener, error) {
	l, err := qemu.Listen(network, address)
	return referenceListener{l}, err
}
