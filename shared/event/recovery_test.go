package event_test

import (
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// A7: whatever restoring makes of whichever kind of lease, the event says that
// it was restored, and the state it has now.
func TestOfRestored(t *testing.T) {
	t.Parallel()
	until := start().Add(time.Hour)
	for _, kind := range []lease.Kind{lease.Secret, lease.Token, lease.Stray} {
		for _, row := range []lease.State{"", lease.Intent, lease.Active, lease.Revoking} {
			for _, state := range []lease.State{lease.Active, lease.Revoking} {
				before := lease.Lease{ID: "a/1", Kind: kind, State: row, Version: 2, IssuedBy: lease.Actor{Name: "issuer"}}
				switch row {
				case "":
					before = lease.Lease{}
				case lease.Revoking:
					before.Revocation.DueAt = start()
				case lease.Intent, lease.Active, lease.Revoked, lease.Expired, lease.Abandoned:
				}
				known := lease.Lease{
					Kind: kind, State: state, Version: 5, Mount: "database/", Target: "t", Account: "a",
					IssuedBy: lease.Actor{Name: "issuer"}, IssuedAt: start(), ActivatedAt: start(), ExpiresAt: until,
				}
				c := lease.Change{ID: "a/1", Version: lease.AnyVersion, By: lease.System(lease.ActorSweep), Reason: "why", Do: lease.Restore{Known: known}}
				after, err := c.Apply(before, start())
				if kind == lease.Stray && row == "" && state == lease.Active {
					continue // there is no such thing
				}
				if err != nil {
					t.Fatalf("%s %q, known as %s: %v", kind, row, state, err)
				}
				e := event.Of(&before, &after, &c, start())
				if e.Type != event.LeaseRestored || e.Subject != "a/1" || e.Data.State != after.State || e.Data.Version != 6 || e.Data.Kind != kind ||
					e.Data.Reason != "why" || e.Data.Actor.Name != lease.ActorSweep || e.Data.IssuedBy == nil || e.Data.IssuedBy.Name != "issuer" {
					t.Errorf("%s %q, known as %s: %+v", kind, row, state, e)
				}
				if over := after.State == lease.Revoking; over != (e.Data.DueAt != nil) {
					t.Errorf("%s %q became %s: due at %v", kind, row, after.State, e.Data.DueAt)
				}
			}
		}
	}
}

// Golden: the names of what a recovery says (A7, B3), on the wire and as
// subjects.
func TestRecoveryTypes(t *testing.T) {
	t.Parallel()
	for typ, want := range map[event.Type]string{
		event.LeaseRestored: "lease.restored", event.StoreSuspended: "store.suspended", event.StoreResumed: "store.resumed",
		event.InstallationDoubted: "installation.doubted", event.InstallationConfirmed: "installation.confirmed",
	} {
		e := event.Event{Position: event.Position{Epoch: 2, Number: 1}, Type: typ, Time: start(), Subject: "store", Data: event.Data{Reason: "why"}}
		h, body, err := event.Encode(e, "/curfew/x")
		if err != nil {
			t.Fatal(err)
		}
		if got := h["ce-type"][0]; got != "io.curfew."+want || h["ce-id"][0] != "2-1" {
			t.Errorf("%s is %s on the wire", typ, got)
		}
		if got := event.BrokerSubject(e); got != "curfew.event."+want {
			t.Errorf("%s has the subject %s", typ, got)
		}
		if back, err := event.Decode(h, body); err != nil || back.Type != typ || back.Data.Reason != "why" {
			t.Errorf("decoded is %+v, %v", back, err)
		}
	}
}
