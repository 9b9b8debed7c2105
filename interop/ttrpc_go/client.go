package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// A line per step: its name and what came of it, "ok" when it was as it should be.
func report(name, got string, expected ...string) {
	if slices.Contains(expected, got) {
		got = "ok"
	} else {
		got = fmt.Sprintf("expected %.100q, got %.300q", expected, got)
	}
	fmt.Printf("%s\t%s\n", name, got)
}

func shown(text string, err error) string {
	if err == nil {
		return text
	}
	if st, ok := status.FromError(err); ok {
		return st.Code().String() + ": " + st.Message()
	}
	return err.Error()
}

func call(ctx context.Context, c *ttrpc.Client, method, text string) (string, error) {
	var out wrapperspb.StringValue
	err := c.Call(ctx, service, method, wrapperspb.String(text), &out)
	return out.Value, err
}

// The name of the code alone, for texts that may differ.
func code(err error) string {
	return status.Code(err).String()
}

func calls(c *ttrpc.Client) {
	ctx := context.Background()
	report("echo", shown(call(ctx, c, "Echo", "h\u00e4llo")), "h\u00e4llo")
	report("empty", shown(call(ctx, c, "Echo", "")), "")
	for _, number := range []string{"1", "3", "5", "7", "10", "16"} {
		n, _ := strconv.Atoi(number)
		_, err := call(ctx, c, "Fail", number)
		report("status "+number, fmt.Sprint(int(status.Code(err)), " ", status.Convert(err).Message()),
			fmt.Sprint(n, " refused with "+number))
	}
	_, err := call(ctx, c, "Raise", "")
	report("a handler that raises", code(err), "Internal")
	_, err = call(ctx, c, "Nope", "")
	report("unknown method", shown("", err), "Unimplemented: method Nope")
	err = c.Call(ctx, "no.Such", "Nope", wrapperspb.String(""), &wrapperspb.StringValue{})
	report("unknown service", shown("", err), "Unimplemented: service no.Such")
	_, err = call(ctx, c, "Large", "5000000")
	report("result over the limit", code(err), "ResourceExhausted")
	_, err = call(ctx, c, "Echo", strings.Repeat("x", 5000000))
	report("request over the limit", code(err), "ResourceExhausted")
	limit := strings.Repeat("x", 4194304-100)
	report("a message near the limit", fmt.Sprint(shown(call(ctx, c, "Echo", limit)) == limit), "true")
	md := ttrpc.WithMetadata(ctx, ttrpc.MD{"key": {"one", "two"}, "Other": {"x"}})
	report("metadata", shown(call(md, c, "Metadata", "key")), "one,two")
	soon, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err = call(soon, c, "Wait", "")
	report("deadline", fmt.Sprint(err), "context deadline exceeded", // who notices first: this side, or the server
		"rpc error: code = DeadlineExceeded desc = context deadline exceeded: sleep: timed out")
	report("after a deadline", shown(call(ctx, c, "Echo", "again")), "again")
}

func many(c *ttrpc.Client) {
	var group sync.WaitGroup
	var lock sync.Mutex
	good := 0
	for i := 0; i < 64; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			for j := 0; j < 50; j++ {
				text := fmt.Sprintf("%d/%d", i, j)
				if got, err := call(context.Background(), c, "Echo", text); err == nil && got == text {
					lock.Lock()
					good++
					lock.Unlock()
				}
			}
		}(i)
	}
	group.Wait()
	report("64 at once", fmt.Sprint(good), "3200")
}

func open(c *ttrpc.Client, method string, client, server bool, first interface{}) ttrpc.ClientStream {
	s, err := c.NewStream(context.Background(), &ttrpc.StreamDesc{StreamingClient: client, StreamingServer: server},
		service, method, first)
	check(err)
	return s
}

func collect(s ttrpc.ClientStream) string {
	got := []string{}
	for {
		var out wrapperspb.StringValue
		if err := s.RecvMsg(&out); err == io.EOF {
			return strings.Join(append(got, "EOF"), " ")
		} else if err != nil {
			return strings.Join(append(got, shown("", err)), " ")
		}
		got = append(got, out.Value)
	}
}

func streams(c *ttrpc.Client) {
	s := open(c, "Gather", true, false, nil)
	for i := 0; i < 200; i++ {
		check(s.SendMsg(wrapperspb.String("x")))
	}
	check(s.CloseSend())
	var out wrapperspb.StringValue
	err := s.RecvMsg(&out)
	report("client stream", shown(out.Value, err), strings.Repeat("x", 200))
	report("server stream", collect(open(c, "Count", false, true, wrapperspb.String("4"))), "1 2 3 4 EOF")
	numbers := ""
	for i := 1; i <= 300; i++ {
		numbers += strconv.Itoa(i) + " "
	}
	report("long server stream", collect(open(c, "Count", false, true, wrapperspb.String("300"))), numbers+"EOF")
	report("server stream, error", collect(open(c, "Count", false, true, wrapperspb.String("3"))),
		"1 2 3 DataLoss: an odd number")
	s = open(c, "Chat", true, true, nil)
	for _, text := range []string{"a", "", "b"} {
		check(s.SendMsg(wrapperspb.String(text)))
	}
	check(s.CloseSend())
	report("both", collect(s), "<a> <> <b> bye EOF")
}

func drive(conn net.Conn) {
	c := ttrpc.NewClient(conn)
	calls(c)
	streams(c)
	many(c)
	check(c.Close())
}
