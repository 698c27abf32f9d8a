package site

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

// What passes is delayed, whole and in order; much of it costs no more than a
// little; who closes is heard on the other side, and Close ends who waits.
func TestDelay(t *testing.T) {
	t.Parallel()
	echo, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
	host, text, err := net.SplitHostPort(echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	s := &Site{Target: Target{Host: host, Port: port}, cfg: Config{Clock: clock.System{}}}
	const latency = 50 * time.Millisecond
	d, err := s.Delayed(t.Context(), latency)
	if err != nil {
		t.Fatal(err)
	}
	dial := func() *net.TCPConn {
		c, err := (&net.Dialer{}).DialContext(context.Background(), "tcp4", d.Address())
		if err != nil {
			t.Fatal(err)
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			t.Fatalf("a %T", c)
		}
		return tcp
	}
	sent := make([]byte, 4<<20)
	_, _ = rand.Read(sent)
	c := dial()
	began := time.Now()
	go func() {
		_, _ = c.Write(sent)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(sent), err)
	}
	if took := time.Since(began); took < latency {
		t.Errorf("it took %v", took)
	}
	idle := dial()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if n, err := idle.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes after the end", n)
	}
}
