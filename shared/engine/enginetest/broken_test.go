package enginetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// recorder is a testing.TB that keeps a law's verdict to itself.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// verdict runs a law and returns what it found.
func verdict(t *testing.T, law Law, h Harness) []string {
	t.Helper()
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		law.Check(r, h)
	}()
	<-done
	for _, f := range r.cleanups {
		f()
	}
	return r.failures
}

// broken overrides single methods of a sound fake.
type broken struct {
	*Fake
	plan     func(*engine.Plan)
	create   func(f *Fake, target string, batch []engine.Creation) []engine.Created
	renew    func(f *Fake, target string, batch []engine.Renewal) []engine.Renewed
	disable  func(f *Fake, target string, batch []lease.Lease) []engine.Outcome
	remove   func(f *Fake, target string, batch []lease.Lease) []engine.Outcome
	accounts func(f *Fake, target, after string, limit int) ([]engine.Account, error)
	ghosts   func(f *Fake, target string) int
	mark     func(f *Fake, target string) (string, error)
	setMark  func(f *Fake, target, was, now string) error
}

func (b *broken) Plan(ctx context.Context, r *engine.Request) (*engine.Plan, error) {
	p, err := b.Fake.Plan(ctx, r)
	if p != nil && b.plan != nil {
		b.plan(p)
	}
	return p, err
}

func (b *broken) Create(ctx context.Context, target string, batch []engine.Creation) []engine.Created {
	if b.create != nil {
		return b.create(b.Fake, target, batch)
	}
	return b.Fake.Create(ctx, target, batch)
}

func (b *broken) Renew(ctx context.Context, target string, batch []engine.Renewal) []engine.Renewed {
	if b.renew != nil {
		return b.renew(b.Fake, target, batch)
	}
	return b.Fake.Renew(ctx, target, batch)
}

