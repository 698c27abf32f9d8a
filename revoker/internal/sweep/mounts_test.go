package sweep_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfew-project/curfew/revoker/internal/sweep"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// A2: the operation that disables a mount is finished in the commit that deletes
// the mount, and can be read for a while; where its caller died before it had
// listed the leases, the sweep counts them.
func TestDisablingIsFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := storetest.NewFake(clock.System{})
		write := func(w store.Write) []store.Entry {
			put, err := fake.Write(t.Context(), w)
			if err != nil {
				t.Fatal(err)
			}
			return put
		}
		m := write(store.Write{Puts: []store.Entry{{Kind: store.KindMount, Key: "database/", Value: []byte("{}")}}})[0]
		id := lease.NewID("database/creds/a")
		apply := func(do lease.Action) {
			o := fake.Apply(t.Context(), store.Transition{Change: change(id, do)})[0]
			if o.Err != nil {
				t.Fatal(o.Err)
			}
		}
		apply(lease.Begin{Grace: time.Hour, Lease: lease.Lease{Kind: lease.Secret, MountID: m.ID, Mount: "database/", TTL: time.Hour}})
		value, err := store.Barrier{Operation: "op", Prefix: "database/", MountID: m.ID, RaisedAt: time.Now()}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		write(store.Write{
			Withdrawals: []store.Ref{{Kind: m.Kind, ID: m.ID}},
			Puts:        []store.Entry{{Kind: store.KindDisabling, Key: "op", Value: value}},
		})
		s := &sweep.Mounts{
			Store: fake, Time: store.NewEstimate(fake, clock.System{}), Keep: time.Hour, Every: time.Second,
			Disabled: func(context.Context, store.Entry) error { return nil },
		}
		round := func() (b store.Barrier, there bool) {
			t.Helper()
			if _, err := s.Do(t.Context()); err != nil {
				t.Fatal(err)
			}
			e, err := fake.Entry(t.Context(), store.KindDisabling, "op")
			if errors.Is(err, store.ErrNotFound) {
				return b, false
			}
			if err != nil {
				t.Fatal(err)
			}
			if b, err = store.DecodeBarrier(e.Value); err != nil {
				t.Fatal(err)
			}
			return b, true
		}
		if b, _ := round(); b.Listed {
			t.Error("the sweep did not leave its caller time to list")
		}
		if l, err := fake.Get(t.Context(), id); err != nil || l.State != lease.Revoking {
			t.Errorf("the lease is %s, %v", l.State, err)
		}
		time.Sleep(time.Minute)
		if b, _ := round(); !b.Listed || b.Total != 1 || !b.FinishedAt.IsZero() {
			t.Errorf("operation %+v", b)
		}
		apply(lease.Finish{To: lease.Revoked})
		if b, there := round(); !there || b.FinishedAt.IsZero() || b.Total != 1 {
			t.Errorf("operation %+v", b)
		}
		if _, err := fake.EntryByID(t.Context(), store.KindMount, m.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the mount: %v", err)
		}
		time.Sleep(59 * time.Minute)
		if _, there := round(); !there {
			t.Error("the operation went before it could be read")
		}
		time.Sleep(2 * time.Minute)
		if _, there := round(); there {
			t.Error("the operation stays for ever")
		}
	})
}
