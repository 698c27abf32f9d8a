package sweep_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/sweep"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// settled is a universe of one installation that has held its target for long;
// what its process logs is in the buffer.
func settled(t *testing.T) (*universe, *proc, *bytes.Buffer) {
	t.Helper()
	u, log := newUniverse(t), &bytes.Buffer{}
	p := u.sites[0].start(0)
	p.sweep.Log = zerolog.New(log)
	u.pass(5*every, 0)
	return u, p, log
}

func (u *universe) mark() string {
	m, err := u.probe.Mark(context.Background())
	if err != nil {
		u.Fatalf("%v", err)
	}
	return m
}

// B3: a process that has just started takes the mark and takes nothing away;
// one that has held the target acts in each round.
func TestFirstRoundsOnlyLook(t *testing.T) {
	t.Parallel()
	u := newUniverse(t)
	u.account("v-stray")
	u.clock.Advance(time.Hour)
	x := u.sites[0]
	x.start(0)
	before := ""
	for i := range 4 {
		u.pass(every, 0)
		if u.exists("v-stray") != (i < 2) || len(x.reported()) != 0 {
			t.Errorf("round %d: exists %t, reported %q", i, u.exists("v-stray"), x.reported())
		}
		if u.mark() == before {
			t.Errorf("round %d left the mark %q", i, before)
		}
		before = u.mark()
	}
}

// B3: a target whose mark cannot be read or written is only reported, for that
// round, and said so once; then it goes on where it was, with no new waiting.
func TestMarkIsNotThere(t *testing.T) {
	t.Parallel()
	for _, m := range []enginetest.Method{enginetest.MethodMark, enginetest.MethodSetMark} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%t", m, after), func(t *testing.T) {
				t.Parallel()
				u, p, log := settled(t)
				u.account("v-stray")
				u.clock.Advance(3 * every)
				heal := u.target.Inject(enginetest.Fault{
					Method: m, After: after, Err: &engine.Error{Kind: engine.Refused, Message: "must be owner of role curfew"},
				})
				for range 5 {
					p.round(0)
				}
				if got := p.site.reported(); !slices.Equal(got, []string{"v-stray"}) || !u.exists("v-stray") {
					t.Errorf("reported %q, exists %t", got, u.exists("v-stray"))
				}
				if n := strings.Count(log.String(), "must be owner of role curfew"); n != 1 {
					t.Errorf("the reason was logged %d times", n)
				}
				heal()
				p.round(0)
				if got := p.site.reported(); len(got) != 0 || u.exists("v-stray") || p.site.reports() != "" {
					t.Errorf("mended: reported %q, %q, exists %t", got, p.site.reports(), u.exists("v-stray"))
				}
				if n := strings.Count(log.String(), "taken away again"); n != 1 {
					t.Errorf("that it acts again was logged %d times", n)
				}
			})
		}
	}
}

// A mark that changes each time it is looked at is given up for the round.
func TestMarkKeepsChanging(t *testing.T) {
	t.Parallel()
	u, p, _ := settled(t)
	u.account("v-stray")
	u.clock.Advance(3 * every)
	heal := u.target.Inject(enginetest.Fault{Method: enginetest.MethodSetMark, Err: &engine.Error{Kind: engine.Conflict, Message: "another"}})
	before := u.target.Calls(enginetest.MethodSetMark)
	p.round(0)
	if n := u.target.Calls(enginetest.MethodSetMark) - before; n < 2 || n > 10 || !u.exists("v-stray") || len(p.site.reported()) != 1 {
		t.Errorf("%d attempts, exists %t, reported %q", n, u.exists("v-stray"), p.site.reported())
	}
	heal()
	p.round(0)
	if u.exists("v-stray") {
		t.Error("the stray is still there")
	}
}

// C6: a target that was restored from a backup bears an older mark of ours, or
// none yet, and has accounts again that were taken away, young ones too: they go
// in the first round.
func TestRestoredTarget(t *testing.T) {
	t.Parallel()
	for _, none := range []bool{false, true} {
		u, p, _ := settled(t)
		x := p.site
		old := u.mark()
		if none {
			old = ""
		}
		u.pass(3*every, 0)
		id := lease.NewID("database/creds/a")
		x.apply(id, lease.Begin{Grace: time.Hour, Lease: lease.Lease{Kind: lease.Secret, MountID: "m", Engine: "database", Target: "a", Account: "v-back"}})
		x.apply(id, lease.Revoke{})
		x.apply(id, lease.Finish{To: lease.Revoked})
		u.clock.Advance(2 * time.Second)
		u.probe.Remark(old)
		u.account("v-back")
		p.round(0)
		if u.exists("v-back") || x.reports() != "" {
			t.Errorf("after the restore: exists %t, reports %q", u.exists("v-back"), x.reports())
		}
	}
}

