package testkit

import (
	"fmt"
	"os"
	"strings"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/curfew-project/curfew/shared/testkit/server"
)

// serveNATS is the variable by which a second run of a test binary is told to
// be a NATS server.
const serveNATS = "CURFEW_TESTKIT_NATS"

// NATSProcess is a NATS server in a process of its own: it can be killed and
// paused. Its methods may be called concurrently.
type NATSProcess struct {
	server *server.NATS
}

// NATSProcesses starts count servers for this test alone, which form a cluster
// if they are more than one. Their streams outlive Stop and Kill. settings are
// added to each server's configuration file. The package must call Main.
func NATSProcesses(tb testing.TB, count int, settings ...string) []*NATSProcess {
	tb.Helper()
	kit.mu.Lock()
	ready := kit.main
	kit.mu.Unlock()
	if !ready {
		tb.Fatal("start NATS: the package's TestMain does not call testkit.Main")
	}
	self, err := os.Executable()
	check(tb, err)
	servers, err := server.NewNATS(count, server.NATSConfig{
		Command: []string{self}, Environ: os.Environ(), Extra: []string{serveNATS + "=1"},
		Settings: strings.Join(settings, "\n"),
	})
	check(tb, err)
	list := make([]*NATSProcess, len(servers))
	for i, s := range servers {
		closeAfter(tb, s)
		list[i] = &NATSProcess{server: s}
	}
	for _, n := range list {
		n.Start(tb)
	}
	return list
}

// NATSURLs lists the addresses of servers as a client takes them.
func NATSURLs(servers []*NATSProcess) string {
	urls := make([]string, len(servers))
	for i, n := range servers {
		urls[i] = n.URL()
	}
	return strings.Join(urls, ",")
}

// beNATS is the life of the second run: a server until a signal ends it.
func beNATS(file string) error {
	options, err := natsserver.ProcessConfigFile(file)
	if err != nil {
		return fmt.Errorf("read the configuration of NATS: %w", err)
	}
	s, err := natsserver.NewServer(options)
	if err != nil {
		return fmt.Errorf("make a NATS: %w", err)
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
	return nil
}

// Start starts a stopped server on the same ports and data.
func (n *NATSProcess) Start(tb testing.TB) {
	tb.Helper()
	check(tb, n.server.Start(lasting(tb)))
}

// Stop stops the server in good order and returns when it has ended.
func (n *NATSProcess) Stop(tb testing.TB) {
	tb.Helper()
	check(tb, n.server.Stop(lasting(tb)))
}

// Kill ends the server with SIGKILL and returns when it has ended.
func (n *NATSProcess) Kill(tb testing.TB) {
	tb.Helper()
	check(tb, n.server.Kill(lasting(tb)))
}

// Pause makes the server silent: it keeps its connections and answers nothing.
func (n *NATSProcess) Pause(tb testing.TB) {
	tb.Helper()
	check(tb, n.server.Pause())
}

// Resume is the inverse of Pause.
func (n *NATSProcess) Resume(tb testing.TB) {
	tb.Helper()
	check(tb, n.server.Resume())
}

// Wipe removes the streams of a stopped server, as a lost disk would. Until it
// has them again, its cluster elects no leader while another server is away:
// NATS does not count the vote of an empty log.
func (n *NATSProcess) Wipe(tb testing.TB) {
	tb.Helper()
	check(tb, n.server.Wipe())
}

// Name is the server's name in its cluster.
func (n *NATSProcess) Name() string { return n.server.Name() }

// URL is the server's address in the form nats://host:port.
func (n *NATSProcess) URL() string { return "nats://" + n.server.Address() }

// Log is what the server has written since its first start.
func (n *NATSProcess) Log(tb testing.TB) string {
	tb.Helper()
	text, err := n.server.Log()
	check(tb, err)
	return string(text)
}
