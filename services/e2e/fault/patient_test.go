//go:build e2e

package fault

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/shared/testkit"
)

// onTime is the promise for leases of targets that nothing is done to: access
// ends within a second of its time, where the machine is not shared.
const onTime = 5 * time.Second

// patient is a further target of the installation, with a mount of its own, for
// what is done to a target while the first one must not notice (promise 4).
func (w *world) patient(t *testing.T, options ...testkit.Option) *target {
	t.Helper()
	g := newTarget(t, options...)
	w.admit(t, g)
	return g
}

// admit configures a target that is to be a patient.
func (w *world) admit(t *testing.T, g *target) {
	t.Helper()
	w.made++
	g.mount = fmt.Sprintf("patient%d", w.made)
	g.setUp(t, w.client(t))
	w.others = append(w.others, g)
}

// discharge takes everything away that a patient has, and forgets it.
func (w *world) discharge(t *testing.T, g *target) {
	t.Helper()
	for _, cred := range w.book.holds() {
		if w.home(cred) == g {
			w.book.asks(cred)
			w.book.ends(cred)
		}
	}
	must(t, w.client(t).Sys().UnmountWithContext(t.Context(), g.mount), "disable the engine of a patient")
	// Its server ends with the test: until then all leases have to have ended, and
	// what Curfew keeps there of its own to have gone.
	var left string
	if !soon(hang, func() bool { left = w.remains(t, g); return left == "" }) {
		t.Errorf("%s is left of %s", left, g.mount)
	}
	w.forget(g)
}

// remains is what a patient still has, or "".
func (w *world) remains(t *testing.T, g *target) string {
	t.Helper()
	var f finding
	must(t, w.read(t, &f), "read the record")
	for _, d := range f.details {
		t.Error(d)
	}
	for id, h := range w.record.leases {
		if strings.HasPrefix(id, g.mount+"/") && !slices.Contains(finals, h.state()) {
			return id
		}
	}
	var role string
	must(t, g.super.QueryRow(t.Context(), "SELECT coalesce(max(rolname), '') FROM pg_roles WHERE starts_with(rolname, 'curfew-') OR starts_with(rolname, $1)", marked).Scan(&role), "look for roles")
	return role
}

// forget looks at a patient no more.
func (w *world) forget(g *target) {
	w.others = slices.DeleteFunc(w.others, func(o *target) bool { return o == g })
}

// accounts are those of all targets.
func (w *world) accounts(t *testing.T) map[string]bool {
	t.Helper()
	all := w.target.accounts(t)
	for _, g := range w.others {
		maps.Copy(all, g.accounts(t))
	}
	return all
}

// home is the target of a credential.
func (w *world) home(c credential) *target {
	for _, g := range w.others {
		if strings.HasPrefix(c.lease, g.mount+"/") {
			return g
		}
	}
	return w.target
}

// again connects the harness anew, to a server that was away.
func (g *target) again(t *testing.T) {
	t.Helper()
	g.super = testkit.Connect(t, g.AdminURL(g.admin.Database))
}

// lags are how long after its time each lease below a path that ran out between
// two moments was disabled and gone, shortest first, by the store's clock.
func (w *world) lags(below string, from, to time.Time) (disabled, gone []time.Duration) {
	for id, h := range w.record.leases {
		last := h.last()
		d := last.Data
		if !strings.HasPrefix(id, below) || last.Reason != "lease expired" || d.DueAt == nil || d.DueAt.Before(from) || d.DueAt.After(to) {
			continue
		}
		if d.DisabledAt != nil {
			disabled = append(disabled, d.DisabledAt.Sub(*d.DueAt))
		}
		if d.EndedAt != nil {
			gone = append(gone, d.EndedAt.Sub(*d.DueAt))
		}
	}
	slices.Sort(disabled)
	slices.Sort(gone)
	return disabled, gone
}

// punctual fails where leases of the first target were late between two moments;
// there must have been some.
func (w *world) punctual(t *testing.T, from, to time.Time) {
	t.Helper()
	disabled, gone := w.lags("database/creds/brief/", from, to)
	t.Logf("the other target: %d leases ran out meanwhile; disabled after their time: %s; gone: %s", len(disabled), spread(disabled), spread(gone))
	if len(disabled) == 0 {
		t.Error("no lease of the other target ran out meanwhile")
	} else if worst := disabled[len(disabled)-1]; worst > onTime {
		t.Errorf("a lease of the other target was disabled only %v after its time", worst)
	}
}

// spread are the quantiles of sorted times.
func spread(sorted []time.Duration) string {
	if len(sorted) == 0 {
		return "none"
	}
	at := func(q float64) time.Duration {
		return sorted[int(q*float64(len(sorted)-1))].Round(time.Millisecond)
	}
	return fmt.Sprintf("p50 %v, p99 %v, max %v", at(0.5), at(0.99), at(1))
}

// verdict checks after a fault that ended at up, and adds its row. before is how
// many leases there were when it began.
func (w *world) verdict(t *testing.T, row faults.Row, up time.Time, before int) {
	t.Helper()
	w.settle(t, &row, up)
	row.Leases = w.record.count() - before
	t.Logf("\n%s%s", faults.Head, row)
	must(t, faults.Add(os.Getenv(faults.TableVariable), row), "add to the table")
}
