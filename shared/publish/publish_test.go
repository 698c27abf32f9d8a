package publish_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func TestNumbersAreDenseAndInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p := w.publisher(t, "a", publish.Config{Batch: 100})
	for _, n := range []int{1, 0, 250, 100, 7} {
		w.append(t, n)
		w.drain(t, p)
	}
	w.check(t)
	if len(w.broker.sent) != w.n {
		t.Errorf("%d events were sent, want each of %d once", len(w.broker.sent), w.n)
	}
}

func TestNeedsAnOwner(t *testing.T) {
	t.Parallel()
	w := newWorld()
	if _, err := publish.New(w.store, w.broker, nil, w.clock, zerolog.Nop(), publish.Config{}); err == nil {
		t.Error("a publisher without an owner's name was made")
	}
}

// D3: at the first missing acknowledgement everything from it on is sent again.
func TestSendsAgainFromTheFirstMissingAcknowledgement(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p := w.publisher(t, "a", publish.Config{})
	w.append(t, 10)
	w.broker.play(func(int) (int, int, error) { return 7, 3, errAway })
	if _, err := p.Do(t.Context()); !errors.Is(err, errAway) {
		t.Fatalf("do: %v, want the broker's error", err)
	}
	w.broker.play(nil)
	w.drain(t, p)
	equal(t, w.broker.numbers(), []int64{1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 8, 9, 10})
	w.check(t)
}

// D3: a publisher that was paused, and believes that it leads, numbers nothing.
func TestLoserStops(t *testing.T) {
	t.Parallel()
	w := newWorld()
	paused := storetest.NewClock() // stands still while the store's goes on
	a, err := publish.New(w.store, w.broker, nil, paused, zerolog.Nop(), publish.Config{Owner: "a"})
	if err != nil {
		t.Fatal(err)
	}
	b := w.publisher(t, "b", publish.Config{})
	w.append(t, 3)
	w.drain(t, a)
	w.append(t, 3)
	w.clock.Advance(11 * time.Second)
	w.drain(t, b)
	w.append(t, 3)
	if _, err := a.Do(t.Context()); !errors.Is(err, store.ErrLost) {
		t.Fatalf("the loser: %v, want ErrLost", err)
	}
	if rest, err := a.Do(t.Context()); err != nil || rest <= 0 {
		t.Errorf("the loser, again: rest %s, %v; want to rest", rest, err)
	}
	w.drain(t, b)
	w.check(t)
}

// Who leads again goes on where the other one came to.
func TestLeadsAgain(t *testing.T) {
	t.Parallel()
	w := newWorld()
	a, b := w.publisher(t, "a", publish.Config{}), w.publisher(t, "b", publish.Config{})
	for _, p := range []*publish.Publisher{a, b, a, b} {
		w.append(t, 10)
		w.clock.Advance(11 * time.Second)
		w.drain(t, p)
		w.clock.Advance(time.Second) // what was sent is recorded
		w.drain(t, p)
	}
	w.check(t)
	if len(w.broker.sent) != 40 {
		t.Errorf("%d events were sent, want 40", len(w.broker.sent))
	}
}

// Who does not lead asks for the lock once an interval, however often commits
// wake it.
func TestWaitingCostsLittle(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.drain(t, w.publisher(t, "a", publish.Config{}))
	b := w.publisher(t, "b", publish.Config{})
	w.store.Break()
	for range 1000 {
		if rest, err := b.Do(t.Context()); err != nil || rest <= 0 || rest > time.Second {
			t.Fatalf("do: rest %s, %v", rest, err)
		}
		w.clock.Advance(2 * time.Millisecond)
	}
	if n := w.store.Calls("Acquire"); n < 2 || n > 3 {
		t.Errorf("asked for the lock %d times in 2 s, want 2", n)
	}
}