// B3: what no store ever knew is left alone until the one who may have made it
// has had a round.
func TestYoungStranger(t *testing.T) {
	t.Parallel()
	u, p, _ := settled(t)
	u.account("v-stranger")
	for i := range 4 {
		u.clock.Advance(every)
		p.round(0)
		if u.exists("v-stranger") != (i < 1) {
			t.Errorf("%d minutes after it was made it exists: %t", i+1, u.exists("v-stranger"))
		}
	}
	if p.site.reported() != nil {
		t.Errorf("reported: %q", p.site.reported())
	}
}

// Several processes of one installation are no copies of each other, whatever
// meets: nothing is contested, and all act.
func TestProcessesOfOneInstallation(t *testing.T) {
	t.Parallel()
	for calls := range 8 {
		u := newUniverse(t)
		x := u.sites[0]
		one, two := x.start(0), x.start(every/4)
		for range 10 {
			one.meets, one.calls = func() { two.round(0) }, calls
			u.pass(every, 0)
			if x.reports() != "" {
				t.Fatalf("contested: %q", x.reports())
			}
		}
		for i, p := range []*proc{one, two} {
			name := fmt.Sprint("v-", i)
			u.account(name)
			u.clock.Advance(3 * every)
			if p.round(0); u.exists(name) {
				t.Errorf("process %d does not act", i)
			}
		}
	}
}

// After a person confirmed, two processes of one installation take the target
// over, whatever meets, and nothing is contested anew.
func TestProcessesTakeOver(t *testing.T) {
	t.Parallel()
	for calls := range 10 {
		for _, fault := range []bool{false, true} {
			u := newUniverse(t)
			x := u.sites[0]
			one, two := x.start(0), x.start(every/4)
			u.pass(3*every, 0)
			u.probe.Remark("curfew:other:9")
			u.pass(2*every, 0)
			if x.reports() != "curfew:other:9" && !strings.HasPrefix(x.reports(), "curfew-disputed:") || !strings.HasPrefix(u.mark(), "curfew-disputed:") {
				t.Fatalf("another's mark: reports %q, the mark is %q", x.reports(), u.mark())
			}
			x.confirm()
			if fault { // it was done, and nobody was told
				u.target.Inject(enginetest.Fault{Method: enginetest.MethodSetMark, After: true, Times: 1})
			}
			one.meets, one.calls = func() { two.round(0) }, calls
			u.pass(5*every, 0)
			if o, _, err := installation.Owned(t.Context(), x.store, "a"); err != nil || x.reports() != "" || o.Adopt || !o.Knows(u.mark()) {
				t.Errorf("confirmed: reports %q, %+v, %v", x.reports(), o, err)
			}
		}
	}
}

// What a contest leaves on the record, and in the log: each once.
func TestContestIsToldOnce(t *testing.T) {
	t.Parallel()
	u, p, log := settled(t)
	u.probe.Remark("curfew:other:9")
	u.pass(10*every, 0)
	u.account("v-1")
	u.pass(10*every, 0)
	x := p.site
	l, _, err := x.store.Acquire(t.Context(), "publisher", "test", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.store.Number(t.Context(), l, 1000); err != nil {
		t.Fatal(err)
	}
	all, err := x.store.Events(t.Context(), event.Position{}, 1000)
	if err != nil || len(all) != 1 || all[0].Type != event.InstallationDoubted || all[0].Data.Target != "a" ||
		!strings.Contains(all[0].Data.Reason, "database/db") || !strings.Contains(all[0].Data.Reason, "curfew:other:9") {
		t.Errorf("events: %+v, %v", all, err)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 { // contested; a stray more
		t.Errorf("%d lines: %s", n, log)
	}
	if !strings.HasPrefix(u.mark(), "curfew-disputed:") {
		t.Errorf("the mark is %q", u.mark())
	}
}

// B3, A7: while a doubt stands all is reported and nothing is taken; once it is
// confirmed the next round acts. A report names no more than it may.
func TestDoubt(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, installation.Named + 5} {
		u, p, _ := settled(t)
		x := p.site
		if err := installation.Raise(t.Context(), x.store, "restored from a copy"); err != nil {
			t.Fatal(err)
		}
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("v-%05d", i))
			u.account(names[i])
		}
		u.pass(5*every, 0)
		found, err := installation.ReportedStrays(t.Context(), x.store)
		if r := found["a"]; err != nil || r.Count != n || !slices.Equal(r.Accounts, names[:min(n, installation.Named)]) || r.Engine != "database" {
			t.Errorf("reported %d, named %d, %v", r.Count, len(r.Accounts), err)
		}
		if left := len(u.probe.Names()); left != n {
			t.Errorf("%d accounts are left", left)
		}
		if n > installation.Named {
			continue
		}
		x.confirm()
		p.round(0)
		if left := u.probe.Names(); len(left) != 0 || len(x.reported()) != 0 {
			t.Errorf("accounts %q are left, reported: %q", left, x.reported())
		}
	}
}

