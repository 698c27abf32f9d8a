//go:build integration

package redis

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/testkit"
)

// lossy is an index behind a proxy; once makes it ask only once, so that the
// caller sees the loss.
func lossy(t *testing.T, r *testkit.RedisServer, once bool) (*Index, *testkit.Proxy) {
	t.Helper()
	p := testkit.NewProxy(t, r.Address())
	cfg := Config{Addresses: []string{p.Address()}, Prefix: fmt.Sprintf("lost%d:", prefixes.Add(1)), Timeout: 20 * time.Second, Connections: 1}
	opts, err := cfg.options()
	if err != nil {
		t.Fatal(err)
	}
	if once {
		opts.MaxRetries = -1
	}
	x := open(cfg, opts)
	t.Cleanup(func() { _ = x.Close() })
	return x, p
}

// act is one call on an index that holds member 1 in flight and 2 and 3 due, and
// what it must have led to in the end, however often it was sent.
type act struct {
	name string
	do   func(t *testing.T, x *Index, held expiry.Claim) error
}

func acts() []act {
	return []act{
		{"offer", func(t *testing.T, x *Index, _ expiry.Claim) error {
			t.Helper()
			return x.Offer(t.Context(), member("a", 4, 10), member("a", 2, 5))
		}},
		{"claim", func(t *testing.T, x *Index, _ expiry.Claim) error {
			t.Helper()
			c, err := x.Claim(t.Context(), "a", at(20), 1, time.Hour)
			if err == nil && (len(c.Members) != 1 || c.Members[0].ID != member("a", 2, 0).ID) {
				t.Errorf("claimed %v, want member 2 alone", c.Members)
			}
			return err
		}},
		{"complete", func(t *testing.T, x *Index, held expiry.Claim) error {
			t.Helper()
			return x.Complete(t.Context(), held, member("a", 1, 30))
		}},
		{"extend", func(t *testing.T, x *Index, held expiry.Claim) error {
			t.Helper()
			return x.Extend(t.Context(), held, at(0), time.Hour)
		}},
		{"lapse", func(t *testing.T, x *Index, _ expiry.Claim) error {
			t.Helper()
			_, err := x.Lapse(t.Context(), at(0))
			return err
		}},
		{"upcoming", func(t *testing.T, x *Index, _ expiry.Claim) error {
			t.Helper()
			_, err := x.Upcoming(t.Context(), at(20))
			return err
		}},
		{"missing", func(t *testing.T, x *Index, _ expiry.Claim) error {
			t.Helper()
			found, err := x.Missing(t.Context(), member("a", 1, 10), member("a", 2, 10), member("a", 3, 12))
			if err == nil && (len(found) != 1 || found[0].ID != member("a", 2, 0).ID) {
				t.Errorf("missing is %v, want member 2, which waits for later", found)
			}
			return err
		}},
		{"len", func(t *testing.T, x *Index, _ expiry.Claim) error {
			t.Helper()
			n, err := x.Len(t.Context())
			if err == nil && n != 3 {
				t.Errorf("Len is %d, want 3", n)
			}
			return err
		}},
	}
}

// Each call is lost on its way, and its answer on the way back, after any number
// of bytes: then all members are there, no claim has two holders, and after the
// claims have lapsed each is claimed once more.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	r := testkit.Redis(t)
	for _, once := range []bool{true, false} {
		for _, a := range acts() {
			for _, d := range []testkit.Direction{testkit.ToServer, testkit.FromServer} {
				for _, after := range []int{0, 1, 7, 40, 200, 1000} {
					name := fmt.Sprintf("%s/once=%v/direction=%d/after=%d", a.name, once, d, after)
					t.Run(name, func(t *testing.T) { loseOne(t, r, a, once, d, after) })
				}
			}
		}
	}
}

func loseOne(t *testing.T, r *testkit.RedisServer, a act, once bool, d testkit.Direction, after int) {
	t.Helper()
	x, p := lossy(t, r, once)
	witness := opened(t, Config{Addresses: []string{r.Address()}, Prefix: x.prefix})
	offer(t, witness, member("a", 1, 10), member("a", 2, 11), member("a", 3, 12))
	held := claim(t, witness, "a", 10, 1)
	if _, err := x.Len(t.Context()); err != nil { // connect
		t.Fatal(err)
	}
	p.Cut(d, after)
	err := a.do(t, x, held)
	cut := p.Cuts(d) > 0
	p.Uncut(d)
	switch {
	case err == nil && cut && once && after == 0 && a.name != "claim" && a.name != "upcoming":
		// (Those two need no answer to what they tell the registry.)
		t.Error("the loss was not noticed")
	case err != nil && !cut:
		t.Errorf("without a loss: %v", err)
	case err != nil && !once && (a.name != "complete" || !errors.Is(err, expiry.ErrLapsed)):
		t.Errorf("the loss was not made up for: %v", err)
	}
	// All that was there is there, in due or in flight.
	if n, err := witness.Len(t.Context()); err != nil || n < 3 || n > 4 {
		t.Errorf("Len is %d, %v; want 3, or 4 with what was offered", n, err)
	}
	if a.name == "offer" { // who gets an error offers again
		if err := x.Offer(t.Context(), member("a", 4, 10), member("a", 2, 5)); err != nil {
			t.Error(err)
		}
	}
	// What a dead holder left lapses. The sweep offers what is overdue (D1): it
	// makes known what was done and not announced.
	clocked{witness}.Pass(t, 2*time.Hour)
	offer(t, witness, member("a", 1, 10), member("a", 2, 11), member("a", 3, 12))
	if _, err := witness.Lapse(t.Context(), at(0)); err != nil {
		t.Error(err)
	}
	wantUpcoming(t, witness, "a")
	want := 3
	if a.name == "offer" {
		want = 4
	}
	c := claim(t, witness, "a", 99, 100)
	if len(c.Members) != want {
		t.Errorf("%d members were claimed in the end, want %d", len(c.Members), want)
	}
	complete(t, witness, c)
	wantLen(t, witness, 0)
}