// An orderly stop leaves nothing to wait for and nothing to send again.
func TestCloseHandsOver(t *testing.T) {
	t.Parallel()
	w := newWorld()
	a, b := w.publisher(t, "a", publish.Config{}), w.publisher(t, "b", publish.Config{})
	w.append(t, 5)
	w.drain(t, a)
	w.append(t, 5)
	w.drain(t, a) // within the same second: not recorded yet
	for range 2 {
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.append(t, 5)
	w.drain(t, b)
	w.check(t)
	if len(w.broker.sent) != 15 {
		t.Errorf("%d events were sent, want 15", len(w.broker.sent))
	}
}

// D4: the store deletes what both the broker and the ledger have, not more.
func TestTrimsWhatBothHave(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ ledger, first int64 }{{0, 1}, {4, 5}, {8, 9}, {10, 9}} {
		t.Run(fmt.Sprintf("ledger %d", c.ledger), func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			p := w.publisher(t, "a", publish.Config{})
			w.append(t, 10)
			w.broker.play(func(int) (int, int, error) { return 8, 8, errAway }) // two are not acknowledged
			if _, err := p.Do(t.Context()); err == nil {
				t.Fatal("the broker's error was lost")
			}
			w.broker.play(away)
			w.confirm(t, c.ledger)
			w.clock.Advance(time.Second)
			if _, err := p.Do(t.Context()); !errors.Is(err, errAway) {
				t.Fatalf("do: %v, want the broker's error", err)
			}
			if first := w.first(t); first != c.first {
				t.Errorf("the store begins with %d, want %d", first, c.first)
			}
			w.broker.play(nil)
			w.drain(t, p)
			w.check(t)
		})
	}
}

// Without a broker, the ledger alone decides.
func TestWithoutABroker(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p, err := publish.New(w.store, bus.Nop{}, nil, w.clock, zerolog.Nop(), publish.Config{Owner: "a", Keep: -1})
	if err != nil {
		t.Fatal(err)
	}
	w.append(t, 10)
	w.drain(t, p)
	w.confirm(t, 6)
	w.clock.Advance(time.Second)
	w.drain(t, p)
	if first := w.first(t); first != 7 {
		t.Errorf("the store begins with %d, want 7", first)
	}
}

// D7: what both have stays for a while, for who follows the events in the store.
func TestKeepsWhatBothHave(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p := w.publisher(t, "a", publish.Config{Keep: 3 * time.Second})
	w.append(t, 10)
	w.drain(t, p)
	for i, first := range []int64{1, 1, 1, 1, 3, 5, 7, 9, 0, 0} {
		if n := int64(2 * i); 0 < n && n <= 10 {
			w.confirm(t, n)
		}
		w.clock.Advance(time.Second)
		w.drain(t, p)
		if got := w.first(t); got != first {
			t.Errorf("after %d s the store begins with %d, want %d", i+1, got, first)
		}
	}
}

// A long backlog is deleted in short transactions, in one turn.
func TestTrimsALongBacklog(t *testing.T) {
	t.Parallel()
	w := newWorld()
	p := w.publisher(t, "a", publish.Config{Batch: 10})
	w.append(t, 500)
	w.drain(t, p)
	w.confirm(t, 490)
	w.clock.Advance(time.Second)
	w.drain(t, p)
	if first := w.first(t); first != 491 {
		t.Errorf("the store begins with %d, want 491", first)
	}
}

// D3, each store call failing in both ways: not done; done but reported failed.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Acquire", "Confirmed", "Number", "Events", "Confirm", "Trim"} {
		for nth := 1; nth <= 3; nth++ {
			for _, done := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s %d done %t", method, nth, done), func(t *testing.T) {
					t.Parallel()
					w := newWorld()
					w.store.Break(storetest.Fault{Method: method, Nth: nth, Done: done})
					p := w.publisher(t, "a", publish.Config{Batch: 4})
					for range 4 {
						w.append(t, 10)
						w.drain(t, p)
						w.confirm(t, int64(w.n))
						w.clock.Advance(5 * time.Second) // the lock is extended, the head told
						w.drain(t, p)
					}
					w.check(t)
					if w.store.Calls(method) < nth {
						t.Errorf("%s was called %d times: the fault did not happen", method, w.store.Calls(method))
					}
					if first := w.first(t); first != 0 {
						t.Errorf("the store begins with %d, want to be empty", first)
					}
				})
			}
		}
	}
}

