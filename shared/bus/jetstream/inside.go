package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	startTimeout = 10 * time.Second
	readyPoll    = 100 * time.Millisecond
)

// errAbsent says that the server could not be started again, yet.
var errAbsent = errors.New("the server inside the process does not run")

// inside is the server of this process. One that was refused a write by its disk
// stores nothing from then on and answers nobody, also when there is room again;
// so it can be started anew.
type inside struct {
	opts *server.Options
	// address is where subscribers connect, from the first start on; empty: nowhere.
	address string

	mu      sync.Mutex
	srv     *server.Server // nil: it does not run
	stopped bool
}

// InProcessConn implements [nats.InProcessConnProvider], for each connection anew.
// It does not wait for a start: nats.go holds a lock meanwhile.
func (i *inside) InProcessConn() (net.Conn, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.srv == nil {
		return nil, errAbsent
	}
	return i.srv.InProcessConn()
}

// start starts a server and waits until it serves. It is not called while one
// runs.
func (i *inside) start(ctx context.Context) error {
	srv, err := server.NewServer(i.opts.Clone())
	if err != nil {
		return fmt.Errorf("start nats: %w", err)
	}
	if err := serve(ctx, srv); err != nil {
		end(srv)
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped {
		end(srv)
		return errAbsent
	}
	if at, ok := srv.Addr().(*net.TCPAddr); ok {
		i.opts.Port, i.address = at.Port, at.String() // a free one that was taken stays
	}
	i.srv = srv
	return nil
}

// restart ends the server that runs, if one does, and starts another with what
// is on the disk. Clients connect again by themselves. One caller at a time.
func (i *inside) restart(ctx context.Context) error {
	i.end()
	return i.start(ctx)
}

func (i *inside) runs() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.srv != nil
}

// stop ends the server for good.
func (i *inside) stop() {
	i.mu.Lock()
	i.stopped = true
	i.mu.Unlock()
	i.end()
}

func (i *inside) end() {
	i.mu.Lock()
	srv := i.srv
	i.srv = nil
	i.mu.Unlock()
	if srv != nil {
		end(srv)
	}
}

func end(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// serve starts srv and waits until it serves, at most for [startTimeout]. The
// server tells only its log why it could not start: an address in use, a
// directory that cannot be written.
func serve(ctx context.Context, srv *server.Server) error {
	fatal := make(lastWords, 1)
	srv.SetLoggerV2(fatal, false, false, false)
	srv.Start()
	end, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !srv.ReadyForConnections(readyPoll) {
		select {
		case why := <-fatal:
			return fmt.Errorf("start nats: %s", why)
		case <-end.Done():
			return fmt.Errorf("start nats: not ready within %s: %w", startTimeout, end.Err())
		default:
		}
	}
	select {
	case why := <-fatal:
		return fmt.Errorf("start nats: %s", why)
	default:
		return nil
	}
}

// lastWords is a log of a server that keeps the first fatal line.
type lastWords chan string

func (w lastWords) Fatalf(format string, v ...any) {
	select {
	case w <- fmt.Sprintf(format, v...):
	default:
	}
}
func (lastWords) Noticef(string, ...any) {}
func (lastWords) Warnf(string, ...any)   {}
func (lastWords) Errorf(string, ...any)  {}
func (lastWords) Debugf(string, ...any)  {}
func (lastWords) Tracef(string, ...any)  {}

var _ nats.InProcessConnProvider = (*inside)(nil)
