package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type unmarshal = func(interface{}) error

func unary(fn func(context.Context, string) (string, error)) ttrpc.Method {
	return func(ctx context.Context, read unmarshal) (interface{}, error) {
		var in wrapperspb.StringValue
		if err := read(&in); err != nil {
			return nil, err
		}
		text, err := fn(ctx, in.Value)
		if err != nil {
			return nil, err
		}
		return wrapperspb.String(text), nil
	}
}

func echo(_ context.Context, text string) (string, error) { return text, nil }

func fail(_ context.Context, text string) (string, error) {
	number, err := strconv.Atoi(text)
	if err != nil {
		return "", errors.New("plain")
	}
	return "", status.Error(codes.Code(number), "refused with "+text)
}

func wait(ctx context.Context, _ string) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

func metadata(ctx context.Context, key string) (string, error) {
	md, _ := ttrpc.GetMetadata(ctx)
	values, _ := md.Get(key)
	return strings.Join(values, ","), nil
}

func large(_ context.Context, size string) (string, error) {
	n, err := strconv.Atoi(size)
	return strings.Repeat("x", n), err
}

// Adds what it is sent, and answers once.
func gather(_ context.Context, s ttrpc.StreamServer) (interface{}, error) {
	all := ""
	for {
		var in wrapperspb.StringValue
		err := s.RecvMsg(&in)
		if err == io.EOF {
			return wrapperspb.String(all), nil
		} else if err != nil {
			return nil, err
		}
		all += in.Value
	}
}

// Counts up to the number that it is told; one that is not even ends in an error.
func count(_ context.Context, s ttrpc.StreamServer) (interface{}, error) {
	var in wrapperspb.StringValue
	if err := s.RecvMsg(&in); err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(in.Value)
	for i := 1; err == nil && i <= n; i++ {
		err = s.SendMsg(wrapperspb.String(strconv.Itoa(i)))
	}
	if err == nil && n%2 == 1 {
		err = status.Error(codes.DataLoss, "an odd number")
	}
	return nil, err
}

func chat(_ context.Context, s ttrpc.StreamServer) (interface{}, error) {
	for {
		var in wrapperspb.StringValue
		err := s.RecvMsg(&in)
		if err == io.EOF {
			return nil, s.SendMsg(wrapperspb.String("bye"))
		} else if err != nil {
			return nil, err
		}
		if err = s.SendMsg(wrapperspb.String("<" + in.Value + ">")); err != nil {
			return nil, err
		}
	}
}

func serve(listener net.Listener) {
	server, err := ttrpc.NewServer()
	check(err)
	server.RegisterService(service, &ttrpc.ServiceDesc{
		Methods: map[string]ttrpc.Method{
			"Echo": unary(echo), "Fail": unary(fail), "Wait": unary(wait), "Metadata": unary(metadata), "Large": unary(large),
		},
		Streams: map[string]ttrpc.Stream{
			"Gather": {Handler: gather, StreamingClient: true},
			"Count":  {Handler: count, StreamingServer: true},
			"Chat":   {Handler: chat, StreamingClient: true, StreamingServer: true},
		},
	})
	fmt.Println("ready")
	check(server.Serve(context.Background(), listener))
}
