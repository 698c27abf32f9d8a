//go:build integration || fault

package database

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// proxy stands between the engine and a server, and can lose the answer to a
// COMMIT: the server did it, and the client never hears of it. It can also cut a
// connection at one message of a client, counted over all connections: before the
// server gets it, or after it was carried out and before the answer is heard.
type proxy struct {
	listener net.Listener
	server   string
	lose     atomic.Bool
	lost     atomic.Int64
	down     atomic.Bool // refuse new connections

	sent  atomic.Int64 // messages of clients
	cutAt int64        // the message that is cut; 0: none
	heard bool         // the server carries it out
	dead  bool         // and nobody gets through afterwards

	// hold keeps back the message that holds a text until it is closed; held and
	// answered say how far it came.
	hold           chan struct{}
	holds          string
	held, answered atomic.Bool

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

func newProxy(tb testing.TB, server string) *proxy {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{listener: l, server: server, conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	tb.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil || p.down.Load() {
			_ = client.Close()
			if server != nil {
				_ = server.Close()
			}
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		var swallow atomic.Bool
		p.wg.Go(func() { p.copy(server, client, func(b []byte) verdict { return p.request(b, &swallow) }) })
		p.wg.Go(func() { p.copy(client, server, func(b []byte) verdict { return p.answer(b, &swallow) }) })
	}
}

// verdict is what becomes of some bytes.
type verdict int

const (
	pass verdict = iota
	drop
	hangUp
)

// request arms the swallowing of what answers the message that creates, or sets
// a mark.
func (p *proxy) request(b []byte, swallow *atomic.Bool) verdict {
	switch n := p.sent.Add(1); {
	case p.cutAt == 0:
	case n == p.cutAt && !p.heard, n > p.cutAt && p.dead:
		return hangUp
	case n == p.cutAt:
		swallow.Store(true)
	}
	cancels := len(b) == 16 && bytes.Equal(b[4:8], []byte{0x04, 0xd2, 0x16, 0x2e})
	if p.hold != nil && cancels {
		return hangUp // the way is as it is for the message that is kept back
	}
	if p.hold != nil && bytes.Contains(b, []byte(p.holds)) {
		p.held.Store(true)
		<-p.hold
	}
	writes := bytes.Contains(b, []byte("CREATE ROLE")) || bytes.Contains(b, []byte("COMMENT ON ROLE"))
	if writes && bytes.Contains(b, []byte("COMMIT")) && p.lose.CompareAndSwap(true, false) {
		swallow.Store(true)
	}
	return pass
}

// answer drops what the server says until it is ready for the next query: the
// commit is done then. The client hears that the connection broke.
func (p *proxy) answer(b []byte, swallow *atomic.Bool) verdict {
	if p.held.Load() {
		p.answered.Store(true)
	}
	switch {
	case !swallow.Load():
		return pass
	case len(b) > 0 && b[0] == 'R': // of a login: more is asked for
		return hangUp
	case len(b) >= 6 && bytes.Equal(b[len(b)-6:len(b)-1], []byte{'Z', 0, 0, 0, 5}):
		p.lost.Add(1)
		return hangUp
	}
	return drop
}

// copy passes bytes on until it is told to hang up or a side closes.
func (p *proxy) copy(to, from net.Conn, judge func([]byte) verdict) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			switch judge(buf[:n]) {
			case pass:
				if _, err := to.Write(buf[:n]); err != nil {
					return
				}
			case hangUp:
				return
			case drop:
			}
		}
		if err != nil {
			return
		}
	}
}

// cut ends every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}