func TestReleaseFaults(t *testing.T) {
	t.Parallel()
	for _, done := range []bool{false, true} {
		w := newWorld()
		w.store.Break(storetest.Fault{Method: "Release", Nth: 1, Done: done})
		p := w.publisher(t, "a", publish.Config{})
		w.drain(t, p)
		if err := p.Close(t.Context()); !errors.Is(err, storetest.ErrInjected) {
			t.Errorf("close: %v, want the store's error", err)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Errorf("close again: %v", err)
		}
		w.append(t, 1)
		w.drain(t, w.publisher(t, "b", publish.Config{}))
		w.check(t)
	}
}

// D3, the law: whatever publishers, broker, store and clocks do, no number is
// given twice and none is skipped, and all events arrive in order.
func TestLaw(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		names := []string{"a", "b", "c"}
		cfg := publish.Config{Batch: rapid.IntRange(1, 6).Draw(t, "batch")}
		publishers := map[string]*publish.Publisher{}
		clocks := map[string]*storetest.Clock{}
		life := 0
		start := func(name string) {
			life++
			cfg.Owner = fmt.Sprintf("%s-%d", name, life)
			clocks[name] = storetest.NewClock() // its own: a process may be paused
			p, err := publish.New(w.store, w.broker, nil, clocks[name], zerolog.Nop(), cfg)
			if err != nil {
				t.Fatalf("new: %v", err)
			}
			publishers[name] = p
		}
		for _, name := range names {
			start(name)
		}
		who := rapid.SampledFrom(names)
		actions := map[string]func(*rapid.T){
			"append": func(t *rapid.T) { w.append(t, rapid.IntRange(1, 12).Draw(t, "n")) },
			"do":     func(t *rapid.T) { _, _ = publishers[who.Draw(t, "who")].Do(context.Background()) },
			"do more": func(t *rapid.T) {
				p := publishers[who.Draw(t, "who")]
				for range 4 {
					_, _ = p.Do(context.Background())
				}
			},
			"crash": func(t *rapid.T) { start(who.Draw(t, "who")) },
			"close": func(t *rapid.T) {
				name := who.Draw(t, "who")
				_ = publishers[name].Close(context.Background())
				start(name)
			},
			"time": func(t *rapid.T) {
				d := time.Duration(rapid.IntRange(1, 15_000).Draw(t, "ms")) * time.Millisecond
				w.clock.Advance(d)
				for _, name := range names {
					if rapid.Bool().Draw(t, "awake") {
						clocks[name].Advance(d)
					}
				}
			},
			"broker": func(t *rapid.T) {
				arrive, ack := rapid.IntRange(0, 8).Draw(t, "arrive"), rapid.IntRange(0, 8).Draw(t, "ack")
				w.broker.play(func(n int) (int, int, error) {
					a := min(n, arrive)
					if a == n && ack >= n {
						return n, n, nil
					}
					return a, min(a, ack), errAway
				})
			},
			"store": func(t *rapid.T) {
				w.store.Break(storetest.Fault{
					Method: rapid.SampledFrom([]string{"Acquire", "Confirmed", "Number", "Events", "Confirm", "Trim", "Release"}).Draw(t, "method"),
					Nth:    rapid.IntRange(1, 3).Draw(t, "nth"), Done: rapid.Bool().Draw(t, "done"),
				})
			},
			"ledger": func(t *rapid.T) {
				head, err := w.fake.Head(context.Background())
				if err != nil || head.Number == 0 {
					return
				}
				upTo := event.Position{Epoch: 1, Number: rapid.Int64Range(1, head.Number).Draw(t, "confirmed")}
				if err := w.fake.Confirm(context.Background(), publish.Ledger, upTo); err != nil {
					t.Fatalf("confirm: %v", err)
				}
			},
		}
		t.Repeat(actions)
		// At the end one publisher is left alone with everything well.
		w.store.Break()
		w.broker.play(nil)
		w.clock.Advance(time.Minute)
		start("a")
		w.drain(t, publishers["a"])
		w.check(t)
	})
}
