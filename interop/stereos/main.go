// The reference client package against our server: the steps of interop/stereos_go's "boot", each reported as one line.
// Not tried yet with the package itself: where this was written, the module proxy did not give it out.
// Usage: stereos ADDRESS, with an address like unix:PATH or tcp:HOST:PORT
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/papercomputeco/masterblaster/pkg/vsock"
)

type step struct {
	Step   string               `json:"step"`
	Error  string               `json:"error"`
	Health *vsock.HealthPayload `json:"health,omitempty"`
}

func report(name string, err error, health *vsock.HealthPayload) {
	result := step{Step: name, Health: health}
	if err != nil {
		result.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		die(err)
	}
}

func die(err error) {
	fmt.Fprintln(os.Stderr, "stereos:", err)
	os.Exit(1)
}

func dial(address string) *vsock.FuncTransport {
	at := strings.IndexByte(address, ':')
	return &vsock.FuncTransport{
		Label: address,
		DialFn: func(timeout time.Duration) (net.Conn, error) {
			return net.DialTimeout(address[:at], address[at+1:], timeout)
		},
	}
}

func main() {
	if len(os.Args) != 2 {
		die(fmt.Errorf("usage: stereos ADDRESS"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client, err := vsock.Connect(dial(os.Args[1]), 5*time.Second)
	if err != nil {
		die(err)
	}
	defer client.Close()
	report("wait_for_ready", client.WaitForReady(ctx, 50*time.Millisecond), nil)
	report("ping", client.Ping(ctx), nil)
	health, err := client.GetHealth(ctx)
	report("get_health", err, health)
	report("set_config", client.SetConfig(ctx, "[a]\nb = \"<&>\u2028\u2029\\ \u00e4\u20ac\U0001F600\t\"\n"), nil)
	report("inject_ssh_key", client.InjectSSHKey(ctx, "admin", "ssh-ed25519 AAAA a@b\nssh-rsa BBBB c@d\n"), nil)
	report("inject_secret", client.InjectSecret(ctx, "TOKEN", "s3cr3t \x01<>&\"\\\n"), nil)
	report("mount", client.Mount(ctx, "share0", "/work/a b", "9p", false), nil)
	report("mount read-only", client.Mount(ctx, "share1", "/data", "virtiofs", true), nil)
	report("mount refused", client.Mount(ctx, "share2", "/etc", "9p", false), nil)
	report("ping after a refusal", client.Ping(ctx), nil)
	report("shutdown", client.Shutdown(ctx, "mb down"), nil)
}
