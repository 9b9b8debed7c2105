package main

import (
	"bufio"
	"encoding/json"
	"net"
	"strings"
)

// The messages as Go programs of StereOS have them: what is empty is left out, but for those members that are always there.

const maxLine = 1 << 20 // bytes, with the line feed

type envelope struct {
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

type ackPayload struct {
	ReplyTo string `json:"reply_to"`
	OK      bool   `json:"ok"`
	Error   string `json:"error,omitempty"`
}

type agentStatus struct {
	Name     string `json:"name"`
	Running  bool   `json:"running"`
	Session  string `json:"session,omitempty"`
	Restarts int    `json:"restarts"`
	Error    string `json:"error,omitempty"`
}

type healthPayload struct {
	State         string        `json:"state"`
	Agents        []agentStatus `json:"agents,omitempty"`
	UptimeSeconds int64         `json:"uptime_seconds"`
}

type configPayload struct {
	Content string `json:"content"`
}

type secretPayload struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Mode  uint32 `json:"mode,omitempty"`
}

type sshKeyPayload struct {
	User      string `json:"user"`
	PublicKey string `json:"public_key"`
}

type mountPayload struct {
	Tag       string `json:"tag"`
	GuestPath string `json:"guest_path"`
	FSType    string `json:"fs_type"`
	ReadOnly  bool   `json:"read_only,omitempty"`
}

type shutdownPayload struct {
	Reason string `json:"reason,omitempty"`
}

type lifecyclePayload struct {
	State   string `json:"state"`
	Message string `json:"message,omitempty"`
}

// payload may be nil.
func line(kind string, payload interface{}) []byte {
	message := envelope{Type: kind}
	if payload != nil {
		raw, err := json.Marshal(payload)
		check(err)
		message.Payload = raw
	}
	text, err := json.Marshal(message)
	check(err)
	return append(text, '\n')
}

func scan(conn net.Conn) *bufio.Scanner {
	scanner := bufio.NewScanner(conn)
	scanner.Buffer(make([]byte, 0, 64*1024), maxLine)
	return scanner
}

// "tcp:HOST:PORT" or "unix:PATH"
func split(address string) (string, string) {
	at := strings.IndexByte(address, ':')
	return address[:at], address[at+1:]
}
