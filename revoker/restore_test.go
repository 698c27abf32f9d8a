package revoker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// lines is a log that is counted.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// copied is another installation: a store with all that this one has now, and
// the same targets.
func (w *world) copied() *world {
	w.Helper()
	ctx := context.Background()
	c := &world{T: w.T, store: storetest.NewFake(clock.System{}), engine: w.engine, log: zerolog.Nop()}
	for _, l := range w.store.Leases() {
		if o := c.store.Apply(ctx, store.Transition{Change: change(l.ID, 0, lease.Restore{Known: l})})[0]; o.Err != nil && !errors.Is(o.Err, lease.ErrOver) {
			w.Fatal(o.Err)
		}
	}
	entries, err := w.store.List(ctx, store.KindSystem, "", "", false, 0)
	if err != nil {
		w.Fatal(err)
	}
	for _, e := range entries {
		e.Revision = 0
		if _, err := c.store.Write(ctx, store.Write{Puts: []store.Entry{e}}); err != nil {
			w.Fatal(err)
		}
	}
	return c
}

// reports is the stray accounts that are reported, and whether the installation
// only reports.
func (w *world) reports() (names []string, only bool) {
	w.Helper()
	ctx := context.Background()
	found, err1 := installation.ReportedStrays(ctx, w.store)
	contested, err2 := installation.Contested(ctx, w.store)
	doubts, err3 := installation.Current(ctx, w.store)
	if err := errors.Join(err1, err2, err3); err != nil {
		w.Fatal(err)
	}
	for _, r := range found {
		names = append(names, r.Accounts...)
	}
	return names, len(contested)+len(doubts) > 0
}

func (w *world) confirm() {
	w.Helper()
	if _, err := installation.Confirm(context.Background(), w.store, lease.Actor{Name: "a person"}); err != nil {
		w.Fatal(err)
	}
}

// B3: two installations at work on one target, whichever starts first: each
// revokes its own leases on time, neither takes away what the other one issued,
// and the one that a person confirms takes away the rest.
func TestTwoInstallations(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"original", "copy"} {
		bubble(t, "the "+first+" starts first", func(w *world) {
			stop := w.run()
			time.Sleep(5 * time.Minute)
			stop()
			c := w.copied()
			one, two := w, c
			if first == "copy" {
				one, two = c, w
			}
			defer one.run()()
			time.Sleep(10 * time.Minute)
			defer two.run()()
			var live [2][]lease.Lease
			for range 10 {
				live[0], live[1] = append(live[0], w.issue("a", time.Hour, "")), append(live[1], c.issue("a", time.Hour, ""))
				time.Sleep(30 * time.Second)
			}
			short := []lease.Lease{w.issue("a", time.Minute, ""), c.issue("a", time.Minute, "")}
			time.Sleep(10 * time.Minute)
			for i, x := range []*world{w, c} {
				x.ended(x.lease(short[i].ID))
				names, only := x.reports()
				if !only {
					t.Errorf("installation %d acts", i)
				}
				for _, l := range live[1-i] {
					if !slices.Contains(names, l.Account) {
						t.Errorf("installation %d does not report %s", i, l.Account)
					}
				}
				for _, l := range live[i] {
					if x.lease(l.ID).State != lease.Active || !x.exists(l) {
						t.Errorf("installation %d lost %s", i, l.Account)
					}
				}
			}
			c.confirm()
			time.Sleep(10 * time.Minute)
			for i := range live[0] {
				if w.exists(live[0][i]) || !c.exists(live[1][i]) {
					t.Errorf("confirmed: of the other there is %t, of its own %t", w.exists(live[0][i]), c.exists(live[1][i]))
				}
			}
			names, only := c.reports()
			if _, still := w.reports(); only || len(names) != 0 || !still {
				t.Errorf("confirmed: reports %q, only reports %t; the other only reports %t", names, only, still)
			}
		})
	}
}

