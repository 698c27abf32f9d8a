package program

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/version"
	"github.com/curfew-project/curfew/shared/step"
)

// hang bounds what must happen some time; it decides nothing.
const hang = time.Minute

// output is what a program writes, while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// field is that of the first line of the log with a message.
func (o *output) field(message, name string) string {
	for _, line := range strings.Split(o.String(), "\n") {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["message"] == message {
			text, _ := fields[name].(string)
			return text
		}
	}
	return ""
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hang); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// unused is the role of a program that must not get as far.
func unused(t *testing.T) Role {
	t.Helper()
	return func(context.Context, *Process) error {
		t.Error("the role runs")
		return nil
	}
}

// file writes a configuration and returns its path.
func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "curfew.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const plain = `
name     = "one"
key_file = "/k"
store "postgres" { url = "postgres://curfew@127.0.0.1:1/curfew" }
nats  { servers = ["nats://127.0.0.1:1"] }
redis { addresses = ["127.0.0.1:1"] }
`

// Bad usage is 2, every other failure 1; what is asked for goes to standard
// output, everything else to standard error, and the role does not run.
func TestUsage(t *testing.T) {
	t.Parallel()
	good := file(t, plain)
	for name, c := range map[string]struct {
		args           []string
		env            map[string]string
		code           int
		stdout, stderr string // parts
	}{
		"help":                     {[]string{"-h"}, nil, 0, "", "curfew-revoker: Take"},
		"unknown flag":             {[]string{"-nosuch"}, nil, 2, "", "-nosuch"},
		"an argument":              {[]string{"-config=" + good, "now"}, nil, 2, "", `takes no argument "now"`},
		"version":                  {[]string{"-version"}, nil, 0, "curfew-revoker " + version.Version + "\n", ""},
		"no configuration":         {nil, nil, 1, "", "-config=FILE is needed"},
		"no such file":             {[]string{"-config=/nonexistent/x"}, nil, 1, "", "no such file"},
		"unknown key":              {[]string{"-config=" + file(t, plain+"nosuch = 1\n")}, nil, 1, "", `unknown key "nosuch"`},
		"every fault":              {[]string{"-config=" + file(t, `name = "x"`)}, nil, 1, "", "redis needs addresses"},
		"and the first":            {[]string{"-config=" + file(t, `name = "x"`)}, nil, 1, "", "key_file is needed"},
		"bad level by flag":        {[]string{"-config=" + good, "-log-level=loud"}, nil, 1, "", `log_level "loud"`},
		"bad level by environment": {[]string{"-config=" + good}, map[string]string{"CURFEW_LOG_LEVEL": "loud"}, 1, "", `log_level "loud"`},
		"bad environment":          {[]string{"-config=" + good}, map[string]string{"CURFEW_AUTO_INIT": "perhaps"}, 1, "", "CURFEW_AUTO_INIT"},
		"check":                    {[]string{"-config=" + good, "-check-config"}, nil, 0, `"Name": "one"`, ""},
		"check with environment":   {[]string{"-config=" + good, "-check-config"}, map[string]string{"CURFEW_NAME": "two"}, 0, `"Name": "two"`, ""},
		"flag over environment": {
			[]string{"-config=" + good, "-check-config", "-log-level=debug"}, map[string]string{"CURFEW_LOG_LEVEL": "warn"}, 0, `"Level": "debug"`, "",
		},
		"check what is wrong": {[]string{"-config=" + file(t, `name = "x"`), "-check-config"}, nil, 1, "", "key_file is needed"},
		"password file":       {[]string{"-config=" + file(t, strings.Replace(plain, `curfew" }`, `curfew" password_file = "/nonexistent/p" }`, 1))}, nil, 1, "", "password of the store"},
		"owner's password file": {
			[]string{"-config=" + file(t, strings.Replace(plain, `curfew" }`, `curfew" migrate_url = "postgres://o@h/d" migrate_password_file = "/nonexistent/p" }`, 1))},
			nil, 1, "", "password of the schema's owner",
		},
		"address taken": {[]string{"-config=" + file(t, plain+`monitor { address = "256.0.0.1:1" }`)}, nil, 1, "", "listen"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr output
			lookup := func(k string) (string, bool) { v, ok := c.env[k]; return v, ok }
			code := start(t.Context(), config.Revoker, "Take credentials away", unused(t), c.args, Streams{Stdout: &stdout, Stderr: &stderr, Lookup: lookup})
			if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
				t.Errorf("exit %d, stdout %q, stderr %q; want %d, %q, %q", code, stdout.String(), stderr.String(), c.code, c.stdout, c.stderr)
			}
			if (c.stdout == "") != (stdout.String() == "") || c.code == 0 && c.stdout != "" && stderr.String() != "" {
				t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
			}
		})
	}
}

// running is a program that runs in this process.
type running struct {
	*testing.T
	stderr output
	stop   context.CancelFunc
	ended  chan int
}

func launch(t *testing.T, text string, role Role) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{T: t, stop: cancel, ended: make(chan int, 1)}
	args := []string{"-config=" + file(t, text)}
	go func() {
		r.ended <- start(ctx, config.Revoker, "a test", role, args, Streams{Stdout: &output{}, Stderr: &r.stderr, Lookup: func(string) (string, bool) { return "", false }})
	}()
	t.Cleanup(func() {
		cancel()
		r.code()
	})
	return r
}

// code waits for the end.
func (r *running) code() int {
	r.Helper()
	select {
	case code := <-r.ended:
		r.ended <- code
		return code
	case <-time.After(hang):
		r.Fatalf("it does not end: %s", r.stderr.String())
		return -1
	}
}

// monitor asks a path of health and metrics.
func (r *running) monitor(path string) (code int, body string) {
	r.Helper()
	var at string
	eventually(r.T, "health and metrics are served", func() bool {
		at = r.stderr.field("serving health and metrics", "address")
		return at != ""
	})
	q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, at+path, nil)
	if err != nil {
		r.Fatal(err)
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		r.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		r.Fatal(err)
	}
	return res.StatusCode, b.String()
}

const monitored = "monitor { address = \"127.0.0.1:0\" }\n"

// A store that is away is waited for: the process lives, is not ready and says
// why. A stop meanwhile is in good order.
func TestWaitsForTheStore(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r := launch(t, monitored+strings.Replace(plain, "127.0.0.1:1/", nowhere+"/", 1), unused(t))
	if code, body := r.monitor("/readyz"); code != 503 || body != "start: the store has not answered yet\n" {
		t.Errorf("ready: %d %q", code, body)
	}
	if code, _ := r.monitor("/livez"); code != 200 {
		t.Errorf("live: %d", code)
	}
	if code, body := r.monitor("/metrics"); code != 200 || !strings.Contains(body, `curfew_build_info{program="curfew-revoker"`) {
		t.Errorf("metrics: %d %q", code, body)
	}
	eventually(t, "it tries again", func() bool {
		return strings.Count(r.stderr.String(), "the store does not answer; trying again") > 1
	})
	r.stop()
	if code := r.code(); code != 0 {
		t.Errorf("exit %d: %s", code, r.stderr.String())
	}
}

// A stop while it starts is none of its failures; another failure is told.
func TestBegin(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		role Role
		fail bool // a part fails while the role waits
		want error
	}{
		"starts":               {func(context.Context, *Process) error { return nil }, false, nil},
		"role fails":           {func(context.Context, *Process) error { return broken }, false, broken},
		"a part fails":         {func(ctx context.Context, _ *Process) error { <-ctx.Done(); return ctx.Err() }, true, broken},
		"fails with its parts": {func(ctx context.Context, _ *Process) error { <-ctx.Done(); return fmt.Errorf("role: %w", ctx.Err()) }, true, broken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProcess(config.Revoker, config.Default(), config.Log{Level: "error"}.Logger(&output{}), &step.Watchers{})
			if c.fail {
				p.Life.Run(t.Context(), "part", func(context.Context) error { return broken })
			}
			if err := p.begin(t.Context(), c.role); !errors.Is(err, c.want) {
				t.Errorf("begin: %v, want %v", err, c.want)
			}
			_ = p.Life.Stop(t.Context())
		})
	}
}
