package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/yamux"
)

const large = 16 << 20 // bytes

// A line per step: its name and what came of it, "ok" when it was as it should be.
func report(name, got, expected string) {
	if got == expected {
		got = "ok"
	} else {
		got = fmt.Sprintf("expected %.100q, got %.300q", expected, got)
	}
	fmt.Printf("%s\t%s\n", name, got)
}

func asked(session *yamux.Session, line, text string) string {
	return shown(ask(session, line, text))
}

func bothWays(session *yamux.Session) string {
	stream, err := session.OpenStream()
	check(err)
	data := pattern(large)
	go func() {
		fmt.Fprintf(stream, "both %d\n", large)
		stream.Write(data)
		stream.Close()
	}()
	got, err := io.ReadAll(stream)
	if err != nil || len(got) < large {
		return fmt.Sprintf("%d bytes, %v", len(got), err)
	}
	return sum(got[:large]) + " " + string(got[large:])
}

func many(session *yamux.Session, number int) string {
	var group sync.WaitGroup
	var good atomic.Int32
	for i := 0; i < number; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			text := strings.Repeat(fmt.Sprint(i, " "), 5000)
			if asked(session, "echo", text) == text {
				good.Add(1)
			}
		}(i)
	}
	group.Wait()
	return fmt.Sprint(good.Load())
}

// Streams that are not read hold up no other.
func unread(session *yamux.Session) string {
	for i := 0; i < 5; i++ {
		stream, err := session.OpenStream()
		check(err)
		fmt.Fprintf(stream, "both %d\n", 4<<20)
		defer stream.Close()
	}
	return asked(session, "echo", "beside")
}

// The peer closes without having read: it says so.
func left(session *yamux.Session) string {
	stream, err := session.OpenStream()
	check(err)
	fmt.Fprint(stream, "leave\n")
	for err == nil {
		_, err = stream.Write(make([]byte, 1<<16))
	}
	return err.Error()
}

func goAway(session *yamux.Session) {
	stream, err := session.OpenStream()
	check(err)
	fmt.Fprint(stream, "goaway\n")
	said := make([]byte, 4)
	_, err = io.ReadFull(stream, said)
	report("the peer says go away", shown(string(said), err), "said")
	_, err = session.OpenStream()
	report("no stream after that", shown("a stream", err), yamux.ErrRemoteGoAway.Error())
	stream.Close()
	rest, err := io.ReadAll(stream)
	report("what was open goes on", shown(string(rest), err), " and done")
}

func drive(session *yamux.Session) {
	report("echo", asked(session, "echo", "hello"), "hello")
	report("nothing", asked(session, "echo", ""), "")
	report("half-close", asked(session, "count", strings.Repeat("x", 1000000)), "1000000")
	expected := sum(pattern(large))
	report("16 MiB both ways", bothWays(session), expected+" "+expected)
	report("500 streams at once", many(session, 500), "500")
	report("the peer opens streams", asked(session, "open 50", ""), "ok")
	report("pings", pings(session, 50), "ok")
	report("pings of the peer", asked(session, "ping 50", ""), "ok")
	report("beside streams that are not read", unread(session), "beside")
	report("a peer that closes unread", left(session), yamux.ErrConnectionReset.Error())
	report("after all that", asked(session, "echo", "again"), "again")
	goAway(session)
	check(session.Close())
}

func driveMux(session *yamux.Session) {
	report("CONNECT", askPort(session, port, "echo\nhello"), "OK 5000\nhello")
	report("CONNECT to a port that is not served", askPort(session, port+1, "echo\n"), "EOF")
	report("CONNECT and a million bytes", askPort(session, port, "count\n"+strings.Repeat("x", 1000000)), "OK 5000\n1000000")
	report("ping", pings(session, 5), "ok")
	check(session.Close())
}
