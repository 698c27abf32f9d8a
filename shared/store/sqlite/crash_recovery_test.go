package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/sqlite"
)

// epochKey is the entry that each resumption of the child puts; its value is
// the epoch that began in the same commit.
const epochKey = "epoch"

// childRecovery suspends and resumes for ever and says what was acknowledged,
// after it was.
func childRecovery(dir string) error {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, dir, clock.System{}, sqlite.Config{})
	if err != nil {
		return err
	}
	for {
		head, err := s.Head(ctx)
		if err != nil {
			return err
		}
		_, suspended, err := s.Suspension(ctx)
		if err != nil {
			return err
		}
		if !suspended {
			if err := s.Apply(ctx, begin(lease.NewID("a")), begin(lease.NewID("a")), begin(lease.NewID("a")))[0].Err; err != nil {
				return err
			}
			if err := s.Suspend(ctx, store.Suspension{Reason: strconv.FormatInt(head.Epoch, 10)}); err != nil {
				return err
			}
		}
		fmt.Println("suspended", head.Epoch)
		if err := resume(ctx, s); err != nil {
			return err
		}
		fmt.Println("resumed", head.Epoch+1)
	}
}

// resume begins the next epoch in the middle of the present one.
func resume(ctx context.Context, s *sqlite.Store) error {
	head, err := s.Head(ctx)
	if err != nil {
		return err
	}
	next := strconv.FormatInt(head.Epoch+1, 10)
	put := store.Entry{Kind: store.KindSystem, Key: epochKey, Value: []byte(next)}
	have, err := s.Entry(ctx, put.Kind, put.Key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	put.Revision = have.Revision
	return s.Resume(ctx, head.Epoch+1, event.Position{Epoch: head.Epoch, Number: head.Number / 2}, store.Write{
		Puts:   []store.Entry{put},
		Events: []event.Event{{Type: event.StoreResumed, Subject: next}},
	})
}

// A7: kill -9 in the middle of suspending and resuming leaves the one or the
// other, as acknowledged or one step ahead, and never half of a resumption.
func TestKilledWhileRecovering(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for round := range 6 {
		var what string
		var acked int64
		killAfter(t, "recovery", dir, 5+round, func(line string) {
			if _, err := fmt.Sscan(line, &what, &acked); err != nil {
				t.Errorf("line %q: %v", line, err)
			}
		})
		s := open(t, dir, clock.System{})
		head, err := s.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		have, now := suspended(t, s)
		switch {
		case what == "suspended" && now && head.Epoch == acked:
		case what == "suspended" && !now && head.Epoch == acked+1:
		case what == "resumed" && head.Epoch == acked: // and it may be suspended again
		default:
			t.Errorf("%s %d was acknowledged; suspended is %v, the head %s", what, acked, now, head)
		}
		if now && have.Reason != strconv.FormatInt(head.Epoch, 10) {
			t.Errorf("the suspension of epoch %d is %+v", head.Epoch, have)
		}
		checkResumed(t, s, head, now)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: %s %d was acknowledged; suspended is %v, the head %s", round, what, acked, now, head)
	}
}

// checkResumed checks that every epoch began with its entry and one event, and
// that numbers are dense.
func checkResumed(t *testing.T, s *sqlite.Store, head event.Position, suspended bool) {
	t.Helper()
	e, err := s.Entry(t.Context(), store.KindSystem, epochKey)
	if err != nil || string(e.Value) != strconv.FormatInt(head.Epoch, 10) || e.Revision != head.Epoch-1 {
		t.Errorf("the entry is %s of revision %d, %v; the head is %s", e.Value, e.Revision, err, head)
	}
	all, err := s.Events(t.Context(), event.Position{}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	resumed, last := int64(1), event.Position{Epoch: 1}
	for _, e := range all {
		same := e.Position.Epoch == last.Epoch && e.Position.Number == last.Number+1
		if !same && (e.Position.Epoch <= last.Epoch || e.Position.Number != 1) {
			t.Errorf("%s follows %s", e.Position, last)
		}
		last = e.Position
		if e.Type != event.StoreResumed {
			continue
		}
		if resumed++; e.Subject != strconv.FormatInt(resumed, 10) {
			t.Errorf("the event of epoch %s follows that of %d", e.Subject, resumed-1)
		}
	}
	// That of the present epoch gets its number with the next suspension.
	if want := head.Epoch; suspended && resumed != want || !suspended && resumed != want-1 {
		t.Errorf("%d epochs have events, the head is %s, suspended %v", resumed, head, suspended)
	}
}
