package testkit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/curfew-project/curfew/shared/testkit/server"
)

// natsHangs bounds how long NATS may take to be ready.
const natsHangs = 2 * time.Minute

// NATSServer is a NATS server with JetStream, in the process of the test: it
// can be stopped, but not killed. Its methods may be called concurrently.
type NATSServer struct {
	options *natsserver.Options
	port    *server.Port

	mu     sync.Mutex
	server *natsserver.Server // nil while stopped
}

// NATS starts a server for this test alone. Its streams outlive Stop.
// configure may change its options before each start.
func NATS(tb testing.TB, configure ...func(*natsserver.Options)) *NATSServer {
	tb.Helper()
	port, err := server.TakePort()
	check(tb, err)
	n := &NATSServer{port: port, options: &natsserver.Options{
		ServerName: unique("nats"),
		Host:       "127.0.0.1",
		Port:       port.Number,
		JetStream:  true,
		StoreDir:   tb.TempDir(), // removed after the server is closed
		NoSigs:     true,
		NoLog:      true,
	}}
	for _, change := range configure {
		change(n.options)
	}
	closeAfter(tb, n)
	n.Start(tb)
	return n
}

// Start starts a stopped server on the same port and data, and returns when it
// takes connections.
func (n *NATSServer) Start(tb testing.TB) {
	tb.Helper()
	check(tb, n.start())
}

func (n *NATSServer) start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		return errors.New("start NATS: it is running")
	}
	s, err := natsserver.NewServer(n.options.Clone()) // it writes into them
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(natsHangs) {
		s.Shutdown()
		s.WaitForShutdown()
		return errors.New("start NATS: it takes no connections")
	}
	n.server = s
	return nil
}

// Stop stops the server and returns when it has ended.
func (n *NATSServer) Stop(tb testing.TB) {
	tb.Helper()
	n.stop()
}

func (n *NATSServer) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server == nil {
		return
	}
	n.server.Shutdown()
	n.server.WaitForShutdown()
	n.server = nil
}

// Close ends the server and gives its port back.
func (n *NATSServer) Close(context.Context) error {
	n.stop()
	return n.port.Close()
}

// URL is the server's address in the form nats://host:port.
func (n *NATSServer) URL() string { return "nats://" + n.port.Address() }

// Connect opens a connection over TCP and closes it after the test.
func (n *NATSServer) Connect(tb testing.TB, options ...nats.Option) *nats.Conn {
	tb.Helper()
	return connectNATS(tb, n.URL(), options)
}

// ConnectInProcess opens a connection without TCP, as `curfew server` does,
// and closes it after the test. It cannot reconnect after a restart.
func (n *NATSServer) ConnectInProcess(tb testing.TB, options ...nats.Option) *nats.Conn {
	tb.Helper()
	n.mu.Lock()
	running := n.server
	n.mu.Unlock()
	if running == nil {
		tb.Fatal("connect to NATS in process: it does not run")
	}
	return connectNATS(tb, "", append([]nats.Option{nats.InProcessServer(running)}, options...))
}

func connectNATS(tb testing.TB, url string, options []nats.Option) *nats.Conn {
	tb.Helper()
	conn, err := nats.Connect(url, options...)
	check(tb, err)
	tb.Cleanup(conn.Close)
	return conn
}
