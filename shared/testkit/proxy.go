package testkit

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Direction is that of bytes through a [Proxy].
type Direction int

// The directions.
const (
	ToServer Direction = iota
	FromServer
)

// Proxy stands between a client and a server that speak TCP, and loses what the
// test tells it to.
type Proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	server string
	down   bool
	conns  map[net.Conn]struct{}
	cuts   [2]cut
	delays [2]func() time.Duration
}

// cut is a loss that is to come, after some bytes.
type cut struct {
	armed bool
	after int
	done  int // connections cut so far
}

// NewProxy starts a proxy to a server.
func NewProxy(tb testing.TB, server string) *Proxy {
	tb.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(tb, err)
	p := &Proxy{listener: l, server: server, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.Break()
		p.wg.Wait()
	})
	return p
}

// Address is the proxy's host:port.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Cut makes the proxy pass another after bytes in a direction, over all
// connections, and then end the connection whose byte comes next, without
// passing it. It does so once.
func (p *Proxy) Cut(d Direction, after int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts[d] = cut{armed: true, after: after, done: p.cuts[d].done}
}

// Uncut takes back a cut that has not come yet.
func (p *Proxy) Uncut(d Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts[d].armed = false
}

// Cuts is how often the proxy has cut in a direction.
func (p *Proxy) Cuts(d Direction) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts[d].done
}

// Delay makes what arrives in a direction wait for so long before it passes, each
// time that something does; nil: no longer.
func (p *Proxy) Delay(d Direction, by func() time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delays[d] = by
}

// Down refuses connections and ends those that are; Up takes them again.
func (p *Proxy) Down() {
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	p.Break()
}

// Up ends what Down began.
func (p *Proxy) Up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// Redirect sends clients to another server from now on, and ends their
// connections to the old one: a failover behind one address.
func (p *Proxy) Redirect(server string) {
	p.mu.Lock()
	p.server = server
	p.mu.Unlock()
	p.Break()
}

// Break ends every connection.
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	p.mu.Lock()
	address, down := p.server, p.down
	p.mu.Unlock()
	if down {
		return
	}
	server, err := net.Dial("tcp4", address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	p.mu.Lock()
	stale := p.server != address || p.down // since it was asked for
	if !stale {
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	}
	p.mu.Unlock()
	if stale {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, ToServer) })
	both.Go(func() { p.copy(client, server, FromServer) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// copy passes bytes until a side closes or a cut comes.
func (p *Proxy) copy(to, from net.Conn, d Direction) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if by := p.delay(d); by != nil {
			time.Sleep(by())
		}
		most, end := p.let(d, n)
		if most > 0 {
			if _, err := to.Write(buf[:most]); err != nil {
				return
			}
		}
		if err != nil || end {
			return
		}
	}
}

func (p *Proxy) delay(d Direction) func() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delays[d]
}

// let says how many of n bytes pass, and whether the connection ends then.
func (p *Proxy) let(d Direction, n int) (most int, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.cuts[d]
	if !c.armed || n <= c.after {
		if c.armed {
			c.after -= n
		}
		return n, false
	}
	c.armed = false
	c.done++
	return c.after, true
}
