//go:build e2e

package fault

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
)

// check waits until clients, target and record agree, and counts what does not
// in time. up is when the last process could work. The book is empty of doubts
// afterwards.
func (w *world) check(t *testing.T, up time.Time) (clean time.Duration, f finding) {
	t.Helper()
	w.mend(t)
	w.clear(t)
	var wrong, last finding // last: of the look before
	var agreed bool
	soon(hang, func() bool {
		if w.dead(t) { // at a point that was armed for what follows a restart
			up = w.again(t)
		}
		last, wrong = wrong, finding{}
		agreed = w.agree(t, &f, &wrong) && wrong.None()
		return agreed || time.Since(up) > cleanWithin
	})
	clean = time.Since(up)
	if n := len(last.details); n > 0 && clean > slow {
		t.Logf("clean after %v; what was waited for last: %d, of which %q", clean.Round(time.Millisecond), n, last.details[:min(n, 3)])
	}
	if !agreed {
		f.Add(wrong.Harm)
		f.details = append(f.details, wrong.details...)
		if wrong.None() {
			f.add(faults.Harm{Lost: 1}, "the record cannot be read in time: "+strings.Join(wrong.details, "; "))
		}
	}
	w.fsck(t, up.Add(cleanWithin), &f)
	w.record.judge(w.book.remade, &f)
	w.logins(t, &f)
	w.untold(t, &f)
	w.book.note(func() {
		for _, text := range w.book.early {
			f.add(faults.Harm{Early: 1}, text)
		}
		w.book.early = nil
	})
	return clean, f
}

// dead reports whether a process does not run.
func (w *world) dead(t *testing.T) bool {
	t.Helper()
	return slices.ContainsFunc(w.form.processes(), func(name string) bool { return !w.form.running(t, name) })
}

// mend does what a person has to do for parked revocations: it removes the reason,
// and writes the connection again, at which they are tried (C8).
func (w *world) mend(t *testing.T) {
	t.Helper()
	there := w.target.accounts(t)
	for user, cred := range w.book.parked {
		if _, ok := there[user]; ok {
			must(t, w.target.exec(t, "ALTER ROLE %q NOSUPERUSER", user), "make an account ordinary")
		}
		delete(w.book.parked, user)
		w.book.asks(cred)
	}
	data, c := w.target.connection(t, w.target.admin.User, w.target.admin.Password), w.client(t)
	w.insist(t, "write the connection", func() error {
		_, err := c.Logical().WriteWithContext(t.Context(), "database/config/db", data)
		return err
	})
}

// insist repeats a request until it is answered, and starts again what dies
// meanwhile.
func (w *world) insist(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	if !soon(cleanWithin, func() bool {
		if w.dead(t) { // at a point that was armed for what follows a restart
			w.again(t)
		}
		err = try()
		return err == nil
	}) {
		must(t, err, what)
	}
}

// clear asks again for the ends that were not answered, until they are.
func (w *world) clear(t *testing.T) {
	t.Helper()
	c, b := w.client(t), w.book
	for _, cred := range maps.Clone(b.unclear) {
		w.insist(t, "revoke what was not answered", func() error { return revoke(t.Context(), c, cred, false) })
		b.ends(cred)
	}
}

// agree compares once; false where the record cannot be read. seen is for what
// no waiting mends.
func (w *world) agree(t *testing.T, seen, wrong *finding) bool {
	t.Helper()
	there := w.accounts(t)
	if err := w.read(t, seen); err != nil {
		wrong.details = append(wrong.details, err.Error())
		return false
	}
	active, open := w.record.accounts()
	b := w.book
	for user, lease := range open {
		if _, ok := b.parked[user]; !ok {
			wrong.add(faults.Harm{Lost: 1}, fmt.Sprintf("%s is on its way: %s", lease, w.record.leases[lease].types()))
		}
	}
	for user := range there {
		_, lives := active[user]
		_, parked := b.parked[user]
		if !lives && !parked {
			wrong.add(faults.Harm{Strays: 1}, user+" is in the target and has no live lease")
		}
	}
	for user, lease := range active {
		if _, ok := there[user]; !ok {
			wrong.add(faults.Harm{Lost: 1}, lease+" is active and its account is gone")
		}
	}
	for user, cred := range b.held {
		if active[user] != cred.lease {
			wrong.add(faults.Harm{Early: 1}, cred.lease+" is held and its lease is not active")
		}
	}
	for _, cred := range b.ended {
		if h := w.record.leases[cred.lease]; h == nil {
			wrong.add(faults.Harm{Lost: 1}, cred.lease+" was answered and is not on record")
		} else if !slices.Contains(finals, h.state()) {
			wrong.add(faults.Harm{Strays: 1}, cred.lease+" outlives its end: "+h.types())
		}
	}
	return true
}

// logins counts credentials that do not work though a client holds them; of the
// static role, too.
func (w *world) logins(t *testing.T, f *finding) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	work := make(chan credential)
	for range 4 {
		all.Go(func() {
			for c := range work {
				if err := w.home(c).login(t.Context(), c.user, c.password); err != nil {
					mu.Lock()
					f.add(faults.Harm{Early: 1}, fmt.Sprintf("%s does not work, though a client holds it: %v", c.user, err))
					mu.Unlock()
				}
			}
		})
	}
	for _, c := range w.book.holds() {
		work <- c
	}
	close(work)
	all.Wait()
	// A rotation may come between the answer and the login.
	var err error
	if !soon(cleanWithin, func() bool { err = w.static(t); return err == nil }) {
		f.add(faults.Harm{Early: 1}, fmt.Sprintf("the password of the static role that was answered does not work: %v", err))
	}
}

func (w *world) static(t *testing.T) error {
	t.Helper()
	s, err := w.client(t).Logical().Read("database/static-creds/" + billing)
	if err != nil {
		return err
	}
	if s == nil {
		return errors.New("there is no answer")
	}
	return w.target.login(t.Context(), billing, fmt.Sprint(s.Data["password"]))
}

// untold ends the leases that no client was told of. Each needs a request that
// was not answered.
func (w *world) untold(t *testing.T, f *finding) {
	t.Helper()
	c, n, b := w.client(t), 0, w.book
	active, _ := w.record.accounts()
	for user, lease := range active {
		if _, held := b.held[user]; held {
			continue
		}
		n++
		cred := credential{lease: lease, user: user}
		b.asks(cred)
		if err := revoke(t.Context(), c, cred, false); err != nil {
			f.add(faults.Harm{Lost: 1}, fmt.Sprintf("%s cannot be revoked: %v", lease, err))
			continue
		}
		b.ends(cred)
	}
	if n > b.unanswered {
		f.add(faults.Harm{Lost: n - b.unanswered}, fmt.Sprintf("%d leases are active that no client was told of, but only %d requests were not answered", n, b.unanswered))
	}
	b.unanswered = 0
}
