//go:build e2e

package fault

import (
	"net"
	"sync"
	"testing"
	"time"
)

// slowly stands before a server and hands its answers on so much later; it
// returns its address.
func slowly(tb testing.TB, server string, by time.Duration) (address string) {
	tb.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(tb, err, "listen")
	var mu sync.Mutex
	var open []net.Conn
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			conn, err := net.Dial("tcp4", server)
			if err != nil {
				_ = client.Close() // as the server would
				continue
			}
			mu.Lock()
			open = append(open, client, conn)
			mu.Unlock()
			all.Go(func() { pass(conn, client, 0) })
			all.Go(func() { pass(client, conn, by) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range open {
			_ = c.Close() // most have ended
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// pass hands bytes on until one side ends.
func pass(to, from net.Conn, by time.Duration) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		time.Sleep(by)
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}
