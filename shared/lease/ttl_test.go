package lease_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/lease"
)

func drawTTL(t *rapid.T, label string) time.Duration {
	// Few values, so that levels are often equal.
	return time.Duration(rapid.SampledFrom([]int64{0, 0, 1, 2, 3, 60, 3600, 1 << 30}).Draw(t, label)) * time.Second
}

func drawLimits(t *rapid.T) lease.Limits {
	level := func(name string) lease.TTLs {
		return lease.TTLs{Default: drawTTL(t, name+" default"), Max: drawTTL(t, name+" max")}
	}
	return lease.Limits{Role: level("role"), Mount: level("mount"), System: level("system")}
}

// Laws of the ceiling: it is above no maximum that is set, it is one of them,
// and its name is that of the nearest level that has it.
func TestCeiling(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := drawLimits(t)
		ceiling, by := l.Ceiling()
		levels := []struct {
			name lease.Limit
			max  time.Duration
		}{{lease.RoleLimit, l.Role.Max}, {lease.MountLimit, l.Mount.Max}, {lease.SystemLimit, l.System.Max}}
		want := lease.NoLimit
		for _, x := range levels {
			if x.max > 0 && ceiling > x.max {
				t.Fatalf("the ceiling %s is above that of %s, %s", ceiling, x.name, x.max)
			}
			if want == lease.NoLimit && x.max > 0 && x.max == ceiling {
				want = x.name
			}
		}
		if by != want || (ceiling == 0) != (by == lease.NoLimit) {
			t.Fatalf("the ceiling %s is named %q, want %q", ceiling, by, want)
		}
	})
}

// Laws of issuing: the wish counts, else the nearest default; never above the
// ceiling; without an end only where nothing sets one.
func TestIssue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, asked := drawLimits(t), drawTTL(t, "asked")
		g := l.Issue(asked)
		want := asked
		for _, d := range []time.Duration{l.Role.Default, l.Mount.Default, l.System.Default} {
			if want == 0 {
				want = d
			}
		}
		if g.Asked != want {
			t.Fatalf("asked for %s, want %s", g.Asked, want)
		}
		if ceiling, by := l.Ceiling(); g.Max != ceiling || g.MaxBy != by {
			t.Fatalf("ceiling %s by %q, want %s by %q", g.Max, g.MaxBy, ceiling, by)
		}
		switch {
		case g.Max > 0 && g.TTL > g.Max:
			t.Fatalf("granted %s, the ceiling is %s", g.TTL, g.Max)
		case g.Capped != (g.Max > 0 && want > g.Max):
			t.Fatalf("capped: %v", g.Capped)
		case !g.Capped && want > 0 && g.TTL != want:
			t.Fatalf("granted %s without a cap, asked %s", g.TTL, want)
		case g.Capped && g.TTL != g.Max:
			t.Fatalf("capped to %s, the ceiling is %s", g.TTL, g.Max)
		case g.TTL <= 0 && (want > 0 || g.Max > 0):
			t.Fatalf("granted %s", g.TTL)
		}
	})
}

// Laws of extending: never beyond the ceiling; exactly the increment where that
// is below it.
func TestExtension(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := start()
		l := lease.Lease{TTL: drawTTL(t, "ttl")}
		if rapid.Bool().Draw(t, "has a ceiling") {
			l.CeilingAt = now.Add(drawTTL(t, "ceiling"))
		}
		increment := drawTTL(t, "increment")
		until, capped := l.Extension(increment, now)
		want := now.Add(increment)
		if increment == 0 {
			want = now.Add(l.TTL)
		}
		switch {
		case !l.CeilingAt.IsZero() && until.After(l.CeilingAt):
			t.Fatalf("until %s, the ceiling is %s", until, l.CeilingAt)
		case increment == 0 && l.TTL == 0:
			if until != l.CeilingAt || capped {
				t.Fatalf("without a term it runs until %s, capped %v", until, capped)
			}
		case capped != (!l.CeilingAt.IsZero() && want.After(l.CeilingAt)):
			t.Fatalf("capped: %v", capped)
		case !capped && !until.Equal(want):
			t.Fatalf("until %s, want %s", until, want)
		}
	})
}

