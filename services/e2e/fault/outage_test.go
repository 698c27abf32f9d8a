//go:build e2e

package fault

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
)

const (
	// disabledWithin is how long after the end of its lease an account may log in
	// while the index or the stream is away: 2 s and the target's time are the
	// promise (D1), this is for a machine that others use, too. A revoker that goes
	// by its own index only where a lease is 30 s late would be found.
	disabledWithin = 20 * time.Second
	// minutes is how long a server is out of reach.
	minutes = 2 * time.Minute
	// beside are the clients of the load beside an outage.
	beside = 3
	// briefs are how many leases are made to run out at a time.
	briefs = 5
)

// laterTTL is that of leases which are issued before an outage and run out in it.
const laterTTL = 8 * time.Second

// outage is a fault of a server that Curfew uses, which lasts for a while.
type outage struct {
	name   string        // with the form: the row's
	rounds int           // where everything is asked for
	lasts  time.Duration // at least, each time; 0: it is over as it begins
	// begin brings it about.
	begin func(t *testing.T) fault
}

// fault is one that was brought about.
type fault struct {
	// effect fails where it is not in effect; it is asked as it begins and before
	// it ends.
	effect func() error
	// end is what an operator does, or what happens by itself, so that everything
	// can work again.
	end func()
}

// outages are done one after the other, each under load, and each as a row.
func (w *world) outages(t *testing.T, all ...outage) {
	t.Helper()
	later := role(laterTTL.String())
	_, err := w.client(t).Logical().Write("database/roles/later", later)
	must(t, err, "write role later")
	if !full() {
		all, all[0].rounds = all[:1], 1
	}
	for _, o := range all {
		if !t.Run(strings.ReplaceAll(o.name, " ", "-"), func(t *testing.T) { w.outage(t, o) }) {
			break // what follows would only find the same
		}
	}
}

func (w *world) outage(t *testing.T, o outage) {
	t.Helper()
	row := faults.Row{Fault: o.name + ", " + w.form.name()}
	var worst time.Duration
	for range o.rounds {
		w.tell(t.Context(), t, parked())
		l := w.load(t, beside)
		l.more(t, 10)
		later := w.runOut(t, "later") // its end comes in the outage, its index and events from before
		broken := o.begin(t)
		began := time.Now()
		for done := false; !done; done = time.Since(began) > o.lasts {
			must(t, broken.effect(), "look whether it is in effect: "+o.name)
			w.goesOn(t)
		}
		w.disabled(t, later, laterTTL)
		l.more(t, 10)
		must(t, broken.effect(), "look whether it was in effect to the end: "+o.name)
		broken.end()
		up := w.again(t)
		row.Rounds++
		l.more(t, 10)
		l.end()
		ended := time.Now()
		w.settle(t, &row, up)
		worst = max(worst, w.record.late(t, began, ended))
	}
	t.Logf("%s: leases that ran out meanwhile were disabled %v after their time at the latest", o.name, worst.Round(time.Millisecond))
	w.close(t, &row)
}

// goesOn is what clients do, and must be served (promise 6): issue, renew, log in,
// revoke and wait for the end (C9); leases that run out lose their login (D1).
func (w *world) goesOn(t *testing.T) {
	t.Helper()
	c := w.client(t)
	brief := w.runOut(t, "brief")
	cred, err := w.issue(t.Context(), c, "database/creds/app")
	must(t, err, "issue")
	w.book.hold(cred)
	_, err = c.Sys().RenewWithContext(t.Context(), cred.lease, 7200)
	must(t, err, "renew")
	must(t, w.target.login(t.Context(), cred.user, cred.password), "log in")
	w.book.asks(cred)
	must(t, revoke(t.Context(), c, cred, true), "revoke, and wait for the end")
	w.book.ends(cred)
	if err := w.target.login(t.Context(), cred.user, cred.password); !refused(err) {
		t.Errorf("%s was revoked, and its login: %v", cred.user, err)
	}
	w.disabled(t, brief, 3*time.Second)
}

// short is a credential that ends by itself, and when it was answered.
type short struct {
	credential
	answered time.Time
}

// runOut issues leases that nobody will revoke.
func (w *world) runOut(t *testing.T, role string) (all []short) {
	t.Helper()
	c := w.client(t)
	for range briefs {
		cred, err := w.issue(t.Context(), c, "database/creds/"+role)
		must(t, err, "issue")
		w.book.ends(cred)
		all = append(all, short{cred, time.Now()})
	}
	return all
}

// disabled waits until each of these has lost its login, by Curfew and not by the
// time that the target knows (B8), and fails where that was late.
func (w *world) disabled(t *testing.T, all []short, ttl time.Duration) {
	t.Helper()
	for _, s := range all {
		due := s.answered.Add(ttl)
		if !soon(time.Until(due)+disabledWithin, func() bool { return !w.target.accounts(t)[s.user] }) {
			t.Errorf("%s could log in %v after the end of its lease", s.lease, time.Since(due).Round(time.Millisecond))
			continue
		}
		if err := w.target.login(t.Context(), s.user, s.password); !refused(err) {
			t.Errorf("%s is disabled, and its login: %v", s.user, err)
		}
	}
}

// late is how long after its end the last of the leases was disabled that ran out
// between two moments, as the record has it; it fails where that was too long.
func (r *record) late(t *testing.T, from, to time.Time) (worst time.Duration) {
	t.Helper()
	n := 0
	for id, h := range r.leases {
		d := h.last().Data
		if h.last().Reason != "lease expired" || d.Kind != "secret" || d.DueAt == nil || d.DisabledAt == nil || d.DueAt.Before(from) || d.DueAt.After(to) {
			continue
		}
		n++
		by := d.DisabledAt.Sub(*d.DueAt)
		if by > disabledWithin {
			t.Errorf("%s was disabled %v after its end, %s; its events: %s", id, by, d.DueAt, h.times())
		}
		worst = max(worst, by)
	}
	if n < briefs {
		t.Errorf("only %d leases ran out in the outage, as the record has it", n)
	}
	return worst
}

// times are when each entry was committed, for a person.
func (h history) times() string {
	var out []string
	for _, e := range h {
		out = append(out, e.Type+" "+e.Time.Format(time.StampMilli))
	}
	return strings.Join(out, ", ")
}

// more waits until clients were answered so often again.
func (l *load) more(t *testing.T, answers int64) {
	t.Helper()
	want := l.done.Load() + answers
	if !soon(hang, func() bool { return l.done.Load() >= want }) {
		t.Fatalf("clients were answered %d times more, want %d", answers-want+l.done.Load(), answers)
	}
}

// away is the effect of a server that does not answer: ask is to fail.
func away(ask func() error) func() error {
	return func() error {
		if ask() == nil {
			return errors.New("it answers")
		}
		return nil
	}
}
