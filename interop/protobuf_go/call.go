package main

import (
	"context"
	"fmt"
	"net"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v2"
	"github.com/containerd/containerd/api/types"
	status "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/anypb"
)

func say(step string, ok bool, got any) {
	if ok {
		fmt.Printf("%s\tok\n", step)
	} else {
		fmt.Printf("%s\tgot %v\n", step, got)
	}
}

// Calls a task service by containerd's own client.
func call(path string) {
	conn, err := net.Dial("unix", path)
	check(err)
	client := ttrpc.NewClient(conn)
	defer client.Close()
	tasks := task.NewTTRPCTaskClient(client)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	created, err := tasks.Create(ctx, &task.CreateTaskRequest{
		ID: "one", Bundle: "/run/one", Terminal: true,
		Rootfs:  []*types.Mount{{Type: "overlay", Source: "o", Options: []string{"a", "b"}}},
		Options: &anypb.Any{TypeUrl: "u", Value: []byte{0, 1}},
	})
	check(err)
	say("create", created.Pid == 4294967295, created)
	state, err := tasks.State(ctx, &task.StateRequest{ID: "one"})
	check(err)
	say("state", state.ID == "one" && state.Status == status.Status_PAUSED && state.ExitedAt.AsTime().UnixNano() == 7000000005, state)
	_, err = tasks.Kill(ctx, &task.KillRequest{ID: "two", Signal: 9, All: true})
	say("kill", err != nil && err.Error() == "rpc error: code = NotFound desc = no task two", err)
	_, err = tasks.Shutdown(ctx, &task.ShutdownRequest{ID: "one", Now: true})
	say("shutdown", err == nil, err)
	_, err = tasks.Pause(ctx, &task.PauseRequest{ID: "one"})
	say("pause", err != nil, "no error")
}