func TestRemaining(t *testing.T) {
	t.Parallel()
	l := in(t, lease.Active)
	for _, c := range []struct{ at, want time.Duration }{{0, time.Hour}, {59 * time.Minute, time.Minute}, {time.Hour, 0}, {2 * time.Hour, 0}} {
		now := start().Add(c.at)
		if got := l.Remaining(now); got != c.want || l.Usable(now) != (c.want > 0) {
			t.Errorf("after %s: %s, usable %v", c.at, got, l.Usable(now))
		}
	}
	if (&lease.Lease{}).Remaining(start()) != 0 {
		t.Error("a lease without an end has an end")
	}
}

// Law: what is printed is read back by the standard library, to the second.
func TestShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", time.Hour: "1h", 90 * time.Minute: "1h30m", 15 * time.Second: "15s", 3661 * time.Second: "1h1m1s",
		100 * time.Hour: "100h", 400 * time.Millisecond: "0s", 500 * time.Millisecond: "1s", 3605 * time.Second: "1h5s",
	} {
		if got := lease.Short(d); got != want {
			t.Errorf("%s is printed %q, want %q", d, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, 1<<31).Draw(t, "seconds")) * time.Second
		if back, err := time.ParseDuration(lease.Short(d)); err != nil || back != d {
			t.Fatalf("%s is printed %q", d, lease.Short(d))
		}
	})
}

func TestCapWarning(t *testing.T) {
	t.Parallel()
	want := `TTL of "2h" exceeded the effective max_ttl of "1h"; TTL value is capped accordingly`
	if got := lease.CapWarning(2*time.Hour, time.Hour, lease.NoLimit); got != want {
		t.Errorf("%s", got)
	}
	if got := lease.CapWarning(2*time.Hour, time.Hour, lease.MountLimit); got != want+" (capped by: mount)" {
		t.Errorf("%s", got)
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	seen := map[lease.ID]bool{}
	for range 1000 {
		id := lease.NewID("/database/creds/readonly/")
		rest, ok := strings.CutPrefix(string(id), "database/creds/readonly/")
		if !ok || len(rest) != 24 || strings.Trim(rest, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
			t.Fatalf("an id is %q", id)
		}
		if seen[id] || id.Path() != "database/creds/readonly" {
			t.Fatalf("%q came twice, or its path is %q", id, id.Path())
		}
		seen[id] = true
	}
	if lease.ID("x").Path() != "" {
		t.Error("an id without a slash has a path")
	}
	// Each of 62 characters is expected 1000 times; 6 standard deviations are 190.
	count := map[rune]int{}
	for _, r := range lease.RandomBase62(62_000) {
		count[r]++
	}
	for r, n := range count {
		if n < 800 || n > 1200 {
			t.Errorf("%c came %d times of 62000", r, n)
		}
	}
	if len(count) != 62 {
		t.Errorf("%d characters came up", len(count))
	}
}

// A secret and its token end independently; whichever is first counts.
func TestRemainingWith(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	ends := func(s lease.State, after time.Duration) *lease.Lease {
		l := &lease.Lease{State: s}
		if after > 0 {
			l.ExpiresAt = now.Add(after)
		}
		return l
	}
	for _, c := range []struct {
		own, token *lease.Lease
		left       time.Duration
		byToken    bool
	}{
		{ends(lease.Active, time.Hour), ends(lease.Active, time.Minute), time.Minute, true},
		{ends(lease.Active, time.Hour), ends(lease.Active, time.Hour), time.Hour, false},
		{ends(lease.Active, time.Hour), ends(lease.Active, 2*time.Hour), time.Hour, false},
		{ends(lease.Active, time.Hour), ends(lease.Active, 0), time.Hour, false},
		{ends(lease.Active, 0), ends(lease.Active, time.Minute), time.Minute, true},
		{ends(lease.Active, time.Hour), ends(lease.Revoking, time.Minute), time.Hour, false},
		{ends(lease.Active, time.Hour), &lease.Lease{}, time.Hour, false},
	} {
		if left, byToken := c.own.RemainingWith(c.token, now); left != c.left || byToken != c.byToken {
			t.Errorf("%s with %s of %s: %s, by the token: %v", c.own.ExpiresAt, c.token.State, c.token.ExpiresAt, left, byToken)
		}
	}
}
