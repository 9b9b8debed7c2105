// go: StereOS' control plane with the standard library alone. The server has a goroutine a connection; the client has one
// reader a connection, and a goroutine for each ping in flight. With one in flight that goroutine reads by itself, as the
// reference client does.
// Usage: stereos_go server SOCKET | stereos_go client SOCKET CONNECTIONS FLIGHT WARMUP COUNT
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

const maxLine = 1 << 20 // bytes, with the line feed

type envelope struct {
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

type ack struct {
	ReplyTo string `json:"reply_to"`
	OK      bool   `json:"ok"`
	Error   string `json:"error,omitempty"`
}

func die(err error) {
	fmt.Fprintln(os.Stderr, "stereos_go:", err)
	os.Exit(1)
}

func check(err error) {
	if err != nil {
		die(err)
	}
}

func lines(conn net.Conn) *bufio.Scanner {
	scanner := bufio.NewScanner(conn)
	scanner.Buffer(make([]byte, 0, 64*1024), maxLine)
	return scanner
}

func refuse(to, why string) envelope {
	payload, err := json.Marshal(ack{ReplyTo: to, Error: why})
	check(err)
	return envelope{Type: "ack", Payload: payload}
}

func answer(line []byte) envelope {
	var request envelope
	if err := json.Unmarshal(line, &request); err != nil {
		return refuse("", "malformed JSON: "+err.Error())
	}
	switch request.Type {
	case "ping":
		return envelope{Type: "pong"}
	default:
		return refuse(request.Type, "unknown message type: "+request.Type)
	}
}

// An encoder writes each message, its line feed included, at once.
func converse(conn net.Conn) {
	defer conn.Close()
	scanner, encoder := lines(conn), json.NewEncoder(conn)
	for scanner.Scan() {
		if encoder.Encode(answer(scanner.Bytes())) != nil {
			return
		}
	}
}

func serve(path string) {
	listener, err := net.Listen("unix", path)
	check(err)
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		check(err)
		go converse(conn)
	}
}

type client struct {
	scanner *bufio.Scanner
	encoder *json.Encoder
	mutex   sync.Mutex         // of what is written, and of the queue's order
	waiting chan chan envelope // in the order of the requests
}

func connect(path string, flight int) *client {
	conn, err := net.Dial("unix", path)
	check(err)
	return &client{scanner: lines(conn), encoder: json.NewEncoder(conn), waiting: make(chan chan envelope, flight)}
}

func (c *client) next() envelope {
	if !c.scanner.Scan() {
		die(fmt.Errorf("the server closed the connection: %v", c.scanner.Err()))
	}
	var reply envelope
	check(json.Unmarshal(c.scanner.Bytes(), &reply))
	return reply
}

func (c *client) read() {
	for reply := range c.waiting {
		reply <- c.next()
	}
}

func (c *client) send(reply chan envelope) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	check(c.encoder.Encode(envelope{Type: "ping"}))
	if reply != nil {
		c.waiting <- reply
	}
}

func expectPong(reply envelope) {
	if reply.Type != "pong" {
		die(fmt.Errorf("expected pong, got %s", reply.Type))
	}
}

func (c *client) pings(count int) {
	reply := make(chan envelope, 1)
	for ; count > 0; count-- {
		c.send(reply)
		expectPong(<-reply)
	}
}

func (c *client) pingsAlone(count int) {
	for ; count > 0; count-- {
		c.send(nil)
		expectPong(c.next())
	}
}

// Pings count times in all, and returns how long that took.
func run(clients []*client, flight, count int) time.Duration {
	var group sync.WaitGroup
	each := count / (len(clients) * flight)
	start := time.Now()
	for i := 0; i < len(clients)*flight; i++ {
		group.Add(1)
		go func(c *client) {
			defer group.Done()
			if flight == 1 {
				c.pingsAlone(each)
			} else {
				c.pings(each)
			}
		}(clients[i%len(clients)])
	}
	group.Wait()
	return time.Since(start)
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "server" {
		serve(os.Args[2])
	}
	if len(os.Args) != 7 || os.Args[1] != "client" {
		die(fmt.Errorf("usage: stereos_go server SOCKET | client SOCKET CONNECTIONS FLIGHT WARMUP COUNT"))
	}
	flight, warmup, count := number(os.Args[4]), number(os.Args[5]), number(os.Args[6])
	var clients []*client
	for i := number(os.Args[3]); i > 0; i-- {
		c := connect(os.Args[2], flight)
		if flight > 1 {
			go c.read()
		}
		clients = append(clients, c)
	}
	run(clients, flight, warmup)
	fmt.Printf("RESULT rate=%.9g\n", float64(count)/run(clients, flight, count).Seconds())
}
