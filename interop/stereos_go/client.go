package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// The host's side, with the rules of the reference client: one request at a time, ten seconds for each, and the next line
// is the answer, whatever it is.
type client struct {
	conn    net.Conn
	scanner *bufio.Scanner
}

func connect(address string) *client {
	network, where := split(address)
	conn, err := net.DialTimeout(network, where, 5*time.Second)
	check(err)
	return &client{conn: conn, scanner: scan(conn)}
}

func (c *client) reply() (envelope, error) {
	var reply envelope
	if !c.scanner.Scan() {
		if err := c.scanner.Err(); err != nil {
			return reply, err
		}
		return reply, errors.New("the connection ended before the reply")
	}
	err := json.Unmarshal(c.scanner.Bytes(), &reply)
	return reply, err
}

func (c *client) send(text []byte) (envelope, error) {
	if err := c.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return envelope{}, err
	}
	if _, err := c.conn.Write(text); err != nil {
		return envelope{}, err
	}
	return c.reply()
}

func (c *client) ping() error {
	reply, err := c.send(line("ping", nil))
	if err == nil && reply.Type != "pong" {
		err = fmt.Errorf("expected pong, got %s", reply.Type)
	}
	return err
}

func (c *client) health() (healthPayload, error) {
	var health healthPayload
	reply, err := c.send(line("get_health", nil))
	if err == nil && reply.Type != "health" {
		err = fmt.Errorf("expected health, got %s", reply.Type)
	}
	if err == nil && reply.Payload != nil {
		err = json.Unmarshal(reply.Payload, &health)
	}
	return health, err
}

func (c *client) order(kind string, payload interface{}) error {
	reply, err := c.send(line(kind, payload))
	if err != nil {
		return err
	}
	var ack ackPayload
	if reply.Type != "ack" {
		return fmt.Errorf("expected ack, got %s", reply.Type)
	}
	if err := json.Unmarshal(reply.Payload, &ack); err != nil {
		return err
	}
	if !ack.OK {
		return fmt.Errorf("guest error: %s", ack.Error)
	}
	if ack.ReplyTo != kind {
		return fmt.Errorf("ack of %s, expected one of %s", ack.ReplyTo, kind)
	}
	return nil
}

func (c *client) waitForReady(interval, limit time.Duration) error {
	for over := time.Now().Add(limit); time.Now().Before(over); {
		time.Sleep(interval)
		health, err := c.health()
		switch {
		case err != nil:
		case health.State == "ready" || health.State == "healthy":
			return nil
		case health.State == "shutdown":
			return errors.New("the guest is shutting down")
		}
	}
	return errors.New("not ready in time")
}

type step struct {
	Step   string         `json:"step"`
	Error  string         `json:"error"`
	Health *healthPayload `json:"health,omitempty"`
}

func report(name string, err error, health *healthPayload) {
	result := step{Step: name, Health: health}
	if err != nil {
		result.Error = err.Error()
	}
	text, err := json.Marshal(result)
	check(err)
	fmt.Println(string(text))
}

// The steps of the driver in interop/stereos_server.lua; interop/stereos/main.go has the same, for the reference package.
func boot(address string) {
	c := connect(address)
	report("wait_for_ready", c.waitForReady(50*time.Millisecond, 10*time.Second), nil)
	report("ping", c.ping(), nil)
	health, err := c.health()
	report("get_health", err, &health)
	config := configPayload{Content: "[a]\nb = \"<&>\u2028\u2029\\ \u00e4\u20ac\U0001F600\t\"\n"}
	report("set_config", c.order("set_config", config), nil)
	keys := sshKeyPayload{"admin", "ssh-ed25519 AAAA a@b\nssh-rsa BBBB c@d\n"}
	report("inject_ssh_key", c.order("inject_ssh_key", keys), nil)
	report("inject_secret", c.order("inject_secret", secretPayload{"TOKEN", "s3cr3t \x01<>&\"\\\n", 384}), nil)
	report("inject_secret plain", c.order("inject_secret", secretPayload{Name: "EMPTY"}), nil)
	report("mount", c.order("mount", mountPayload{"share0", "/work/a b", "9p", false}), nil)
	report("mount read-only", c.order("mount", mountPayload{"share1", "/data", "virtiofs", true}), nil)
	report("mount refused", c.order("mount", mountPayload{"share2", "/etc", "9p", false}), nil)
	report("ping after a refusal", c.ping(), nil)
	report("shutdown", c.order("shutdown", shutdownPayload{"mb down"}), nil)
}
