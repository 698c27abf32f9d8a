package site

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

// Delay is an address at which the target seems to be farther away: what passes
// arrives later by half of the latency in each direction, in its order, however
// much of it there is.
type Delay struct {
	listener net.Listener
	target   string
	half     time.Duration
	clock    clock.Clock
	all      sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]struct{}
	ended bool
}

// Delayed opens a way to the target with a latency, there and back. Close it.
func (s *Site) Delayed(ctx context.Context, latency time.Duration) (*Delay, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a delayed target: %w", err)
	}
	d := &Delay{listener: l, target: s.Target.address(), half: latency / 2, clock: s.cfg.Clock, open: map[net.Conn]struct{}{}}
	d.all.Go(func() { d.accept(context.WithoutCancel(ctx)) })
	return d, nil
}

// Address is where it listens.
func (d *Delay) Address() string { return d.listener.Addr().String() }

// Close ends every connection and returns when nothing of it runs.
func (d *Delay) Close() error {
	err := d.listener.Close()
	d.mu.Lock()
	d.ended = true
	for c := range d.open {
		_ = c.Close() // whoever reads from it ends
	}
	d.mu.Unlock()
	d.all.Wait()
	return err
}

// keep remembers a connection, to be closed with the delay; false: it is over.
func (d *Delay) keep(c net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ended {
		d.open[c] = struct{}{}
	}
	return !d.ended
}

func (d *Delay) drop(c net.Conn) {
	d.mu.Lock()
	delete(d.open, c)
	d.mu.Unlock()
	_ = c.Close() // often closed already
}

func (d *Delay) accept(ctx context.Context) {
	for {
		client, err := d.listener.Accept()
		switch {
		case err == nil:
			d.all.Go(func() { d.serve(ctx, client) })
		case errors.Is(err, net.ErrClosed), clock.Sleep(ctx, d.clock, 10*time.Millisecond) != nil:
			return // no other error, as of too many open files, stays for ever
		}
	}
}

func (d *Delay) serve(ctx context.Context, client net.Conn) {
	defer d.drop(client)
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp4", d.target)
	if err != nil {
		return
	}
	defer d.drop(server)
	if !d.keep(client) || !d.keep(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { d.pass(ctx, client, server) })
	both.Go(func() { d.pass(ctx, server, client) })
	both.Wait()
}

// piece is something that was read, and when it may arrive.
type piece struct {
	data []byte
	at   time.Time
}

// pass brings what from says to to, later, and the end after it.
func (d *Delay) pass(ctx context.Context, from, to net.Conn) {
	way := make(chan piece, 1024)
	var reader sync.WaitGroup
	defer reader.Wait()
	reader.Go(func() {
		defer close(way)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				way <- piece{buf[:n], d.clock.Now().Add(d.half)}
			}
			if err != nil {
				return
			}
		}
	})
	for p := range way {
		if wait := p.at.Sub(d.clock.Now()); wait > 0 {
			_ = clock.Sleep(ctx, d.clock, wait)
		}
		if _, err := to.Write(p.data); err != nil {
			_ = from.Close() // ends who reads
		}
	}
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite() // the other direction goes on
	}
}
