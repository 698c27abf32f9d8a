package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

func configuration(tb testing.TB) config.Config {
	tb.Helper()
	c := config.Default()
	c.DataDir = tb.TempDir()
	c.Listener.Address, c.Listener.Plain = "127.0.0.1:0", true
	if err := c.Finish(config.Server); err != nil {
		tb.Fatal(err)
	}
	return c
}

// run starts a server and returns its announcement and what stops it.
func run(tb testing.TB, c config.Config) (Announcement, func()) {
	tb.Helper()
	s, err := New(tb.Context(), c, clock.System{}, zerolog.Nop(), &step.Watchers{})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	up, ended := make(chan Announcement, 1), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(a Announcement) { up <- a }) }()
	stop := func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Errorf("run: %v", err)
		}
	}
	select {
	case a := <-up:
		return a, stop
	case err := <-ended:
		tb.Fatalf("the server did not start: %v", err)
	case <-time.After(time.Minute):
		tb.Fatal("the server hangs")
	}
	return Announcement{}, nil
}

// refused runs a server that cannot start, and returns why.
func refused(t *testing.T, c config.Config) error {
	t.Helper()
	s, err := New(t.Context(), c, clock.System{}, zerolog.Nop(), &step.Watchers{})
	if err != nil {
		return err
	}
	err = s.Run(t.Context(), func(Announcement) { t.Error("the server says that it serves") })
	if err == nil {
		t.Error("the server started")
	}
	return err
}

func TestStartAndStop(t *testing.T) {
	t.Parallel()
	c := configuration(t)
	for range 2 { // the second start finds what the first made
		a, stop := run(t, c)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.Address+"/v1/sys/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK || !a.Initialized {
			t.Errorf("health is %s, %v; initialised %t", answer.Status, err, a.Initialized)
		}
		stop()
	}
}

// What an operator gets wrong is told in the error, and nothing is left
// running: the next start on the same directory works.
func TestStartIsRefused(t *testing.T) {
	t.Parallel()
	taken := func(t *testing.T) string {
		t.Helper()
		var lc net.ListenConfig
		l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l.Addr().String()
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, c *config.Config)
		want  string
	}{
		"port in use":         {func(t *testing.T, c *config.Config) { c.Listener.Address = taken(t) }, "address already in use"}, //nolint:thelper // a fault
		"nats port in use":    {func(t *testing.T, c *config.Config) { c.NATS.Listen = taken(t) }, "address already in use"},      //nolint:thelper // a fault
		"monitor port in use": {func(t *testing.T, c *config.Config) { c.Monitor.Address = taken(t) }, "address already in use"},  //nolint:thelper // a fault
		"no certificate": {func(_ *testing.T, c *config.Config) {
			c.Listener = config.Listener{Address: "127.0.0.1:0", CertFile: "/nowhere.pem", KeyFile: "/nowhere.key"}
		}, "/nowhere.pem"},
		"bad certificate": {func(t *testing.T, c *config.Config) { //nolint:thelper // a fault
			path := filepath.Join(t.TempDir(), "bad.pem")
			if err := os.WriteFile(path, []byte("not a certificate"), 0o600); err != nil {
				t.Fatal(err)
			}
			c.Listener = config.Listener{Address: "127.0.0.1:0", CertFile: path, KeyFile: path}
		}, "use tls_cert_file"},
		"stream directory is a file": {func(t *testing.T, c *config.Config) { //nolint:thelper // a fault
			if err := os.WriteFile(filepath.Join(c.DataDir, "nats"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Remove(filepath.Join(c.DataDir, "nats")) })
		}, "nats"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := configuration(t)
			bad := good
			t.Run("", func(t *testing.T) {
				c.spoil(t, &bad)
				if err := refused(t, bad); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("refused with %v; want %q", err, c.want)
				}
			})
			_, stop := run(t, good)
			stop()
		})
	}
	t.Run("data directory below a file", func(t *testing.T) {
		t.Parallel()
		c := configuration(t)
		file := filepath.Join(c.DataDir, "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c.DataDir = filepath.Join(file, "data")
		if err := refused(t, c); err == nil || !strings.Contains(err.Error(), "data directory") {
			t.Errorf("refused with %v", err)
		}
	})
	t.Run("second server on the directory", func(t *testing.T) {
		t.Parallel()
		c := configuration(t)
		_, stop := run(t, c)
		defer stop()
		if err := refused(t, c); !errors.Is(err, sqlite.ErrLocked) || !strings.Contains(err.Error(), c.DataDir) {
			t.Errorf("refused with %v", err)
		}
	})
}

// Being asked to stop while it starts is no failure, at whatever instant.
func TestStopDuringStart(t *testing.T) {
	t.Parallel()
	c := configuration(t)
	for _, after := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 60 * time.Millisecond} {
		s, err := New(t.Context(), c, clock.System{}, zerolog.Nop(), &step.Watchers{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), after)
		if err := s.Run(ctx, func(Announcement) {}); err != nil {
			t.Errorf("stopped after %s: %v", after, err)
		}
		cancel()
	}
	_, stop := run(t, c)
	stop()
}
