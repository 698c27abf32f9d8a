package expirytest_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/expiry/expirytest"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
)

func TestModelOfASoundIndex(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { expirytest.Model(t, memory.New()) })
}

// watcher notes that a law failed instead of failing the test.
type watcher struct {
	*testing.T
	failed bool
}

type stop struct{}

func (w *watcher) Errorf(string, ...any) { w.failed = true }
func (w *watcher) Fatalf(string, ...any) { w.failed = true; panic(stop{}) }

func fails(t *testing.T, law expirytest.Law, x expiry.Index) bool {
	t.Helper()
	w := &watcher{T: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != (stop{}) {
				panic(p)
			}
		}()
		law.Check(w, x)
	}()
	return w.failed
}

// forgetful does not see put-backs in Upcoming; careless completes by any token;
// wrongTime puts lapsed members back at another time; fogged moves put-backs of
// others; boundless ignores the limit; short keeps the first members of an
// offer; mixed takes targets that begin alike for one; deaf never puts back
// earlier.
type forgetful struct {
	*memory.Index
	hidden map[string]bool
}

func (x forgetful) Complete(ctx context.Context, c expiry.Claim, later ...expiry.Member) error {
	if len(later) > 0 {
		x.hidden[c.Target] = true
	}
	return x.Index.Complete(ctx, c, later...)
}

func (x forgetful) Upcoming(ctx context.Context, until time.Time) ([]expiry.Upcoming, error) {
	up, err := x.Index.Upcoming(ctx, until)
	return slices.DeleteFunc(up, func(u expiry.Upcoming) bool { return x.hidden[u.Target] }), err
}

type careless struct{ *memory.Index }

func (x careless) Complete(ctx context.Context, c expiry.Claim, later ...expiry.Member) error {
	_ = x.Index.Complete(ctx, c, later...)
	return nil
}

type wrongTime struct{ *memory.Index }

func (x wrongTime) Offer(ctx context.Context, members ...expiry.Member) error {
	for i := range members {
		members[i].At = members[i].At.Add(-time.Second)
	}
	return x.Index.Offer(ctx, members...)
}

type fogged struct{ *memory.Index }

func (x fogged) Complete(ctx context.Context, c expiry.Claim, later ...expiry.Member) error {
	err := x.Index.Complete(ctx, c, later...)
	_ = x.Offer(ctx, later...)
	return err
}

type boundless struct{ *memory.Index }

func (x boundless) Claim(ctx context.Context, target string, now time.Time, _ int, hold time.Duration) (expiry.Claim, error) {
	return x.Index.Claim(ctx, target, now, 1000, hold)
}

type short struct{ *memory.Index }

func (x short) Offer(ctx context.Context, members ...expiry.Member) error {
	return x.Index.Offer(ctx, members[:min(len(members), 2000)]...)
}

type mixed struct{ *memory.Index }

func (x mixed) Claim(ctx context.Context, target string, now time.Time, n int, hold time.Duration) (expiry.Claim, error) {
	return x.Index.Claim(ctx, target[:min(len(target), 1)], now, n, hold)
}

type deaf struct{ *memory.Index }

func (x deaf) Complete(ctx context.Context, c expiry.Claim, later ...expiry.Member) error {
	for i := range later {
		if i < len(c.Members) && later[i].At.Before(c.Members[i].At) {
			later[i].At = c.Members[i].At
		}
	}
	return x.Index.Complete(ctx, c, later...)
}

// lenient takes what waits for later for present; grounded does not see flights;
// shortSighted compares the first members only.
type lenient struct{ *memory.Index }

func (x lenient) Missing(ctx context.Context, members ...expiry.Member) ([]expiry.Member, error) {
	all := slices.Clone(members)
	for i := range all {
		all[i].At = all[i].At.Add(time.Hour)
	}
	found, err := x.Index.Missing(ctx, all...)
	for i := range found {
		found[i].At = found[i].At.Add(-time.Hour)
	}
	return found, err
}

type grounded struct {
	*memory.Index
	aloft map[lease.ID]bool
}

func (x grounded) Claim(ctx context.Context, target string, now time.Time, n int, hold time.Duration) (expiry.Claim, error) {
	c, err := x.Index.Claim(ctx, target, now, n, hold)
	for _, m := range c.Members {
		x.aloft[m.ID] = true
	}
	return c, err
}

func (x grounded) Missing(ctx context.Context, members ...expiry.Member) ([]expiry.Member, error) {
	found, err := x.Index.Missing(ctx, members...)
	for _, m := range members {
		if x.aloft[m.ID] && !slices.Contains(found, m) {
			found = append(found, m)
		}
	}
	return found, err
}

type shortSighted struct{ *memory.Index }

func (x shortSighted) Missing(ctx context.Context, members ...expiry.Member) ([]expiry.Member, error) {
	return x.Index.Missing(ctx, members[:min(len(members), 1000)]...)
}

type usurped struct {
	*memory.Index
	last *expiry.Claim
}

func (x usurped) Claim(ctx context.Context, target string, now time.Time, n int, hold time.Duration) (expiry.Claim, error) {
	c, err := x.Index.Claim(ctx, target, now, n, hold)
	*x.last = c
	return c, err
}

// Complete ends whatever claim was the last.
func (x usurped) Complete(ctx context.Context, _ expiry.Claim, later ...expiry.Member) error {
	return x.Index.Complete(ctx, *x.last, later...)
}

// Each law that was written for a fault is broken by it.
func TestLawsCatchTheirFaults(t *testing.T) {
	t.Parallel()
	laws := map[string]expirytest.Law{}
	for _, law := range expirytest.Laws() {
		laws[law.Name] = law
		if fails(t, law, memory.New()) {
			t.Errorf("the sound index fails %q", law.Name)
		}
	}
	for name, broken := range map[string]func() expiry.Index{
		"upcoming follows claims and put-backs":                          func() expiry.Index { return forgetful{memory.New(), map[string]bool{}} },
		"C7 a claim is completed once, by its token only":                func() expiry.Index { return careless{memory.New()} },
		"C7 a lapsed member keeps the time for which it was claimed":     func() expiry.Index { return wrongTime{memory.New()} },
		"C7 what lapsed and was claimed again is not the first holder's": func() expiry.Index { return usurped{memory.New(), &expiry.Claim{}} },
		"a put-back may name an earlier time":                            func() expiry.Index { return deaf{memory.New()} },
		"a put-back moves only what the claim holds":                     func() expiry.Index { return fogged{memory.New()} },
		"a claim takes no more than its limit":                           func() expiry.Index { return boundless{memory.New()} },
		"an offer may be of any size, with members named twice":          func() expiry.Index { return short{memory.New()} },
		"targets are apart, whatever their names":                        func() expiry.Index { return mixed{memory.New()} },

		"D2 missing is what was never offered, has ended, or waits for later": func() expiry.Index { return lenient{memory.New()} },
		"D2 what is in flight is not missing":                                 func() expiry.Index { return grounded{memory.New(), map[lease.ID]bool{}} },
		"D2 missing is told of any number of members, in order":               func() expiry.Index { return shortSighted{memory.New()} },
	} {
		if law, ok := laws[name]; !ok || !fails(t, law, broken()) {
			t.Errorf("%q does not catch the index that breaks it (known: %v)", name, ok)
		}
	}
}
