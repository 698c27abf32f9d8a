//go:build integration

package jetstream_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/testkit"
)

// D3: a connection that is cut after any number of bytes, in either direction,
// loses nothing, stores nothing twice and keeps the order. The publisher and a
// consumer share the connection.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	n := testkit.NATSProcesses(t, 1)[0]
	proxy := testkit.NewProxy(t, strings.TrimPrefix(n.URL(), "nats://"))
	b := dial(t, "nats://"+proxy.Address(), jetstream.Config{})
	s := &sender{bus: b}
	s.upTo(t, 1)
	r := consume(t, b, "fresh", false)
	for range 12 {
		proxy.Cut(testkit.ToServer, rand.IntN(300_000))
		proxy.Cut(testkit.FromServer, rand.IntN(150_000))
		s.upTo(t, s.sent+500)
		r.upTo(t, s.sent)
	}
	cuts := proxy.Cuts(testkit.ToServer) + proxy.Cuts(testkit.FromServer)
	if cuts == 0 {
		t.Error("nothing was cut")
	}
	proxy.Uncut(testkit.ToServer)
	proxy.Uncut(testkit.FromServer)
	r.complete(t, 2, s.sent)
	inOrder(t, stored(t, n.URL()), s.sent)
	t.Logf("%d cuts, %d events", cuts, s.sent)
}
