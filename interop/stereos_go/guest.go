package main

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// The guest's side: one goroutine a connection, replies in the order of the requests. It prints what it was asked, and
// plays some guests that a client must get along with.
type guest struct {
	talkative bool // sends a lifecycle line before each reply
	mutex     sync.Mutex
	asked     int // for its health
}

func (g *guest) say(conn net.Conn, kind string, payload interface{}) {
	if g.talkative {
		_, err := conn.Write(line("lifecycle", lifecyclePayload{"healthy", "before <" + kind + ">"}))
		check(err)
	}
	_, err := conn.Write(line(kind, payload))
	check(err)
}

// Booting for the first two questions, then healthy, with numbers that no float holds.
func (g *guest) health() healthPayload {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.asked++
	if g.asked <= 2 {
		return healthPayload{State: "booting"}
	}
	return healthPayload{State: "healthy", UptimeSeconds: 9007199254740993, Agents: []agentStatus{
		{Name: "one", Running: true, Session: "<s>", Restarts: -1},
		{Name: "two", Error: "it & \u2028 failed"},
	}}
}

// Decodes the payload that each request needs, as strictly as Go does.
func decode(request envelope) error {
	targets := map[string]interface{}{
		"set_config": &configPayload{}, "inject_secret": &secretPayload{}, "inject_ssh_key": &sshKeyPayload{},
		"mount": &mountPayload{}, "shutdown": &shutdownPayload{},
	}
	target, known := targets[request.Type]
	switch {
	case !known:
		return fmt.Errorf("unknown message type: %s", request.Type)
	case request.Payload == nil && request.Type == "shutdown":
		return nil
	case request.Payload == nil:
		return fmt.Errorf("decode payload: envelope %s has no payload", request.Type)
	}
	if err := json.Unmarshal(request.Payload, target); err != nil {
		return fmt.Errorf("decode payload: %v", err)
	}
	if secret, is := target.(*secretPayload); is && strings.Contains(secret.Name, "/") {
		return fmt.Errorf("invalid secret name %q", secret.Name)
	}
	return nil
}

// False when the connection is to be closed.
func (g *guest) answer(conn net.Conn, text []byte) bool {
	var request envelope
	if err := json.Unmarshal(text, &request); err != nil {
		g.say(conn, "ack", ackPayload{Error: "malformed JSON: " + err.Error()})
		return true
	}
	if len(text) < 1000 {
		fmt.Println(string(text))
	} else {
		fmt.Printf("{\"type\":\"long\",\"payload\":{\"bytes\":%d}}\n", len(text)+1)
	}
	switch request.Type {
	case "ping":
		g.say(conn, "pong", nil)
	case "get_health":
		g.say(conn, "health", g.health())
	case "say_garbage":
		_, err := conn.Write([]byte("{garbage}\n"))
		check(err)
	case "say_too_much":
		_, err := conn.Write([]byte(strings.Repeat(" ", maxLine) + "\n"))
		return err == nil
	case "hang_up":
		return false
	case "sleep":
		time.Sleep(500 * time.Millisecond)
		g.say(conn, "ack", ackPayload{ReplyTo: "sleep", OK: true})
	default:
		ack := ackPayload{ReplyTo: request.Type, OK: true}
		if err := decode(request); err != nil {
			ack.OK, ack.Error = false, err.Error()
		}
		g.say(conn, "ack", ack)
	}
	return true
}

func (g *guest) converse(conn net.Conn) {
	defer conn.Close()
	scanner := scan(conn)
	for scanner.Scan() {
		if len(scanner.Bytes()) > 0 && !g.answer(conn, scanner.Bytes()) {
			return
		}
	}
}

func serve(address string, talkative bool) {
	network, where := split(address)
	listener, err := net.Listen(network, where)
	check(err)
	fmt.Println("ready")
	g := &guest{talkative: talkative}
	for {
		conn, err := listener.Accept()
		check(err)
		go g.converse(conn)
	}
}