func (b *broken) Disable(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome {
	if b.disable != nil {
		return b.disable(b.Fake, target, batch)
	}
	return b.Fake.Disable(ctx, target, batch)
}

func (b *broken) Remove(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome {
	if b.remove != nil {
		return b.remove(b.Fake, target, batch)
	}
	return b.Fake.Remove(ctx, target, batch)
}

func (b *broken) Accounts(ctx context.Context, target, after string, limit int) ([]engine.Account, error) {
	if b.accounts != nil {
		return b.accounts(b.Fake, target, after, limit)
	}
	return b.Fake.Accounts(ctx, target, after, limit)
}

func (b *broken) EndGhosts(ctx context.Context, target string) (int, error) {
	if b.ghosts != nil {
		return b.ghosts(b.Fake, target), nil
	}
	return b.Fake.EndGhosts(ctx, target)
}

func (b *broken) Mark(ctx context.Context, target string) (string, error) {
	if b.mark != nil {
		return b.mark(b.Fake, target)
	}
	return b.Fake.Mark(ctx, target)
}

func (b *broken) SetMark(ctx context.Context, target, was, now string) error {
	if b.setMark != nil {
		return b.setMark(b.Fake, target, was, now)
	}
	return b.Fake.SetMark(ctx, target, was, now)
}

func background() context.Context { return context.Background() }

// mutants are engines that break one promise each, with a law that must see it.
func mutants() map[string]struct {
	law string
	b   broken
} {
	type m = struct {
		law string
		b   broken
	}
	return map[string]m{
		"names do not depend on the lease": {"PlanChangesNothing", broken{plan: func(p *engine.Plan) { p.Account = "v-same" }}},
		"nothing is made": {"CreateWorks", broken{create: func(_ *Fake, _ string, batch []engine.Creation) []engine.Created {
			out := make([]engine.Created, len(batch))
			for n, c := range batch {
				out[n].Data = map[string]any{"username": c.Lease.Account, "password": c.Secret.Reveal()}
			}
			return out
		}}},
		"accounts never close by themselves": {"CreateWorks", broken{create: func(f *Fake, target string, batch []engine.Creation) []engine.Created {
			for n := range batch {
				batch[n].Lease.TTL = 0
			}
			return f.Create(background(), target, batch)
		}}},
		"the deadline is ignored": {"CreateAfterDeadline", broken{create: func(f *Fake, target string, batch []engine.Creation) []engine.Created {
			for n := range batch {
				batch[n].Lease.CreateDeadline = f.cfg.Clock.Now().Add(time.Hour)
			}
			return f.Create(background(), target, batch)
		}}},
		"one failure fails the batch": {"BatchIsolation", broken{create: func(f *Fake, target string, batch []engine.Creation) []engine.Created {
			out := f.Create(background(), target, batch)
			for _, o := range out {
				if o.Err != nil {
					for n := range out {
						out[n] = engine.Created{Err: o.Err}
					}
					break
				}
			}
			return out
		}}},
		"outcomes are out of order": {"BatchIsolation", broken{create: func(f *Fake, target string, batch []engine.Creation) []engine.Created {
			out := f.Create(background(), target, batch)
			out[0], out[len(out)-1] = out[len(out)-1], out[0]
			return out
		}}},
		"an error tells the password": {"BatchIsolation", broken{create: func(f *Fake, target string, batch []engine.Creation) []engine.Created {
			out := f.Create(background(), target, batch)
			for n := range out {
				if out[n].Err != nil {
					out[n].Err = &engine.Error{Kind: engine.Refused, Message: "PASSWORD '" + batch[n].Secret.Reveal() + "' refused"}
				}
			}
			return out
		}}},
		"errors have no kind": {"BatchIsolation", broken{create: func(f *Fake, target string, batch []engine.Creation) []engine.Created {
			out := f.Create(background(), target, batch)
			for n := range out {
				if out[n].Err != nil {
					out[n].Err = errors.New(out[n].Err.Error())
				}
			}
			return out
		}}},
		"renewing does nothing": {"RenewMovesExpiry", broken{renew: func(_ *Fake, _ string, batch []engine.Renewal) []engine.Renewed {
			return make([]engine.Renewed, len(batch))
		}}},
		"a late renewal overwrites another": {"RenewGivesWay", broken{renew: func(f *Fake, target string, batch []engine.Renewal) []engine.Renewed {
			for i := range batch {
				batch[i].If = "" // of whoever it is
				if a := f.targets[target].accounts[batch[i].Lease.Account]; a != nil && batch[i].To == "" {
					a.until = time.Time{}
				}
			}
			return f.Renew(background(), target, batch)
		}}},
		"renewing to the same time leaves no trace": {"RenewGivesWay", broken{renew: func(f *Fake, target string, batch []engine.Renewal) []engine.Renewed {
			var was []time.Time
			for _, r := range batch {
				was = append(was, f.targets[target].accounts[r.Lease.Account].until)
			}
			out := f.Renew(background(), target, batch)
			for i, r := range batch {
				if a := f.targets[target].accounts[r.Lease.Account]; r.If == "" && a.until.Equal(was[i].Add(time.Nanosecond)) {
					a.until = was[i]
				}
			}
			return out
		}}},
		"renewing changes the password": {"RenewMovesExpiry", broken{renew: func(f *Fake, target string, batch []engine.Renewal) []engine.Renewed {
			out := f.Renew(background(), target, batch)
			for _, r := range batch {
				if a := f.targets[target].accounts[r.Lease.Account]; a != nil {
					a.password += "x"
				}
			}
			return out
		}}},
		"sessions live on": {"DisableEndsAccess", broken{disable: func(f *Fake, target string, batch []lease.Lease) []engine.Outcome {
			out := make([]engine.Outcome, len(batch))
			for n, l := range batch {
				if a := f.targets[target].accounts[l.Account]; a != nil {
					a.login = false
				}
				out[n] = engine.Outcome{Disabled: true, SessionsEnded: true}
			}
			return out
		}}},
		"every session is ended": {"DisableEndsAccess", broken{disable: func(f *Fake, target string, batch []lease.Lease) []engine.Outcome {
			for _, a := range f.targets[target].accounts {
				clear(a.sessions)
			}
			return f.Disable(background(), target, batch)
		}}},
		"the login stays open": {"DisableEndsAccess", broken{disable: func(_ *Fake, _ string, batch []lease.Lease) []engine.Outcome {
			out := make([]engine.Outcome, len(batch))
			for n := range batch {
				out[n] = engine.Outcome{Disabled: true, SessionsEnded: true}
			}
			return out
		}}},
		"absence is claimed": {"RemoveProvesAbsence", broken{remove: claimGone}},
		"absent is an error": {"RemoveProvesAbsence", broken{remove: func(f *Fake, target string, batch []lease.Lease) []engine.Outcome {
			there := make([]bool, len(batch))
			for n, l := range batch {
				there[n], _ = f.Probe(target).Exists(background(), l.Account)
			}
			out := f.Remove(background(), target, batch)
			for n := range out {
				if !there[n] {
					out[n] = engine.Outcome{Err: &engine.Error{Kind: engine.NotFound, Message: "role does not exist"}}
				}
			}
			return out
		}}},
		"a whole batch waits for one": {"RemoveBatch", broken{remove: func(f *Fake, target string, batch []lease.Lease) []engine.Outcome {
			for _, l := range batch {
				if !l.Confirmed() && f.cfg.Clock.Now().Before(l.CreateDeadline) {
					out := make([]engine.Outcome, len(batch))
					for n := range out {
						out[n].Err = &engine.Error{Kind: engine.NotYet, Message: "wait"}
					}
					return out
				}
			}
			return f.Remove(background(), target, batch)
		}}},
		"absence before the deadline": {"NeverCreated", broken{remove: func(f *Fake, target string, batch []lease.Lease) []engine.Outcome {
			for n := range batch {
				batch[n].CreateDeadline = time.Time{}
			}
			return f.Remove(background(), target, batch)
		}}},
		"what was not answered is not looked for": {"LostAnswer", broken{remove: func(f *Fake, target string, batch []lease.Lease) []engine.Outcome {
			if !batch[0].Confirmed() && !f.cfg.Clock.Now().Before(batch[0].CreateDeadline) {
				return claimGone(f, target, batch)
			}
			return f.Remove(background(), target, batch)
		}}},
		"the second worker is parked": {"TwoWorkers", broken{remove: func() func(*Fake, string, []lease.Lease) []engine.Outcome {
			var mu sync.Mutex
			seen := map[string]bool{}
			return func(f *Fake, target string, batch []lease.Lease) []engine.Outcome {
				mu.Lock()
				defer mu.Unlock()
				out := f.Remove(background(), target, batch)
				for n, l := range batch {
					if seen[l.Account] {
						out[n] = engine.Outcome{Err: &engine.Error{Kind: engine.Refused, Message: "role does not exist"}}
					}
					seen[l.Account] = true
				}
				return out
			}
		}()}},
		"disable of a removed account parks": {"RaceOfStages", broken{disable: func(_ *Fake, _ string, batch []lease.Lease) []engine.Outcome {
			out := make([]engine.Outcome, len(batch))
			for n := range out {
				out[n].Err = &engine.Error{Kind: engine.Refused, Message: "role does not exist"}
			}
			return out
		}}},
		"an unknown target is taken for empty": {"UnknownTarget", broken{remove: func(f *Fake, target string, batch []lease.Lease) []engine.Outcome {
			if target != "t1" {
				return claimGone(f, target, batch)
			}
			return f.Remove(background(), target, batch)
		}}},
		"foreign accounts are listed": {"StraysAreFound", broken{accounts: func(f *Fake, target, after string, limit int) ([]engine.Account, error) {
			for _, a := range f.targets[target].accounts {
				a.ours = true
			}
			return f.Accounts(background(), target, after, limit)
		}}},
		"the first page is all": {"StraysAreFound", broken{accounts: func(f *Fake, target, after string, limit int) ([]engine.Account, error) {
			if after != "" {
				return nil, nil
			}
			return f.Accounts(background(), target, after, limit)
		}}},
		"pages are too long": {"StraysAreFound", broken{accounts: func(f *Fake, target, after string, _ int) ([]engine.Account, error) {
			return f.Accounts(background(), target, after, 0)
		}}},
		"live sessions are taken for ghosts": {"GhostsOfNone", broken{ghosts: func(f *Fake, target string) int {
			n := 0
			for _, a := range f.targets[target].accounts {
				n += len(a.sessions)
				clear(a.sessions)
			}
			return n
		}}},
		"a mark is there from the start": {"MarkIsKept", broken{mark: func(*Fake, string) (string, error) { return "first", nil }}},
		"the mark stays in the process":  {"MarkIsKept", inProcess()},
		"work wipes the mark": {"MarkIsKept", broken{disable: func(f *Fake, target string, batch []lease.Lease) []engine.Outcome {
			f.Probe(target).Remark("")
			return f.Disable(background(), target, batch)
		}}},
		"the mark is an account": {"MarkIsKept", broken{setMark: func(f *Fake, target, was, now string) error {
			_, _ = f.Probe(target).Add("v-mark", true)
			return f.SetMark(background(), target, was, now)
		}}},
		"marks are not compared": {"MarkIsCompared", broken{setMark: func(f *Fake, target, _, now string) error {
			f.Probe(target).Remark(now)
			return nil
		}}},
		"a mark is written before it is compared": {"MarkIsCompared", broken{setMark: func(f *Fake, target, was, now string) error {
			err := f.SetMark(background(), target, was, now)
			if err != nil {
				f.Probe(target).Remark(now)
			}
			return err
		}}},
		"another mark is not told from an outage": {"MarkIsCompared", broken{setMark: func(f *Fake, target, was, now string) error {
			err := f.SetMark(background(), target, was, now)
			if kindOf(err) == engine.Conflict {
				return &engine.Error{Kind: engine.Unreachable, Message: "something went wrong"}
			}
			return err
		}}},
		"comparing and setting are two steps": {"MarkRace", broken{setMark: inTwoSteps()}},
		"losers are told that they won": {"MarkRace", broken{setMark: func(f *Fake, target, was, now string) error {
			err := f.SetMark(background(), target, was, now)
			if kindOf(err) == engine.Conflict {
				err = nil
			}
			return err
		}}},
		"any text is a mark": {"MarkText", broken{setMark: func(f *Fake, target, was, now string) error {
			err := f.SetMark(background(), target, was, now)
			if kindOf(err) == engine.Invalid {
				f.Probe(target).Remark(now)
				err = nil
			}
			return err
		}}},
		"marks are trimmed": {"MarkText", broken{setMark: func(f *Fake, target, was, now string) error {
			return f.SetMark(background(), target, was, strings.TrimSpace(now))
		}}},
		"an unknown target has no mark": {"UnknownTarget", broken{mark: func(f *Fake, target string) (string, error) {
			mark, err := f.Mark(background(), target)
			if kindOf(err) == engine.NotFound {
				err = nil
			}
			return mark, err
		}}},
	}
}

// inProcess keeps the mark for itself.
func inProcess() broken {
	kept := ""
	return broken{
		mark:    func(*Fake, string) (string, error) { return kept, nil },
		setMark: func(_ *Fake, _, _, now string) error { kept = now; return nil },
	}
}

// inTwoSteps compares and sets with time between for all racers to compare.
func inTwoSteps() func(f *Fake, target, was, now string) error {
	var first sync.WaitGroup
	var calls atomic.Int64
	first.Add(racers)
	return func(f *Fake, target, was, now string) error {
		mark, err := f.Mark(background(), target)
		if calls.Add(1) <= racers {
			first.Done()
			first.Wait()
		}
		if err == nil && mark != was {
			err = &engine.Error{Kind: engine.Conflict, Message: "the mark of the target is another one"}
		}
		if err == nil {
			f.Probe(target).Remark(now)
		}
		return err
	}
}

func claimGone(_ *Fake, _ string, batch []lease.Lease) []engine.Outcome {
	out := make([]engine.Outcome, len(batch))
	for n := range out {
		out[n] = engine.Outcome{Disabled: true, SessionsEnded: true, Gone: true}
	}
	return out
}

// A suite that cannot fail proves nothing: each law is broken at least once.
func TestBrokenEnginesAreFoundOut(t *testing.T) {
	t.Parallel()
	laws := map[string]Law{}
	for _, l := range Laws() {
		laws[l.Name] = l
	}
	seen := map[string]bool{}
	for name, m := range mutants() {
		law, ok := laws[m.law]
		if !ok {
			t.Fatalf("no law %q", m.law)
		}
		seen[m.law] = true
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			h := openFake(t)
			m.b.Fake = h.Engine.(*Fake)
			h.Engine = &m.b
			failures := verdict(t, law, h)
			if len(failures) == 0 {
				t.Errorf("law %s did not notice", m.law)
			}
			for _, f := range failures {
				t.Log(f)
			}
		})
	}
	for name := range laws {
		if !seen[name] {
			t.Errorf("law %s is broken by no mutant", name)
		}
	}
}

// The recorder itself must not find fault with a sound engine.
func TestRecorderPassesTheFake(t *testing.T) {
	t.Parallel()
	for _, law := range Laws() {
		if f := verdict(t, law, openFake(t)); len(f) != 0 {
			t.Errorf("%s: %q", law.Name, f)
		}
	}
}

func TestSecretsHideInPlans(t *testing.T) {
	t.Parallel()
	h := openFake(t)
	i := plan(t, h, h.Path)
	if got := fmt.Sprintf("%+v", *i.plan); strings.Contains(got, i.secret.Reveal()) || !strings.Contains(got, secret.Redacted) {
		t.Errorf("a printed plan shows its secret")
	}
}
