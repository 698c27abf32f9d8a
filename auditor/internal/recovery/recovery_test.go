package recovery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/recovery"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// history makes one of everything: a copy is taken in the middle, the record
// goes on without it, the last of it only in the stream, and the copy goes on.
func history(w *world) {
	w.mount()
	w.connection("here")
	for _, name := range []string{"kept", "renewed", "revoking", "ended", "forked"} {
		w.active(name, "here")
	}
	w.begin("confirmed", "here")
	w.begin("begun", "here")
	w.token("kept")
	w.token("renewed")
	w.token("ended")
	w.append(true)
	w.request("common")
	copied := len(w.acts) // one event has no number yet

	w.connection("gone")
	w.change("database/creds/r/renewed", lease.Renew{Increment: 2 * time.Hour})
	w.change("database/creds/r/confirmed", lease.Activate{Handle: []byte("oid")})
	w.end("database/creds/r/revoking", false)
	w.end("database/creds/r/ended", true)
	w.active("new", "here")
	w.active("new and renewed", "here")
	w.change("database/creds/r/new and renewed", lease.Renew{Increment: 3 * time.Hour})
	w.begin("new intent", "here")
	w.end(w.active("new revoking", "here"), false)
	w.end(w.active("new ended", "here"), true)
	w.active("of no connection", "gone")
	w.change("auth/token/create/renewed", lease.Renew{Increment: 2 * time.Hour})
	w.end("auth/token/create/ended", true)
	w.token("new")
	w.end(w.token("new revoking"), false)
	w.end(w.token("new ended"), true)
	w.append(true)
	w.publish()
	w.active("in the stream", "here")
	w.end("database/creds/r/new", false)
	w.request("lost")
	w.number()
	w.publish()

	w.restore(copied)
	w.request("fork")
	w.end("database/creds/r/forked", false)
	w.number()
	w.request("unnumbered")
}

// What is on record comes back, what cannot is named, and what the copy did
// itself is the beginning of the new epoch.
func TestRecovers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	kept := w.lease("database/creds/r/kept")
	old := slices.Clone(w.ledger[1])
	now := w.clock.Now()
	w.settle(w.auditor(w.fake, recovery.Config{}))

	for name, want := range map[string]struct {
		state   lease.State
		expires time.Duration // beyond now, roughly; 0: not looked at
	}{
		"kept":             {lease.Active, time.Hour},
		"renewed":          {lease.Active, 2 * time.Hour},
		"confirmed":        {lease.Active, time.Hour},
		"begun":            {lease.Intent, 0},
		"revoking":         {lease.Revoking, 0},
		"ended":            {lease.Revoking, 0},
		"forked":           {lease.Revoking, 0},
		"new":              {lease.Revoking, 0}, // by the stream
		"new and renewed":  {lease.Active, 3 * time.Hour},
		"new intent":       {lease.Intent, 0},
		"new revoking":     {lease.Revoking, 0},
		"new ended":        {"", 0},
		"of no connection": {"", 0},
		"in the stream":    {lease.Active, time.Hour},
	} {
		l := w.lease(lease.ID("database/creds/r/" + name))
		if l.State != want.state {
			t.Errorf("%s is %q, want %q", name, l.State, want.state)
		}
		if left := l.ExpiresAt.Sub(now); want.expires > 0 && (left > want.expires || left < want.expires-2*time.Minute) {
			t.Errorf("%s has %s left, want about %s", name, left, want.expires)
		}
	}
	for name, want := range map[string]lease.State{
		"kept": lease.Active, "renewed": lease.Active, "ended": lease.Revoking, "new": "", "new revoking": lease.Revoking, "new ended": "",
	} {
		if l := w.lease(lease.ID("auth/token/create/" + name)); l.State != want {
			t.Errorf("token %s is %q, want %q", name, l.State, want)
		}
	}
	if again := w.lease("database/creds/r/kept"); text(again) != text(kept) {
		t.Errorf("what was not lost was changed:\n%s\n%s", text(kept), text(again))
	}
	made := w.lease("database/creds/r/new and renewed")
	if made.MountID != "mount-1" || made.Engine != "database" || made.Account != "v-new and renewed" || made.Target != "here" || made.Mount != "database/" ||
		made.Role != "r" || made.IssuedBy.Name != "someone" || made.TokenID != "auth/token/create/root" || made.ActivatedAt.IsZero() || made.Renewable || made.Plan != nil {
		t.Errorf("made anew: %s", text(made))
	}
	intent := w.lease("database/creds/r/new intent")
	if left := intent.CreateDeadline.Sub(now); left < 5*time.Minute || left > 6*time.Minute {
		t.Errorf("the creation of an intent that was made anew is refused %s from now", left)
	}
	for _, l := range []lease.Lease{intent, w.lease("database/creds/r/begun")} {
		if want := l.IssuedAt.Add(time.Hour + 5*time.Minute); !l.ConfirmBy.Equal(want) {
			t.Errorf("%s is rolled back at %s, want %s", l.ID, l.ConfirmBy, want)
		}
	}
	if w.lease("database/creds/r/ended").ActivatedAt.IsZero() || w.lease("database/creds/r/new revoking").ActivatedAt.IsZero() {
		t.Error("what was confirmed is not known to have been")
	}

	checkReport(t, w)
	checkNumbers(t, w, old)
}

