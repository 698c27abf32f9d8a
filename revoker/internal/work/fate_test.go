package work

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

var kinds = []engine.Kind{
	engine.Invalid, engine.NotFound, engine.UnsupportedPath, engine.UnsupportedOperation, engine.Refused,
	engine.Conflict, engine.Unreachable, engine.Busy, engine.NotYet, engine.Internal, "unheard of",
}

// C8: every failure has one fate: it is retried within a minute, or parked and
// tried again within 15 minutes; nothing ends by itself, and nothing spins.
func TestFate(t *testing.T) {
	t.Parallel()
	disabled := lease.Stages{DisabledAt: time.Unix(1_800_000_000, 0)}
	rapid.Check(t, func(t *rapid.T) {
		err := &engine.Error{
			Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Message: "why",
			After: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "after")),
		}
		before := rapid.OneOf(rapid.IntRange(0, 12), rapid.IntRange(0, 1<<40)).Draw(t, "attempts")
		p := fate(err, before, disabled)
		if p.Stages != disabled {
			t.Errorf("the stages that were passed became %+v", p.Stages)
		}
		if err.Kind == engine.NotYet {
			if p.Failed || p.Parked || p.Error != "" || p.After < 100*time.Millisecond || p.After < err.After {
				t.Errorf("waiting for the deadline (B1) became %+v", p)
			}
			return
		}
		needsPerson := err.Kind == engine.Refused || err.Kind == engine.Invalid || err.Kind == engine.NotFound
		most := maxRetry
		if needsPerson {
			most = parkRetry
		}
		if !p.Failed || p.Error != "why" || p.Parked != needsPerson || p.After > most {
			t.Errorf("%s after %d attempts became %+v", err.Kind, before, p)
		}
		if least := firstRetry / 2; p.After < least && (err.After == 0 || p.After < err.After) {
			t.Errorf("%s is tried again after %s", err.Kind, p.After)
		}
	})
}

// C8: the delay doubles from half a second to a minute, at least half of it
// kept by the jitter.
func TestBackoff(t *testing.T) {
	t.Parallel()
	want := firstRetry
	for before := range 70 {
		for range 20 {
			if d := backoff(before); d < want/2 || d > want {
				t.Errorf("after %d attempts: %s, want %s to %s", before, d, want/2, want)
			}
		}
		want = min(2*want, maxRetry)
	}
}

// A state that passes by itself is looked at once more before a person waits a
// quarter of an hour for it.
func TestFirstParkIsShort(t *testing.T) {
	t.Parallel()
	refused := &engine.Error{Kind: engine.Refused, Message: "permission denied"}
	if p := fate(refused, 0, lease.Stages{}); p.After != firstRetry || !p.Parked {
		t.Errorf("the first refusal became %+v", p)
	}
	if p := fate(refused, 1, lease.Stages{}); p.After != parkRetry || !p.Parked {
		t.Errorf("the second refusal became %+v", p)
	}
}

// B7: what failed by its own fault goes alone; what failed with its whole target
// goes with its neighbours again, so that a backlog drains in batches.
func TestParty(t *testing.T) {
	t.Parallel()
	var jobs []job
	for _, kind := range []engine.Kind{"", engine.Unreachable, engine.Busy, engine.Refused, engine.Conflict, ""} {
		j := job{lease: lease.Lease{Engine: "database", State: lease.Revoking}}
		if kind != "" {
			p := fate(&engine.Error{Kind: kind, Message: "why"}, 0, lease.Stages{})
			c := lease.Change{Version: lease.AnyVersion, Do: p}
			var err error
			if j.lease, err = c.Apply(j.lease, time.Unix(1_800_000_000, 0)); err != nil {
				t.Fatal(err)
			}
		}
		jobs = append(jobs, j)
	}
	sizes := map[int]int{}
	for _, p := range party(jobs) {
		sizes[len(p)]++
	}
	if sizes[4] != 1 || sizes[1] != 2 || len(sizes) != 2 {
		t.Errorf("parties by size: %v, want one of four and two of one", sizes)
	}
}
