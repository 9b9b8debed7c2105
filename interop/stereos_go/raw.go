package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// Sends lines that no client library sends: each case prints its name and the reply lines as they came.
func raw(address string) {
	for _, one := range []struct{ name, text string }{
		{"not JSON", "hello\n"},
		{"cut object", "{\"type\":\n"},
		{"list", "[1]\n"},
		{"two objects", "{\"type\":\"ping\"}{\"type\":\"ping\"}\n"},
		{"type a number", "{\"type\":1}\n"},
		{"empty object", "{}\n"},
		{"null", "null\n"},
		{"unknown type", "{\"type\":\"frob<>\"}\n"},
		{"no payload", "{\"type\":\"set_config\"}\n"},
		{"payload a list", "{\"type\":\"mount\",\"payload\":[]}\n"},
		{"mode a string", "{\"type\":\"inject_secret\",\"payload\":{\"name\":\"a\",\"value\":\"b\",\"mode\":\"0600\"}}\n"},
		{"mode over 32 bits", "{\"type\":\"inject_secret\",\"payload\":{\"name\":\"a\",\"value\":\"b\",\"mode\":4294967296}}\n"},
		{"empty lines and CR", "\n\r\n{\"type\":\"ping\"}\r\n"},
		{"ping with a payload", "{\"type\":\"ping\",\"payload\":{\"x\":18446744073709551616}}\n"},
	} {
		c := connect(address)
		reply(c, one.name, []byte(one.text), 1)
		reply(c, one.name+", then a ping", line("ping", nil), 1)
		check(c.conn.Close())
	}
	long(address, "longest line", maxLine-1)
	long(address, "line too long", maxLine)
	pipeline(address)
}

func reply(c *client, name string, text []byte, count int) {
	check(c.conn.SetDeadline(time.Now().Add(10 * time.Second)))
	if _, err := c.conn.Write(text); err != nil {
		fmt.Printf("%s\t! %v\n", name, err)
		return
	}
	for ; count > 0; count-- {
		if c.scanner.Scan() {
			fmt.Printf("%s\t%s\n", name, c.scanner.Text())
		} else {
			fmt.Printf("%s\t! end: %v\n", name, c.scanner.Err())
			return
		}
	}
}

// A set_config line of that many bytes before its line feed.
func long(address, name string, size int) {
	empty := len(line("set_config", configPayload{})) - 1
	c := connect(address)
	reply(c, name, line("set_config", configPayload{Content: strings.Repeat("x", size-empty)}), 1)
	check(c.conn.Close())
}

func pipeline(address string) {
	c := connect(address)
	var all []byte
	for i := 0; i < 32; i++ {
		all = append(all, line("ping", nil)...)
		all = append(all, line("get_health", nil)...)
	}
	check(c.conn.SetDeadline(time.Now().Add(10 * time.Second)))
	_, err := c.conn.Write(all)
	check(err)
	order := new(bytes.Buffer)
	for i := 0; i < 64; i++ {
		answer, err := c.reply()
		check(err)
		order.WriteString(answer.Type[:1])
	}
	fmt.Printf("pipeline\t%s\n", order)
}