func checkReport(t *testing.T, w *world) {
	t.Helper()
	reports := w.reports()
	if len(reports) != 1 {
		t.Fatalf("%d reports", len(reports))
	}
	r := reports[0]
	want := []string{"configuration database/config/gone", "lease database/creds/r/of no connection", "token accessor-new"}
	if !slices.Equal(lost(r), want) || r.LostCount != len(want) {
		t.Errorf("lost %d: %q, want %q", r.LostCount, lost(r), want)
	}
	for _, l := range r.Lost {
		if l.By.Name != "someone" || l.At.IsZero() || l.What == "lease" && (l.Account != "v-of no connection" || l.Target != "gone") {
			t.Errorf("a loss does not say all: %+v", l)
		}
	}
	// renewed, token renewed; confirmed, new and renewed, new intent, in the
	// stream; revoking, ended, new, new revoking, token ended, token revoking.
	if r.Epoch != 2 || r.Prolonged != 2 || r.Returned != 4 || r.Revoked != 6 || r.Reason == "" {
		t.Errorf("report: %+v", r)
	}
	if len(w.doubts()) != 1 {
		t.Errorf("doubts: %q, want one", w.doubts())
	}
	for _, loss := range want {
		_, id, _ := strings.Cut(loss, " ")
		if n := strings.Count(w.log.String(), `"`+id+`"`); n != 1 {
			t.Errorf("%s is logged %d times, want once", id, n)
		}
	}
}

// D3, D5: the first epoch stays as it was, the second begins with what the copy
// did, then the recovery, and each is dense.
func checkNumbers(t *testing.T, w *world, old [][]byte) {
	t.Helper()
	if now := w.ledger[1]; len(now) != len(old) || string(now[len(now)-1]) != string(old[len(old)-1]) {
		t.Errorf("the first epoch has %d entries, had %d", len(now), len(old))
	}
	second := w.ledger.events(t, 2)
	types := map[event.Type]int{}
	var requests []string
	for _, e := range second {
		types[e.Type]++
		if e.Type == event.RequestServed {
			requests = append(requests, strings.Split(e.Subject, "/")[0])
		}
	}
	if !slices.Equal(requests, []string{"fork", "unnumbered"}) {
		t.Errorf("requests in the second epoch: %q", requests)
	}
	if types[event.StoreSuspended] != 1 || types[event.StoreResumed] != 1 || types[event.InstallationDoubted] != 1 || types[event.LeaseRestored] != 13 {
		t.Errorf("the second epoch has %v", types)
	}
	if len(second) > 0 && second[0].Type != event.RequestServed {
		t.Errorf("the second epoch begins with %s", second[0].Type)
	}
	for epoch := range w.ledger {
		if epoch > 2 {
			t.Errorf("there is an epoch %d", epoch)
		}
	}
}

func text(v any) string {
	body, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(body)
}

