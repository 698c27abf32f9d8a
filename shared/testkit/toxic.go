package testkit

import (
	"math/rand/v2"
	"net"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

// Toxic is what a [Proxy] does to everything that passes in one direction, over
// connections that are and connections that come. The zero value does nothing.
type Toxic struct {
	// Each piece of at most 64 kB waits for Latency and up to Jitter more.
	Latency, Jitter time.Duration
	// Rate is how many bytes pass in a second; 0: all.
	Rate int
	// CutWithin ends each connection after fewer bytes than this, a random
	// number; 0: none.
	CutWithin int
	// Drop lets nothing arrive, and no end of a connection either: the side that
	// sent goes on in good faith, the other one waits. What lost bytes in it ends
	// when it is over.
	Drop bool
	// Linger is how much later the end of a connection arrives.
	Linger time.Duration
}

// Bites counts what toxics did, so that a test can show that they did it.
type Bites struct {
	Delayed int // bytes that waited
	Dropped int // bytes that never arrived
	Cut     int // connections
	Held    int // ends of connections that arrived late, or not at all
}

// Total is 0 where nothing was done.
func (b Bites) Total() int { return b.Delayed + b.Dropped + b.Cut + b.Held }

// Poison sets what is done in a direction from now on.
func (p *Proxy) Poison(d Direction, t Toxic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cured := p.toxics[d].Drop && !t.Drop
	p.toxics[d] = t
	for l := range p.links {
		l.left[d] = -1
		if t.CutWithin > 0 {
			l.left[d] = rand.IntN(t.CutWithin)
		}
		if cured && l.lossy[d] {
			l.end()
		}
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// Cure takes every toxic away.
func (p *Proxy) Cure() {
	p.Poison(ToServer, Toxic{})
	p.Poison(FromServer, Toxic{})
}

// Poisoned reports whether anything is done now.
func (p *Proxy) Poisoned() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.toxics != [2]Toxic{}
}

// Bites is what toxics did so far.
func (p *Proxy) Bites() Bites {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bites
}

// Passed is how many bytes arrived so far, in both directions.
func (p *Proxy) Passed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed
}

// HangUp ends every connection on the server's side alone: the client hears of
// it as the toxics of its direction allow.
func (p *Proxy) HangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		_ = l.server.Close()
	}
}

// link is one client's connection, on both sides of the proxy.
type link struct {
	client, server net.Conn
	left           [2]int  // bytes until a toxic cuts it; below 0: it does not
	lossy          [2]bool // bytes were dropped
}

// sides are where bytes of a direction come from and go to.
func (l *link) sides(d Direction) (from, to net.Conn) {
	if d == ToServer {
		return l.client, l.server
	}
	return l.server, l.client
}

func (l *link) end() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// suffer does to n bytes what the toxic of a direction says, and returns how many
// of them pass, and whether the connection ends then.
func (p *Proxy) suffer(l *link, d Direction, n int) (most int, end bool) {
	p.mu.Lock()
	t := p.toxics[d]
	switch {
	case t.Drop:
		p.bites.Dropped += n
		l.lossy[d] = true
		p.mu.Unlock()
		return 0, false
	case l.left[d] >= 0 && n > l.left[d]:
		p.bites.Cut++
		most = l.left[d]
		p.mu.Unlock()
		return most, true
	case l.left[d] >= 0:
		l.left[d] -= n
	}
	wait := t.Latency
	if t.Jitter > 0 {
		wait += rand.N(t.Jitter)
	}
	if t.Rate > 0 {
		wait += time.Duration(n) * time.Second / time.Duration(t.Rate)
	}
	if wait > 0 {
		p.bites.Delayed += n
	}
	changed := p.changed
	p.mu.Unlock()
	pause(wait, changed)
	return n, false
}

// hold waits until the end of a connection may arrive.
func (p *Proxy) hold(d Direction) {
	for counted := false; ; counted = true {
		p.mu.Lock()
		t, changed := p.toxics[d], p.changed
		held := !p.closed && (t.Drop || t.Linger > 0)
		if held && !counted {
			p.bites.Held++
		}
		p.mu.Unlock()
		switch {
		case !held:
			return
		case t.Drop:
			<-changed
		case pause(t.Linger, changed):
			return
		}
	}
}

// pause waits, unless the toxics change meanwhile; it reports whether all of the
// time went by.
func pause(d time.Duration, changed <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	tick, stop := clock.System{}.Timer(d)
	defer stop()
	select {
	case <-tick:
		return true
	case <-changed:
		return false
	}
}