// A7: a doubt or a suspension that comes while a round is under way is heeded
// by it.
func TestDoubtWithinARound(t *testing.T) {
	t.Parallel()
	for name, doubt := range map[string]func(s *site) error{
		"doubt":      func(x *site) error { return installation.Raise(context.Background(), x.store, "restored") },
		"suspension": func(x *site) error { return x.store.Suspend(context.Background(), store.Suspension{Reason: "rewound"}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, p, _ := settled(t)
			u.account("v-stray")
			u.clock.Advance(3 * every)
			p.meets = func() {
				if err := doubt(p.site); err != nil {
					t.Fatal(err)
				}
			}
			p.calls = 4 // before the accounts are listed
			p.round(0)
			if !u.exists("v-stray") {
				t.Error("an account was taken away")
			}
		})
	}
}

// A7: a store that lacks what was committed is not believed: nothing is taken
// away and nothing is reported until it has resumed; the target is not asked.
func TestSuspendedStore(t *testing.T) {
	t.Parallel()
	u, p, log := settled(t)
	x := p.site
	u.account("v-stray")
	if err := x.store.Suspend(t.Context(), store.Suspension{Reason: "rewound"}); err != nil {
		t.Fatal(err)
	}
	mark, asked := u.mark(), u.target.Calls(enginetest.MethodAccounts)
	u.pass(10*every, 0)
	if !u.exists("v-stray") || len(x.reported()) != 0 || u.mark() != mark || u.target.Calls(enginetest.MethodAccounts) != asked {
		t.Errorf("suspended: reported %q, mark %q, was %q", x.reported(), u.mark(), mark)
	}
	if log.Len() != 0 {
		t.Errorf("log: %s", log)
	}
	w, err := installation.Raising(t.Context(), x.store, "restored")
	if err != nil {
		t.Fatal(err)
	}
	if err := x.store.Resume(t.Context(), 2, event.Position{}, w); err != nil {
		t.Fatal(err)
	}
	u.pass(every, 0)
	if !u.exists("v-stray") || !slices.Equal(x.reported(), []string{"v-stray"}) {
		t.Errorf("resumed in doubt: reported %q", x.reported())
	}
	x.confirm()
	u.pass(every, 0)
	if u.exists("v-stray") || len(x.reported()) != 0 {
		t.Errorf("confirmed: reported %q", x.reported())
	}
}

// A7: a store that was restored from a copy does not know the last marks, also
// where its process goes on. One confirmation is enough, also one that comes
// before the sweep has met the mark.
func TestRestoredStore(t *testing.T) {
	t.Parallel()
	for _, early := range []bool{false, true} {
		u, _, _ := settled(t)
		before := u.sites[0].copied() // the backup
		lost := u.sites[0].issue()
		u.pass(3*every, 0)
		u.sites[0].procs = nil
		if err := installation.Raise(t.Context(), before.store, "restored from a copy"); err != nil {
			t.Fatal(err)
		}
		if early {
			before.confirm()
		}
		before.start(0)
		if !early {
			u.pass(10*every, 0)
			if before.reports() == "" || !slices.Contains(before.reported(), lost) || !u.exists(lost) {
				t.Errorf("restored: reports %q, %q", before.reports(), before.reported())
			}
			before.confirm()
		}
		u.pass(10*every, 0)
		if before.reports() != "" || len(before.reported()) != 0 || u.exists(lost) {
			t.Errorf("confirmed: reports %q, %q; %s exists: %t", before.reports(), before.reported(), lost, u.exists(lost))
		}
	}
}

// What is kept of a target goes when the target is gone; an engine that does not
// answer keeps everything.
func TestOwners(t *testing.T) {
	t.Parallel()
	u, p, _ := settled(t)
	x := p.site
	u.probe.Remark("curfew:other:9")
	u.account("v-stray")
	u.pass(every, 0)
	owners := &sweep.Owners{Store: x.store, Engines: p.sweep.Engines, Every: time.Hour}
	if rest, err := owners.Do(t.Context()); err != nil || rest != time.Hour || x.reports() == "" || len(x.reported()) != 1 {
		t.Errorf("the target is there: rests %s, %v; reports %q, %q", rest, err, x.reports(), x.reported())
	}
	other := enginetest.NewFake(enginetest.FakeConfig{Clock: u.clock})
	owners.Engines = map[string]engine.Sweeper{"database": other}
	heal := other.Inject(enginetest.Fault{Method: enginetest.MethodTargets})
	if _, err := owners.Do(t.Context()); err == nil || x.reports() == "" {
		t.Errorf("engine away: %v, reports %q", err, x.reports())
	}
	heal()
	if _, err := owners.Do(t.Context()); err != nil || x.reports() != "" || len(x.reported()) != 0 {
		t.Errorf("the target is gone: %v; reports %q, %q", err, x.reports(), x.reported())
	}
}
