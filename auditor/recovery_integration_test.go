//go:build integration

package auditor_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// change applies an action to whatever version of a lease there is.
func (p *pipeline) change(id lease.ID, do lease.Action) lease.Lease {
	p.t.Helper()
	c := lease.Change{ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(16), By: lease.Actor{Name: "someone"}, Do: do}
	if _, begin := do.(lease.Begin); begin {
		c.Version = 0
	}
	out := p.store.Apply(p.t.Context(), store.Transition{Change: c})
	p.check(out[0].Err)
	return out[0].Lease
}

func (p *pipeline) active(id lease.ID) {
	p.t.Helper()
	p.change(id, lease.Begin{Grace: time.Minute, Lease: lease.Lease{
		Kind: lease.Secret, MountID: "mount-1", Mount: "database/", Role: "r", Engine: "database", Target: "target-1",
		Account: "v-" + string(id), Plan: []byte(`{}`), TTL: time.Hour, MaxTTL: 24 * time.Hour, Renewable: true,
	}})
	p.change(id, lease.Activate{})
}

// caughtUp waits until the ledger has confirmed all that was committed.
func (p *pipeline) caughtUp() {
	p.t.Helper()
	for deadline := time.Now().Add(hang); ; time.Sleep(5 * time.Millisecond) {
		head, err1 := p.store.Head(p.t.Context())
		at, err2 := p.store.Confirmed(p.t.Context(), store.Ledger)
		n, err3 := p.store.Backlog(p.t.Context())
		if err1 == nil && err2 == nil && err3 == nil && at == head && n == 0 {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("confirmed is %s of %s, %d events are kept: %v, %v, %v", at, head, n, err1, err2, err3)
		}
	}
}

func (p *pipeline) size(epoch int64) int64 {
	p.t.Helper()
	n, err := ledger.NewReader(filepath.Join(p.dir, "audit", "ledger")).Size(epoch)
	p.check(err)
	return n
}

// A7: the files of the store are replaced by a copy of yesterday. Before
// anything runs the store has what is on record, and goes on in a new epoch.
func TestStoreRestoredFromACopy(t *testing.T) {
	p := newPipeline(t)
	files, copied := filepath.Join(p.dir, "store"), filepath.Join(p.dir, "copy")
	p.start()
	_, err := p.store.Write(t.Context(), store.Write{Puts: []store.Entry{
		{Kind: store.KindMount, Key: "database/", ID: "mount-1", Value: []byte(`{"type":"database"}`)},
		{Kind: store.KindConnection, Key: "mount-1/db", ID: "target-1", Value: []byte(`{}`)},
	}})
	p.check(err)
	for _, id := range []lease.ID{"database/creds/r/renewed", "database/creds/r/ended", "database/creds/r/kept"} {
		p.active(id)
	}
	p.caughtUp()
	kept, err := p.store.Get(t.Context(), "database/creds/r/kept")
	p.check(err)
	p.stop()
	p.check(os.CopyFS(copied, os.DirFS(files)))

	p.start()
	renewed := p.change("database/creds/r/renewed", lease.Renew{Increment: 3 * time.Hour})
	p.change("database/creds/r/ended", lease.Revoke{})
	p.change("database/creds/r/ended", lease.Finish{To: lease.Revoked})
	p.active("database/creds/r/new")
	p.check(p.store.Append(t.Context(), event.Event{Type: event.ConfigChanged, Subject: "database/roles/r", Data: event.Data{Path: "database/roles/r"}}))
	p.caughtUp()
	p.stop()
	first := p.size(1)
	p.check(os.RemoveAll(files))
	p.check(os.CopyFS(files, os.DirFS(copied)))

	p.settled = func() { // nothing runs yet
		if why, suspended, err := p.store.Suspension(t.Context()); suspended || err != nil {
			t.Errorf("suspended: %+v, %v", why, err)
		}
		for id, want := range map[lease.ID]lease.State{
			"database/creds/r/renewed": lease.Active, "database/creds/r/ended": lease.Revoking,
			"database/creds/r/new": lease.Active, "database/creds/r/kept": lease.Active,
		} {
			if l, err := p.store.Get(t.Context(), id); err != nil || l.State != want {
				t.Errorf("%s is %q, %v; want %q", id, l.State, err, want)
			}
		}
	}
	p.start()
	if l, err := p.store.Get(t.Context(), renewed.ID); err != nil || !l.ExpiresAt.Equal(renewed.ExpiresAt) {
		t.Errorf("the renewed lease ends at %s, %v; want %s", l.ExpiresAt, err, renewed.ExpiresAt)
	}
	if l, err := p.store.Get(t.Context(), kept.ID); err != nil || l.Version != kept.Version || l.LastKey != kept.LastKey {
		t.Errorf("what was not lost was changed: %+v, %v", l, err)
	}
	p.active("database/creds/r/after")
	p.caughtUp()
	reports, err := installation.Recoveries(t.Context(), p.store)
	if err != nil || len(reports) != 1 || reports[0].Epoch != 2 || reports[0].LostCount != 1 || reports[0].Lost[0].ID != "database/roles/r" ||
		reports[0].Returned != 1 || reports[0].Prolonged != 1 || reports[0].Revoked != 1 {
		t.Errorf("reports: %+v, %v", reports, err)
	}
	if doubts, err := installation.Current(t.Context(), p.store); err != nil || len(doubts) != 1 {
		t.Errorf("doubts: %q, %v", doubts, err)
	}
	// Three restored, suspended, doubted, resumed, and the two of the new lease.
	if n, second := p.size(1), p.size(2); n != first || second != 8 {
		t.Errorf("the ledger has %d entries in epoch 1, had %d, and %d in epoch 2, want 8", n, first, second)
	}
	p.settled = nil
	p.stop()
	p.start() // and it is not found out again
	p.caughtUp()
	p.stop()
	if n := p.size(3); n != 0 {
		t.Errorf("a third epoch began, with %d events", n)
	}
	p.sound()
}
