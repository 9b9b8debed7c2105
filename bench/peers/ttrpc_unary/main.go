// ttrpc_unary: unary calls by the reference package, a goroutine for each call in flight. As on our side, a call has a limit
// of 60 seconds that the server is told of, and the message is one text of 64 bytes, which comes back.
// Usage: ttrpc_unary server SOCKET | ttrpc_unary client SOCKET FLIGHT WARMUP COUNT
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	service = "vmctl.bench.Echo"
	limit   = 60 * time.Second
)

var text = strings.Repeat("x", 64)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "ttrpc_unary:", err)
		os.Exit(1)
	}
}

func echo(_ context.Context, read func(interface{}) error) (interface{}, error) {
	var in wrapperspb.StringValue
	if err := read(&in); err != nil {
		return nil, err
	}
	return wrapperspb.String(in.Value), nil
}

func serve(path string) {
	server, err := ttrpc.NewServer()
	check(err)
	server.RegisterService(service, &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{"Echo": echo}})
	listener, err := net.Listen("unix", path)
	check(err)
	fmt.Println("ready")
	check(server.Serve(context.Background(), listener))
}

func call(client *ttrpc.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var out wrapperspb.StringValue
	check(client.Call(ctx, service, "Echo", wrapperspb.String(text), &out))
	if out.Value != text {
		check(fmt.Errorf("another text came back: %.100q", out.Value))
	}
}

// Calls count times in all, and returns how long that took.
func run(client *ttrpc.Client, flight, count int) time.Duration {
	var group sync.WaitGroup
	start := time.Now()
	for i := 0; i < flight; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for j := count / flight; j > 0; j-- {
				call(client)
			}
		}()
	}
	group.Wait()
	return time.Since(start)
}

func number(word string) int {
	n, err := strconv.Atoi(word)
	check(err)
	return n
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "server" {
		serve(os.Args[2])
	}
	if len(os.Args) != 6 || os.Args[1] != "client" {
		check(fmt.Errorf("usage: ttrpc_unary server SOCKET | client SOCKET FLIGHT WARMUP COUNT"))
	}
	conn, err := net.Dial("unix", os.Args[2])
	check(err)
	client := ttrpc.NewClient(conn)
	flight, warmup, count := number(os.Args[3]), number(os.Args[4]), number(os.Args[5])
	run(client, flight, warmup)
	fmt.Printf("RESULT rate=%.9g\n", float64(count)/run(client, flight, count).Seconds())
}
