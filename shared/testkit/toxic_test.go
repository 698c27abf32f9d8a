package testkit

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// hangs is longer than anything here takes.
const hangs = 30 * time.Second

// back is a server that sends back what it gets; ended tells of the end of each
// of its connections.
func back(t *testing.T) (address string, ended <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(t, err)
	ends := make(chan struct{}, 16)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
				ends <- struct{}{}
			}()
		}
	}()
	return l.Addr().String(), ends
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", p.Address())
	check(t, err)
	t.Cleanup(func() { _ = c.Close() })
	check(t, c.SetDeadline(time.Now().Add(hangs)))
	return c
}

// echoes sends bytes and reads them again.
func echoes(c net.Conn, n int) error {
	sent, got := bytes.Repeat([]byte("x"), n), make([]byte, n)
	if _, err := c.Write(sent); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(sent, got) {
		return errors.New("other bytes came back")
	}
	return nil
}

func eventual(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hangs); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

func TestToxicLatencyAndRate(t *testing.T) {
	t.Parallel()
	server, _ := back(t)
	for _, toxic := range []Toxic{{Latency: 20 * time.Millisecond, Jitter: 5 * time.Millisecond}, {Rate: 5000}} {
		p := NewProxy(t, server)
		c := dial(t, p)
		check(t, echoes(c, 100))
		if n := p.Bites().Total(); n != 0 || p.Passed() != 200 {
			t.Fatalf("without a toxic: %d bites, %d bytes", n, p.Passed())
		}
		p.Poison(FromServer, toxic)
		began := time.Now()
		check(t, echoes(c, 100))
		if took := time.Since(began); took < 20*time.Millisecond {
			t.Errorf("%+v: it took only %v", toxic, took)
		}
		if b := p.Bites(); b.Delayed != 100 {
			t.Errorf("%+v: %+v", toxic, b)
		}
		p.Cure()
		check(t, echoes(c, 100))
		if b := p.Bites(); b.Delayed != 100 {
			t.Errorf("%+v, cured: %+v", toxic, b)
		}
	}
}

func TestToxicCut(t *testing.T) {
	t.Parallel()
	server, ended := back(t)
	for _, d := range []Direction{ToServer, FromServer} {
		p := NewProxy(t, server)
		old := dial(t, p)
		check(t, echoes(old, 100))
		p.Poison(d, Toxic{CutWithin: 50})
		for _, c := range []net.Conn{old, dial(t, p)} {
			if err := echoes(c, 50); err == nil {
				t.Error("all bytes came back")
			}
			<-ended
		}
		if b := p.Bites(); b.Cut != 2 {
			t.Errorf("%+v", b)
		}
		p.Cure()
		check(t, echoes(dial(t, p), 1000))
	}
}

// TestToxicHalfOpen: bytes of one direction vanish, and so does the end.
func TestToxicHalfOpen(t *testing.T) {
	t.Parallel()
	server, ended := back(t)
	p := NewProxy(t, server)
	lost, left, idle := dial(t, p), dial(t, p), dial(t, p)
	for _, c := range []net.Conn{lost, left, idle} {
		check(t, echoes(c, 1))
	}
	p.Poison(ToServer, Toxic{Drop: true})
	_, err := lost.Write([]byte("x"))
	check(t, err)
	eventual(t, "bytes are dropped", func() bool { return p.Bites().Dropped == 1 })
	check(t, left.Close())
	eventual(t, "an end is held", func() bool { return p.Bites().Held == 1 })
	select {
	case <-ended:
		t.Error("the server heard of the end")
	default:
	}
	p.Cure()
	<-ended // of what was left, and of what lost a byte
	<-ended
	if _, err := lost.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that lost a byte goes on")
	}
	check(t, echoes(idle, 100)) // nothing of it was lost
}

// TestToxicVanished: the server has gone, and the client is not told, or late.
func TestToxicVanished(t *testing.T) {
	t.Parallel()
	server, ended := back(t)
	for _, toxic := range []Toxic{{Drop: true}, {Linger: 50 * time.Millisecond}} {
		p := NewProxy(t, server)
		c := dial(t, p)
		check(t, echoes(c, 1))
		p.Poison(FromServer, toxic)
		began := time.Now()
		p.HangUp()
		<-ended
		eventual(t, "the end is held", func() bool { return p.Bites().Held == 1 })
		if toxic.Drop {
			p.Cure()
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%+v: %v", toxic, err)
		}
		if took := time.Since(began); took < toxic.Linger {
			t.Errorf("%+v: the client heard of it after %v", toxic, took)
		}
	}
}
