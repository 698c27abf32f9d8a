//go:build e2e

package fault

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/services/internal/topology"
)

// TestStoreFailover ends the store for good and promotes its standby (A7): one
// that has every commit, under load; and one that has stood still while leases
// were issued, renewed and revoked, all of which the record has. (What a stale copy
// loses that no record has is of fleet.TestFailover.)
func TestStoreFailover(t *testing.T) {
	if !full() || !distributed() {
		t.Skipf("it takes minutes and a standby: set %s=1 and %s=distributed", fullVariable, formVariable)
	}
	t.Run("synchronous", func(t *testing.T) { open(t, standby).failsOver(t) })
	t.Run("stale", func(t *testing.T) { open(t, standby).failsOverStale(t) })
}

func standby(c *topology.Config) { c.Standby = true }

// enough is how often clients are answered before and after.
const enough = 300

func (w *world) failsOver(t *testing.T) {
	t.Helper()
	f, _ := w.store(t)
	row := faults.Row{Fault: "store: failed over", Rounds: 1}
	l := w.load(t, 2*loadClients)
	l.serve(t, enough)
	w.promote(t, f)
	up := w.again(t)
	l.serve(t, enough)
	l.end()
	w.settle(t, &row, up)
	if in := w.installation(t); in.Suspended || len(in.Recoveries) > 0 {
		t.Errorf("after a failover that lost nothing: %+v", in)
	}
	w.close(t, &row)
}

func (w *world) failsOverStale(t *testing.T) {
	t.Helper()
	f, _ := w.store(t)
	row := faults.Row{Fault: "store: failed over to a stale copy", Rounds: 1}
	lives := func() {
		l := w.load(t, 2*loadClients)
		l.serve(t, enough)
		l.end()
		w.settle(t, &row, time.Now())
	}
	lives()
	had := w.book.holds()
	must(t, f.CutOff(t.Context()), "cut the standby off")
	w.form = cutOff{f} // nobody starts it again
	c := w.client(t)
	for i, cred := range had[:len(had)/2] {
		w.book.asks(cred)
		must(t, revoke(t.Context(), c, cred, i%2 == 0), "revoke")
		w.book.ends(cred)
	}
	lives()
	since := slices.DeleteFunc(w.book.holds(), func(c credential) bool { return slices.Contains(had, c) })
	for _, cred := range slices.Concat(had[len(had)/2:], since)[:3] {
		_, err := c.Sys().Renew(cred.lease, 2*3600)
		must(t, err, "renew")
	}
	lives()
	w.form = f
	w.promote(t, f)
	w.record.rewound = true
	up := w.again(t)
	var in installation
	if !soon(cleanWithin, func() bool { in = w.installation(t); return !in.Suspended && len(in.Recoveries) > 0 }) {
		t.Fatalf("the store does not recover: %+v", in)
	}
	r := in.Recoveries[0]
	t.Logf("%d leases were issued and are held that the copy lacks, %d were revoked; recovered within %v: %+v",
		len(since), len(had)/2, time.Since(up).Round(time.Millisecond), r)
	if len(since) == 0 || r.Epoch != 2 || r.Returned < len(since) || r.Prolonged == 0 || r.Revoked < len(had)/2 {
		t.Error("what the copy lacks was not brought back")
	}
	for _, cred := range w.book.holds() {
		if err := w.target.login(t.Context(), cred.user, cred.password); err != nil {
			t.Errorf("%s is held and does not work: %v", cred.user, err)
		}
	}
	// The password of a static role is on no record: that it may be another one is
	// reported, and it is rotated when a person has confirmed the installation.
	if !slices.ContainsFunc(r.Lost, func(l loss) bool {
		return l.What == "configuration" && strings.HasSuffix(l.ID, "static-roles/"+billing)
	}) {
		t.Error("the static role that was rotated is not named as lost")
	}
	_, err := w.client(t).Logical().Write("sys/installation/confirm", nil)
	must(t, err, "confirm the installation")
	w.settle(t, &row, up)
	lives()
	w.close(t, &row)
}

// cutOff is a fleet whose standby stands still.
type cutOff struct{ *fleet }

func (f cutOff) processes() []string {
	return slices.DeleteFunc(f.fleet.processes(), func(name string) bool { return name == topology.Standby })
}

func (f cutOff) start(ctx context.Context) error { return f.Ready(ctx) } // nothing else has ended

// promote kills the store and makes its standby the store.
func (w *world) promote(t *testing.T, f *fleet) {
	t.Helper()
	f.kill(t, topology.Store)
	began := time.Now()
	must(t, f.Promote(t.Context()), "promote the standby")
	t.Logf("the standby was promoted in %v", time.Since(began).Round(time.Millisecond))
}

// installation is what sys/installation says of it.
type installation struct {
	Suspended  bool
	Recoveries []struct {
		Epoch                        int64
		Returned, Prolonged, Revoked int
		Lost                         []loss
	}
	Processes []struct {
		Name string
		Skew int64 `json:"clock_skew_ms"`
	}
}

// loss is what a recovery could not bring back.
type loss struct{ What, ID, Detail string }

func (w *world) installation(t *testing.T) installation {
	t.Helper()
	in, err := w.look(t)
	must(t, err, "read the installation")
	return in
}

// look reads it, where the server may be dying.
func (w *world) look(t *testing.T) (installation, error) {
	t.Helper()
	var in struct{ Data installation }
	body, err := w.get(t, "/v1/sys/installation")
	if err == nil {
		err = json.Unmarshal(body, &in)
	}
	return in.Data, err
}