// state is what must be the same however often the recovery was interrupted.
func (w *world) state() string {
	var b strings.Builder
	for _, l := range w.fake.Leases() {
		l.LastKey, l.Position = "", 0
		l.Revocation.Since, l.Revocation.DueAt, l.Revocation.NextTryAt = time.Time{}, time.Time{}, time.Time{}
		l.CreateDeadline = time.Time{}
		fmt.Fprintln(&b, text(l))
	}
	for _, r := range w.reports() {
		r.At = time.Time{}
		fmt.Fprintln(&b, text(r))
	}
	fmt.Fprintln(&b, w.doubts())
	for _, line := range w.ledger[1] {
		fmt.Fprintln(&b, string(line))
	}
	for _, e := range w.ledger.events(w.t, 2) {
		if e.Type != event.StoreSuspended { // says when
			fmt.Fprintln(&b, e.Type, e.Subject, e.Data.Reason, e.Data.Version)
		}
	}
	return b.String()
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[i] + "\nwant\n" + b[i]
		}
	}
	return fmt.Sprintf("%d lines, want %d", len(a), len(b))
}

// Every call fails in both ways at every turn, with and without a restart after
// it: the end is the same.
func TestFaults(t *testing.T) {
	t.Parallel()
	methods := []string{"Confirmed", "Events", "Suspension", "Suspend", "Head", "Now", "Get", "Due", "Entry", "EntryByID", "Apply", "Resume"}
	clean := newWorld(t)
	history(clean)
	counted := storetest.NewFaulty(clean.fake)
	small := recovery.Config{Batch: 4}
	a := clean.auditor(counted, small)
	if _, err := a.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls := map[string]int{}
	for _, m := range methods {
		if calls[m] = counted.Calls(m); calls[m] == 0 {
			t.Fatalf("%s was not called", m)
		}
	}
	clean.settle(a)
	want := clean.state()
	for _, method := range methods {
		for nth := 1; nth <= calls[method]; nth++ {
			for _, done := range []bool{false, true} {
				for _, restart := range []bool{false, true} {
					name := fmt.Sprintf("%s %d done %t restart %t", method, nth, done, restart)
					w := newWorld(t)
					history(w)
					broken := storetest.NewFaulty(w.fake, storetest.Fault{Method: method, Nth: nth, Done: done})
					a := w.auditor(broken, small)
					// A resume whose answer was lost is asked for.
					_, err := a.Do(t.Context())
					if told := method == "Resume" && done; (err == nil) != told {
						t.Errorf("%s: %v", name, err)
					}
					if restart {
						a = w.auditor(broken, small)
					}
					w.settle(a)
					if got := w.state(); got != want {
						t.Fatalf("%s: ended with\n%s", name, firstDifference(got, want))
					}
				}
			}
		}
	}
}

// Nothing is missing: the store goes on as it was, and nobody doubts.
func TestNothingLost(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{false, true} {
		w := newWorld(t)
		w.active("a", "here")
		w.append(true)
		w.request("more")
		w.number()
		w.publish()
		w.request("unnumbered")
		if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test", Lost: known}); err != nil {
			t.Fatal(err)
		}
		w.settle(w.auditor(w.fake, recovery.Config{}))
		second := len(w.ledger[2])
		if !known && (second != 0 || len(w.reports()) != 0 || len(w.doubts()) != 0 || len(w.ledger[1]) != 6) {
			t.Errorf("epoch 2 has %d events, %d reports, doubts %q, epoch 1 %d events", second, len(w.reports()), w.doubts(), len(w.ledger[1]))
		}
		if known && (second == 0 || len(w.reports()) != 1 || len(w.doubts()) != 1) {
			t.Errorf("epoch 2 has %d events, %d reports, doubts %q", second, len(w.reports()), w.doubts())
		}
	}
}

// A ledger of another store changes nothing, and a store that is suspended for
// another reason stays so.
func TestForeignLedger(t *testing.T) {
	t.Parallel()
	for _, suspended := range []bool{false, true} {
		for name, spoil := range map[string]func(w *world){
			"another": func(w *world) {
				for i := range w.ledger[1] {
					w.ledger[1][i] = []byte(strings.ReplaceAll(string(w.ledger[1][i]), `"subject":"`, `"subject":"other/`))
				}
			},
			"shorter": func(w *world) { w.ledger[1] = w.ledger[1][:2] },
		} {
			w := newWorld(t)
			for i := range 5 {
				w.active(fmt.Sprint(i), "here")
			}
			w.append(true)
			if suspended {
				if err := w.fake.Suspend(t.Context(), store.Suspension{Reason: "a test"}); err != nil {
					t.Fatal(err)
				}
			}
			spoil(w)
			r := recovery.New(w.ledger, w.stream, w.fake, noLog(), recovery.Config{})
			for range 2 {
				if err := r.Recover(t.Context(), errors.New("found")); !errors.Is(err, recovery.ErrForeign) || !strings.Contains(err.Error(), "put back") {
					t.Errorf("%s: %v, want ErrForeign with what to do", name, err)
				}
			}
			if _, now, err := w.fake.Suspension(t.Context()); now != suspended || err != nil {
				t.Errorf("%s: suspended %t, was %t, %v", name, now, suspended, err)
			}
		}
	}
}

