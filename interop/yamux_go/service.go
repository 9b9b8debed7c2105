package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/hashicorp/yamux"
)

// Bytes that say where they belong: no piece on the wire has a multiple of 251 of them.
func pattern(size int) []byte {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i % 251)
	}
	return data
}

func sum(data []byte) string {
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

func serve(session *yamux.Session, fn func(*yamux.Session, *yamux.Stream)) {
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return
		}
		go fn(session, stream)
	}
}

// Does what a stream's first line asks for: interop/yamux_service.lua has the same in Lua.
func work(session *yamux.Session, stream *yamux.Stream) {
	do(session, stream, bufio.NewReader(stream))
}

func do(session *yamux.Session, stream *yamux.Stream, in *bufio.Reader) {
	defer stream.Close()
	line, err := in.ReadString('\n')
	if err != nil {
		return
	}
	words := strings.Fields(line + " 0")
	number, _ := strconv.Atoi(words[1])
	switch words[0] {
	case "echo":
		io.Copy(stream, in)
	case "count":
		all, _ := io.ReadAll(in)
		fmt.Fprint(stream, len(all))
	case "both":
		both(stream, in, number)
	case "open":
		fmt.Fprint(stream, openBack(session, number))
	case "ping":
		fmt.Fprint(stream, pings(session, number))
	case "goaway":
		fmt.Fprint(stream, shown("said", session.GoAway()))
		io.ReadAll(in)
		fmt.Fprint(stream, " and done")
	case "leave": // the deferred Close, and no reading
	}
}

func both(stream *yamux.Stream, in io.Reader, size int) {
	read := make(chan string)
	go func() {
		all, _ := io.ReadAll(in)
		read <- sum(all)
	}()
	if _, err := stream.Write(pattern(size)); err == nil {
		fmt.Fprint(stream, <-read)
	}
}

// Sends a text on a new stream, and returns the whole answer.
func ask(session *yamux.Session, line, text string) (string, error) {
	stream, err := session.OpenStream()
	if err != nil {
		return "", err
	}
	if _, err = fmt.Fprint(stream, line, "\n", text); err != nil {
		return "", err
	}
	if err = stream.Close(); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(stream)
	return string(answer), err
}

func openBack(session *yamux.Session, number int) string {
	for i := 0; i < number; i++ {
		text := fmt.Sprint("number ", i)
		if got, err := ask(session, "echo", text); err != nil || got != text {
			return fmt.Sprintf("stream %d: %q, %v", i, got, err)
		}
	}
	return "ok"
}

func pings(session *yamux.Session, number int) string {
	for i := 0; i < number; i++ {
		if _, err := session.Ping(); err != nil {
			return err.Error()
		}
	}
	return "ok"
}

func shown(text string, err error) string {
	if err != nil {
		return err.Error()
	}
	return text
}
