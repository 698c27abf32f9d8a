package recovery_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/auditor/internal/appender"
	"github.com/curfew-project/curfew/auditor/internal/recovery"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// A7: the law holds over several recoveries of one copy, each of which finds
// what the epochs before have left in the ledger and in the stream.
func TestLawOfRepeats(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(r)
		w.mount()
		w.connection("t1")
		for range rapid.IntRange(0, 10).Draw(r, "before") {
			w.act(r, "before")
		}
		copied := len(w.acts)
		for round := range rapid.IntRange(1, 4).Draw(r, "recoveries") {
			for range rapid.IntRange(0, 12).Draw(r, "after") {
				w.act(r, fmt.Sprint("after-", round))
			}
			w.request(fmt.Sprint("after-", round)) // so that the ledger shows that it was restored
			w.append(true)
			for range rapid.IntRange(0, 4).Draw(r, "tail") {
				w.act(r, fmt.Sprint("tail-", round))
			}
			w.restore(copied)
			for range rapid.IntRange(0, 3).Draw(r, "fork") {
				w.fork(r, fmt.Sprint("fork-", round))
			}
			w.settle(w.auditor(w.fake, recovery.Config{Batch: rapid.IntRange(1, 40).Draw(r, "batch")}))
			w.checkWhole(r)
		}
	})
}

// whole is all that ledger and stream have between them, epoch by epoch; the
// ledger's part first.
func (w *world) whole(r *rapid.T) (record, streamed []event.Event) {
	r.Helper()
	epochs, _ := w.ledger.Epochs()
	for _, epoch := range epochs {
		record = append(record, w.ledger.events(r, epoch)...)
	}
	for _, e := range w.stream.events {
		line, err := appender.Encode(e)
		if err != nil {
			r.Fatalf("encode: %v", err)
		}
		lines := w.ledger[e.Position.Epoch]
		if n := e.Position.Number; n > int64(len(lines)) || !slices.Equal(lines[n-1], line) {
			streamed = append(streamed, e)
		}
	}
	return record, streamed
}

func (w *world) checkWhole(r *rapid.T) {
	r.Helper()
	record, streamed := w.whole(r)
	versions, confirmed := map[lease.ID]int64{}, map[lease.ID]bool{}
	for _, e := range record {
		id := e.Data.LeaseID
		if id == "" {
			continue
		}
		if e.Data.Version <= versions[id] {
			r.Fatalf("%s is version %d of %s, after %d", e.Position, e.Data.Version, id, versions[id])
		}
		versions[id] = e.Data.Version
		confirmed[id] = confirmed[id] || e.Type == event.LeaseCreated
	}
	now := w.clock.Now()
	for id, word := range said(append(record, streamed...)) {
		l := w.lease(id)
		switch {
		case word.over && l.State.Live():
			r.Fatalf("%s is %s, and was seen ending", id, l.State)
		case l.State == lease.Active && word.ExpiresAt != nil && word.ExpiresAt.After(l.ExpiresAt):
			r.Fatalf("%s ends at %s, it is said to at %s", id, l.ExpiresAt, word.ExpiresAt)
		case l.State == lease.Revoking && confirmed[id] && !l.Confirmed() && l.CreateDeadline.After(now):
			r.Fatalf("the creation of %s, which is on record, is waited for until %s, it is %s", id, l.CreateDeadline, now.Round(time.Second))
		case l.State == "" && word.Kind == lease.Secret && word.Target == "t1" && !word.over:
			r.Fatalf("%s was %s, and is nowhere", id, word.State)
		}
	}
}