// Without a reason and a suspension there is nothing to do.
func TestNothingToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.active("a", "here")
	w.append(true)
	w.request("more")
	if err := recovery.New(w.ledger, w.stream, w.fake, noLog(), recovery.Config{}).Recover(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if head, err := w.fake.Head(t.Context()); err != nil || head.Epoch != 1 || head.Number != 2 {
		t.Errorf("the head is %s, %v", head, err)
	}
}

// A copy from before an earlier recovery lacks the rest of one epoch and all of
// the next; what an earlier fork did is not taken for the truth.
func TestSeveralEpochs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	w.active("shared", "here")
	w.active("both", "here")
	w.append(true)
	first := len(w.acts)
	w.change("database/creds/r/both", lease.Renew{Increment: 2 * time.Hour})
	w.change("database/creds/r/both", lease.Renew{Increment: 3 * time.Hour})
	w.change("database/creds/r/both", lease.Renew{Increment: 4 * time.Hour})
	w.active("in the first", "here")
	w.append(true)
	older, clock := w.copied(first)
	w.restore(first)
	w.end("database/creds/r/both", true) // in the fork, by fewer versions
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if r := w.reports(); len(r) != 1 || r[0].Epoch != 2 {
		t.Fatalf("the first recovery: %+v", r)
	}
	w.clock.Advance(time.Second)
	w.active("in the second", "here")
	w.settle(w.auditor(w.fake, recovery.Config{}))

	clock.Advance(w.clock.Now().Sub(clock.Now()))
	w.fake, w.clock = older, clock
	w.request("fork")
	w.settle(w.auditor(w.fake, recovery.Config{}))
	for name, want := range map[string]lease.State{
		"shared": lease.Active, "both": lease.Revoking, "in the first": lease.Active, "in the second": lease.Active,
	} {
		if l := w.lease(lease.ID("database/creds/r/" + name)); l.State != want {
			t.Errorf("%s is %q, want %q", name, l.State, want)
		}
	}
	if l := w.lease("database/creds/r/both"); l.Version <= 5 {
		t.Errorf("version %d was seen by others before", l.Version)
	}
	if r := w.reports(); len(r) != 1 || r[0].Epoch != 3 || r[0].From != "1-6" || r[0].LostCount != 0 {
		t.Errorf("the second recovery: %+v", r)
	}
	third := w.ledger.events(t, 3)
	if len(third) == 0 || !strings.HasPrefix(third[0].Subject, "fork/") {
		t.Errorf("the third epoch has %d events", len(third))
	}
}

// A store that deleted what was not on record yet has nothing left to compare:
// the whole record is folded, and what has ended in it is not live.
func TestNothingToCompare(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mount()
	w.connection("here")
	id := w.active("a", "here")
	w.append(false)
	copied := len(w.acts)
	w.end(id, true)
	w.append(false)
	w.restore(copied)
	w.trim(event.Position{Epoch: 1, Number: 4})
	w.settle(w.auditor(w.fake, recovery.Config{}))
	if l := w.lease(id); l.State != lease.Revoking {
		t.Errorf("what was revoked is %q", l.State)
	}
}

// What the revoker has done meanwhile with what an earlier try brought in does
// not change the report.
func TestReportAfterAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	history(w)
	broken := storetest.NewFaulty(w.fake, storetest.Fault{Method: "Resume", Nth: 1})
	a := w.auditor(broken, recovery.Config{})
	if _, err := a.Do(t.Context()); !errors.Is(err, storetest.ErrInjected) {
		t.Fatalf("do: %v", err)
	}
	w.change("database/creds/r/ended", lease.Finish{To: lease.Revoked})
	w.change("database/creds/r/revoking", lease.Progress{Failed: true, Error: "away"})
	w.settle(a)
	checkReport(t, w)
}