// A7: while the store is suspended nothing expires, what was asked for is taken
// away, barriers and mounts are ended; nothing spins and nothing is repeated in
// the log. When it resumes, what is due goes at once.
func TestSuspendedStore(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		ctx := context.Background()
		log := &lines{}
		w.log = zerolog.New(log)
		defer w.run()()
		var due []lease.Lease
		for range 40 {
			due = append(due, w.issue("a", time.Minute, ""))
		}
		asked, barred := w.issue("b", time.Hour, ""), w.issue("b", time.Hour, "")
		begun := w.issue("b", time.Hour, "")
		w.apply(change(begun.ID, lease.AnyVersion, lease.Revoke{}))
		if err := w.store.Suspend(ctx, store.Suspension{Reason: "rewound"}); err != nil {
			t.Fatal(err)
		}
		w.ended(w.wait(begun.ID, 5*time.Second))
		time.Sleep(2 * time.Minute)
		w.apply(change(asked.ID, lease.AnyVersion, lease.Revoke{}))
		w.ended(w.wait(asked.ID, 5*time.Second))
		b, err := w.store.Raise(ctx, store.Barrier{Operation: "op", Prefix: mount + "creds/b/", Reason: "prefix was revoked"})
		if err != nil {
			t.Fatal(err)
		}
		w.ended(w.wait(barred.ID, 10*time.Second))
		put, err := w.store.Write(ctx, store.Write{Puts: []store.Entry{{Kind: store.KindMount, Key: "other/", Value: json.RawMessage(`{}`)}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.Write(ctx, store.Write{Withdrawals: []store.Ref{{Kind: store.KindMount, ID: put[0].ID}}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(75 * time.Minute)
		if _, err := w.store.EntryByID(ctx, store.KindMount, put[0].ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the disabled mount: %v", err)
		}
		if _, err := w.store.Entry(ctx, store.KindBarrier, b.Operation); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the barrier: %v", err)
		}
		for _, l := range due {
			if l = w.lease(l.ID); l.State != lease.Active || !w.exists(l) {
				t.Fatalf("a lease expired by a suspended store: %s", l.State)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "suspended") {
			t.Errorf("%d lines: %s", n, log)
		}
		if err := w.store.Resume(ctx, 0, event.Position{}, store.Write{}); err != nil {
			t.Fatal(err)
		}
		for _, l := range due {
			w.ended(w.wait(l.ID, 2*time.Second))
		}
	})
}

// A7: leases that a recovery made anew have no plan; they end on time all the
// same. One whose connection is gone is parked with the reason.
func TestRestoredLeases(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		source := w.issue("a", time.Minute, "")
		c := &world{T: w.T, store: storetest.NewFake(clock.System{}), engine: w.engine, log: zerolog.Nop()}
		known := source
		known.Plan, known.Handle = nil, nil
		c.apply(change(source.ID, 0, lease.Restore{Known: known}))
		known.Target, known.Account = "gone", "v-gone"
		lost := c.apply(change(lease.NewID(mount+"creds/a"), 0, lease.Restore{Known: known}))
		defer c.start(alone(), memory.New())()
		time.Sleep(55 * time.Second)
		if c.lease(source.ID).State != lease.Active {
			t.Error("a restored lease ended early")
		}
		l := c.wait(source.ID, 10*time.Second)
		c.ended(l)
		if late := l.Revocation.DisabledAt.Sub(l.ExpiresAt); late > 2*time.Second {
			t.Errorf("disabled %s after the expiry", late)
		}
		time.Sleep(time.Hour)
		if r := c.lease(lost.ID).Revocation; !r.Parked || !strings.Contains(r.LastError, "gone") || r.Attempts > 10 {
			t.Errorf("a lease whose connection is gone: %+v", r)
		}
	})
}

// A7: a store that was restored is in doubt: nothing is taken away that only
// the target knows, until a person confirms.
func TestRestoredStore(t *testing.T) {
	t.Parallel()
	bubble(t, "", func(w *world) {
		stop := w.run()
		time.Sleep(5 * time.Minute)
		backup := w.copied()
		lost := w.issue("a", 24*time.Hour, "")
		time.Sleep(5 * time.Minute)
		stop()
		if err := installation.Raise(context.Background(), backup.store, "the store was restored from a copy"); err != nil {
			t.Fatal(err)
		}
		defer backup.run()()
		time.Sleep(time.Hour)
		if names, only := backup.reports(); !only || !slices.Equal(names, []string{lost.Account}) || !w.exists(lost) {
			t.Errorf("restored: reports %q, only reports %t, the account exists %t", names, only, w.exists(lost))
		}
		backup.confirm()
		time.Sleep(10 * time.Minute)
		if names, only := backup.reports(); only || len(names) != 0 || w.exists(lost) {
			t.Errorf("confirmed: reports %q, only reports %t, the account exists %t", names, only, w.exists(lost))
		}
	})
}
