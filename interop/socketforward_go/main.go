// The host's side of socket forwarding on the reference's ttrpc package, against a guest's service.
// Usage: socketforward_go FOLDER, with rpc.sock and streams.sock in it. A line per step: its name, "ok" or what was wrong.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

const service = "nerdbox.services.socketforward.v1.SocketForward"

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "socketforward_go:", err)
		os.Exit(1)
	}
}

func report(name string, got, expected interface{}) {
	said := "ok"
	if fmt.Sprint(got) != fmt.Sprint(expected) {
		said = fmt.Sprintf("expected %.200q, got %.200q", fmt.Sprint(expected), fmt.Sprint(got))
	}
	fmt.Printf("%s\t%s\n", name, said)
}

func dial(path string) net.Conn {
	conn, err := net.Dial("unix", path)
	check(err)
	check(conn.SetDeadline(time.Now().Add(10 * time.Second)))
	return conn
}

func openStream(folder, id string) (net.Conn, string) {
	conn := dial(folder + "/streams.sock")
	check(binary.Write(conn, binary.BigEndian, uint32(len(id))))
	_, err := io.WriteString(conn, id)
	check(err)
	var length uint32
	check(binary.Read(conn, binary.BigEndian, &length))
	answer := make([]byte, length)
	_, err = io.ReadFull(conn, answer)
	check(err)
	return conn, string(answer)
}

func bind(c *ttrpc.Client, folder string) {
	ctx := context.Background()
	good := bindRequest([2]string{"one", folder + "/fwd/one.sock"}, [2]string{"two", folder + "/fwd/two.sock"})
	report("bind", c.Call(ctx, service, "Bind", good, &emptypb.Empty{}), "<nil>")
	bad := bindRequest([2]string{"three", folder + "/fwd/three.sock"}, [2]string{"bad", "/etc/bad.sock"})
	err := c.Call(ctx, service, "Bind", bad, &emptypb.Empty{})
	report("bind outside the folder", status.Code(err), "PermissionDenied")
	_, err = os.Stat(folder + "/fwd/three.sock")
	report("nothing of it is bound", os.IsNotExist(err), true)
}

func accept(c *ttrpc.Client) ttrpc.ClientStream {
	s, err := c.NewStream(context.Background(), &ttrpc.StreamDesc{StreamingClient: true, StreamingServer: true},
		service, "Accept", nil)
	check(err)
	return s
}

// A process connects to a forward, the guest asks, the host answers as it is told.
func connect(s ttrpc.ClientStream, folder, forward string) (net.Conn, string) {
	process := dial(folder + "/fwd/" + forward + ".sock")
	_, err := io.WriteString(process, "from the process")
	check(err)
	request := empty("ConnectRequest")
	check(s.RecvMsg(request))
	report("request of "+forward, get(request, "forward_id"), forward)
	return process, get(request, "stream_id")
}

func converse(s ttrpc.ClientStream, folder string) {
	process, id := connect(s, folder, "one")
	report("form of the id", strings.HasPrefix(id, "socketfwd-") && len(id) == 36, true)
	stream, answer := openStream(folder, id)
	report("stream is acknowledged", answer, id)
	_, again := openStream(folder, id)
	report("the same id again", again, `stream "`+id+`" already exists`)
	check(s.SendMsg(result(id, "")))
	got := make([]byte, 16)
	_, err := io.ReadFull(stream, got)
	report("bytes to the host", fmt.Sprint(string(got), err), "from the process<nil>")
	_, err = io.WriteString(stream, "from the host")
	check(err)
	check(stream.(*net.UnixConn).CloseWrite())
	all, err := io.ReadAll(process)
	report("bytes to the guest, and its end", fmt.Sprint(string(all), err), "from the host<nil>")
	_, err = io.WriteString(process, "after that")
	check(err)
	check(process.Close())
	all, err = io.ReadAll(stream)
	report("half-close", fmt.Sprint(string(all), err), "after that<nil>")
}

func refuse(s ttrpc.ClientStream, folder string) {
	for _, text := range []string{"failed to dial host socket", "unknown forward ID: two"} {
		process, id := connect(s, folder, "two")
		check(s.SendMsg(result(id, text)))
		n, err := process.Read(make([]byte, 1))
		report(text, fmt.Sprint(n, strings.Contains(fmt.Sprint(err), "connection reset")), "0 true")
	}
}

func main() {
	folder := os.Args[1]
	conn, err := net.Dial("unix", folder+"/rpc.sock")
	check(err)
	c := ttrpc.NewClient(conn)
	bind(c, folder)
	s := accept(c)
	converse(s, folder)
	refuse(s, folder)
	check(s.CloseSend())
	report("the end of Accept", s.RecvMsg(empty("ConnectRequest")), io.EOF)
	check(c.Close())
}
