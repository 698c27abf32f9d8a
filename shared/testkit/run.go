package testkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit/find"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// closeHangs bounds a clean-up.
const closeHangs = 2 * time.Minute

// closer is a server that can be ended.
type closer interface {
	Close(ctx context.Context) error
}

// kit is what the tests of one binary share. Package-level state is otherwise
// not allowed here; tests have no other place in common, and a shared cluster
// saves two seconds for each of them.
var kit struct {
	mu      sync.Mutex
	main    bool                // Main runs
	servers map[closer]struct{} // those that live
	cluster func() (*Cluster, error)
	durable func() (*Cluster, error)
}

// Main runs the tests of a binary, and cleans up after them. Call it from
// TestMain. It returns when all went well and ends the process otherwise.
func Main(m *testing.M) {
	if os.Getenv(serveNATS) != "" {
		if err := beNATS(os.Args[1]); err != nil {
			fail(err)
		}
		os.Exit(0)
	}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if server.Leads(name) {
			if err := os.Unsetenv(name); err != nil {
				fail(err)
			}
		}
	}
	kit.mu.Lock()
	kit.main = true
	kit.cluster = sync.OnceValues(func() (*Cluster, error) { return startShared() })
	kit.durable = sync.OnceValues(func() (*Cluster, error) { return startShared(Durable()) })
	kit.mu.Unlock()

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	// The goroutine ends with the process.
	go endOn(stop)

	code := m.Run()
	if err := closeAll(); err != nil {
		fail(err)
	}
	if code != 0 {
		os.Exit(code)
	}
}

// endOn ends the process in good order at a signal.
func endOn(stop <-chan os.Signal) {
	sig := <-stop
	fmt.Fprintf(os.Stderr, "testkit: %v: stopping the servers\n", sig)
	if err := closeAll(); err != nil {
		fail(err)
	}
	os.Exit(130)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "testkit:", err)
	os.Exit(1)
}

// closeAll ends every server that is still there.
func closeAll() error {
	kit.mu.Lock()
	servers := make([]closer, 0, len(kit.servers))
	for s := range kit.servers {
		servers = append(servers, s)
	}
	kit.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeHangs)
	defer cancel()
	var err error
	for _, s := range servers {
		err = errors.Join(err, closeOne(ctx, s))
	}
	return err
}

// remember notes a server, so that ^C ends it.
func remember(s closer) {
	kit.mu.Lock()
	defer kit.mu.Unlock()
	if kit.servers == nil {
		kit.servers = make(map[closer]struct{})
	}
	kit.servers[s] = struct{}{}
}

// closeOne ends a server and forgets it.
func closeOne(ctx context.Context, s closer) error {
	if err := s.Close(ctx); err != nil {
		return err
	}
	kit.mu.Lock()
	defer kit.mu.Unlock()
	delete(kit.servers, s)
	return nil
}

// closeAfter ends a server when the test has ended.
func closeAfter(tb testing.TB, s closer) {
	tb.Helper()
	remember(s)
	tb.Cleanup(func() {
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), closeHangs)
		defer cancel()
		if err := closeOne(ctx, s); err != nil {
			tb.Error(err)
		}
	})
}

// finder looks for programs with the environment of the tests.
func finder() find.Finder { return find.Finder{Getenv: os.Getenv} }

// check ends the test if there is an error: a server that this machine does
// not have is a reason to skip it, except in CI.
func check(tb testing.TB, err error) {
	tb.Helper()
	if err == nil {
		return
	}
	var missing *find.NotFoundError
	if errors.As(err, &missing) && os.Getenv("CURFEW_CI") != "1" {
		tb.Skip(err)
	}
	tb.Fatal(err)
}

// Port takes a TCP port on 127.0.0.1 for the test, for a program that it
// starts. No server of the kit will be given it, in any process.
func Port(tb testing.TB) int {
	tb.Helper()
	port, err := server.TakePort()
	check(tb, err)
	tb.Cleanup(func() {
		if err := port.Close(); err != nil {
			tb.Error(err)
		}
	})
	return port.Number
}
