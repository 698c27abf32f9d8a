package testkit

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Direction is that of bytes through a [Proxy].
type Direction int

// The directions.
const (
	ToServer Direction = iota
	FromServer
)

// Proxy stands between a client and a server that speak TCP, and loses what the
// test tells it to. (It is our own: the toxics of Toxiproxy pass the end of a
// connection on at once, so none of them is a peer that vanished; it counts
// nothing that they did; and it is not kept up as a library.)
type Proxy struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	server  string
	down    bool
	closed  bool
	links   map[*link]struct{}
	cuts    [2]cut
	toxics  [2]Toxic
	changed chan struct{} // closed when the toxics change
	bites   Bites
	passed  int // bytes
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
	p := &Proxy{listener: l, server: server, links: map[*link]struct{}{}, changed: make(chan struct{})}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Cure() // whoever waits goes on
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
	for l := range p.links {
		l.end()
	}
	clear(p.links)
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
	l := &link{client: client, server: server, left: [2]int{-1, -1}}
	defer l.end()
	p.mu.Lock()
	stale := p.server != address || p.down || p.closed // since it was asked for
	if !stale {
		p.links[l] = struct{}{}
		for d, t := range p.toxics {
			if t.CutWithin > 0 {
				l.left[d] = rand.IntN(t.CutWithin)
			}
		}
	}
	p.mu.Unlock()
	if stale {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(l, ToServer) })
	both.Go(func() { p.copy(l, FromServer) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// copy passes bytes until a side closes or a cut comes. A side that has gone is
// noticed by who reads from it: the other side hears of that in the direction of
// those bytes.
func (p *Proxy) copy(l *link, d Direction) {
	from, to := l.sides(d)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		most, end := 0, false
		if n > 0 {
			if most, end = p.suffer(l, d, n); !end {
				most, end = p.let(d, most)
			}
		}
		if most > 0 {
			if _, err := to.Write(buf[:most]); err != nil && !end {
				_ = to.Close()
				return
			}
		}
		switch {
		case end:
			l.end()
			return
		case err != nil:
			_ = from.Close()
			p.hold(d)
			_ = to.Close()
			return
		}
	}
}

// let says how many of n bytes pass, and whether the connection ends then.
func (p *Proxy) let(d Direction, n int) (most int, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() { p.passed += most }()
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
