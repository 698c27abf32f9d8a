package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// Law: what is kept of rows is what the table says, whatever became of commits,
// and whatever callers do with what they were given.
func TestKeptRowsAreTheTables(t *testing.T) {
	t.Parallel()
	c := storetest.NewClock()
	s, err := Open(t.Context(), t.TempDir(), c, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r := rand.New(rand.NewPCG(1, 2))
	sometimes := func(int) error {
		if r.IntN(4) == 0 {
			return errors.New("broken")
		}
		return nil
	}
	s.BreakCommits(sometimes, sometimes)
	kept := 0
	for range 300 {
		c.Advance(time.Second)
		var items []store.Transition
		for range 1 + r.IntN(6) {
			items = append(items, anyChange(r))
		}
		for _, o := range s.Apply(t.Context(), items...) {
			for i := range o.Lease.Plan {
				o.Lease.Plan[i] = 'x'
			}
			for i := range o.Lease.Handle {
				o.Lease.Handle[i] = 'x'
			}
		}
		for id, k := range s.writer.recent.rows {
			var place int64
			var body string
			if err := s.writer.conn.QueryRowContext(t.Context(), selectRow, string(id)).Scan(&place, &body); err != nil {
				t.Fatalf("%s: %v", id, err)
			}
			if text, err := json.Marshal(k.lease); err != nil || string(text) != body || place != k.place {
				t.Fatalf("kept is %s at %d, the table has %s at %d (%v)", text, k.place, body, place, err)
			}
			kept++
		}
	}
	if kept < 1000 {
		t.Errorf("%d rows were compared", kept)
	}
}

// anyChange is one that often applies, of a few leases.
func anyChange(r *rand.Rand) store.Transition {
	change := lease.Change{
		ID: lease.ID(fmt.Sprintf("a/%d", r.IntN(40))), Version: lease.AnyVersion, Key: lease.RandomBase62(8), By: lease.System("test"),
	}
	switch r.IntN(6) {
	case 0, 1:
		change.Version = 0
		change.Do = lease.Begin{Lease: lease.Lease{Kind: lease.Secret, Plan: []byte("plan"), TTL: time.Hour}, Grace: time.Minute}
	case 2:
		change.Do = lease.Activate{Handle: []byte("handle")}
	case 3:
		change.Do = lease.Revoke{}
	case 4:
		change.Do = lease.Progress{Failed: true, Error: "no", After: time.Minute}
	default:
		change.Do = lease.Finish{To: lease.Revoked}
	}
	return store.Transition{Change: change}
}

// Law: however many rows are on their way, a bounded number of them is kept.
func TestKeptRowsAreBounded(t *testing.T) {
	t.Parallel()
	var r recent
	for i := range 3 * mostRecent {
		r.merge(map[lease.ID]kept{lease.ID(fmt.Sprint(i)): {place: int64(i + 1)}})
	}
	if len(r.rows) != mostRecent {
		t.Errorf("%d rows are kept", len(r.rows))
	}
}
