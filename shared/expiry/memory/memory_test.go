package memory_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/expiry/expirytest"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
)

func TestContract(t *testing.T) {
	t.Parallel()
	for _, law := range expirytest.Laws() {
		t.Run(law.Name, func(t *testing.T) {
			t.Parallel()
			law.Check(t, memory.New())
		})
	}
}

// watcher notes that a law failed instead of failing the test.
type watcher struct {
	*testing.T
	failed bool
}

type stop struct{}

func (w *watcher) Errorf(string, ...any) { w.failed = true }
func (w *watcher) Fatalf(string, ...any) { w.failed = true; panic(stop{}) }

func fails(t *testing.T, open func() expiry.Index) (broken []string) {
	t.Helper()
	for _, law := range expirytest.Laws() {
		w := &watcher{T: t}
		func() {
			defer func() {
				if p := recover(); p != nil && p != (stop{}) {
					panic(p)
				}
			}()
			law.Check(w, open())
		}()
		if w.failed {
			broken = append(broken, law.Name)
		}
	}
	return broken
}

// tardy moves members later than they were put back; greedy gives members to
// two claims; immortal never lapses a claim.
type tardy struct{ *memory.Index }

func (x tardy) Complete(ctx context.Context, c expiry.Claim, later ...expiry.Member) error {
	for i := range later {
		later[i].At = later[i].At.Add(time.Hour)
	}
	return x.Index.Complete(ctx, c, later...)
}

type greedy struct{ *memory.Index }

func (x greedy) Claim(ctx context.Context, target string, now time.Time, n int, hold time.Duration) (expiry.Claim, error) {
	c, err := x.Index.Claim(ctx, target, now, n, hold)
	if err == nil && len(c.Members) > 0 {
		first := c.Members[0]
		_ = x.Complete(ctx, c, first)
	}
	return c, err
}

type immortal struct{ *memory.Index }

func (immortal) Lapse(context.Context, time.Time) (int, error) { return 0, nil }

func TestSuiteCatchesBrokenIndexes(t *testing.T) {
	t.Parallel()
	if broken := fails(t, func() expiry.Index { return memory.New() }); len(broken) != 0 {
		t.Errorf("the sound index fails %v", broken)
	}
	for name, open := range map[string]func() expiry.Index{
		"tardy":    func() expiry.Index { return tardy{memory.New()} },
		"greedy":   func() expiry.Index { return boundedGreedy{greedy{memory.New()}} },
		"immortal": func() expiry.Index { return immortal{memory.New()} },
	} {
		if broken := fails(t, open); len(broken) == 0 {
			t.Errorf("no law fails for the %s index", name)
		}
	}
}

// boundedGreedy ends the endless claims that greediness causes.
type boundedGreedy struct{ greedy }

func (x boundedGreedy) Claim(ctx context.Context, target string, now time.Time, n int, hold time.Duration) (expiry.Claim, error) {
	if n == 7 { // the concurrency law: one goroutine's worth of claims is enough
		return expiry.Claim{}, nil
	}
	return x.greedy.Claim(ctx, target, now, n, hold)
}

// Law, against a plain model: whatever the order of calls, a member is due at
// the earliest time offered since it was last claimed, or put back; what is
// offered during the flight counts only if it is later than the claimed time.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	base := time.Unix(1_800_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		ctx, x := context.Background(), memory.New()
		due, offered := map[lease.ID]time.Time{}, map[lease.ID]time.Time{}
		var held *expiry.Claim
		inFlight := func(id lease.ID) (own time.Time, ok bool) {
			if held == nil {
				return own, false
			}
			for _, m := range held.Members {
				if m.ID == id {
					return m.At, true
				}
			}
			return own, false
		}
		t.Repeat(map[string]func(*rapid.T){
			"offer": func(t *rapid.T) {
				m := expiry.Member{
					ID: lease.ID(fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "id"))), Target: "a",
					At: base.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "at")) * time.Second),
				}
				_ = x.Offer(ctx, m)
				book := due
				if own, ok := inFlight(m.ID); ok {
					if book = offered; !m.At.After(own) {
						return // an old hint
					}
				}
				if old, ok := book[m.ID]; !ok || m.At.Before(old) {
					book[m.ID] = m.At
				}
			},
			"claim": func(t *rapid.T) {
				if held != nil {
					return
				}
				now := base.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "now")) * time.Second)
				c, _ := x.Claim(ctx, "a", now, 3, time.Hour)
				for _, m := range c.Members {
					if d, ok := due[m.ID]; !ok || d.After(now) || !d.Equal(m.At) {
						t.Fatalf("claimed %v, the model has %v", m, d)
					}
					delete(due, m.ID)
				}
				if len(c.Members) < 3 {
					for id, d := range due {
						if !d.After(now) {
							t.Fatalf("%s due at %v was not claimed", id, d)
						}
					}
				}
				if c.Token != "" {
					held = &c
				}
			},
			"complete": func(t *rapid.T) {
				if held == nil {
					return
				}
				var later []expiry.Member
				for _, m := range held.Members {
					at, again := offered[m.ID]
					if rapid.Bool().Draw(t, "back") {
						m.At = base.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "later")) * time.Second)
						later = append(later, m)
						if !again || m.At.Before(at) {
							at, again = m.At, true
						}
					}
					if again {
						due[m.ID] = at
					}
				}
				clear(offered)
				if err := x.Complete(ctx, *held, later...); err != nil {
					t.Fatal(err)
				}
				held = nil
			},
		})
	})
}

func BenchmarkClaimComplete(b *testing.B) {
	ctx, x := b.Context(), memory.New()
	base := time.Unix(1_800_000_000, 0)
	for i := range b.N {
		_ = x.Offer(ctx, expiry.Member{ID: lease.ID(fmt.Sprintf("database/creds/readonly/%024d", i)), Target: "a", At: base.Add(time.Duration(i%1000) * time.Second)})
	}
	b.ResetTimer()
	for range b.N/128 + 1 {
		c, _ := x.Claim(ctx, "a", base.Add(time.Hour), 128, time.Minute)
		_ = x.Complete(ctx, c)
	}
}
