package enginetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

// fakeMargin is what the target's expiry is behind the lease's (B8).
const fakeMargin = 5 * time.Second

type fakeHandle struct {
	ID int `json:"id"`
}

func notKnown(target string) error {
	return &engine.Error{Kind: engine.NotFound, Message: fmt.Sprintf("there is no connection %q", target)}
}

// Create implements [engine.Creator].
func (f *Fake) Create(ctx context.Context, target string, batch []engine.Creation) []engine.Created {
	out := make([]engine.Created, len(batch))
	for n, c := range batch {
		err := f.call(ctx, MethodCreate, c.Lease.Account, func() error {
			var err error
			out[n], err = f.create(target, &c)
			return err
		})
		if err != nil {
			out[n] = engine.Created{Err: err}
		}
	}
	return out
}

func (f *Fake) create(target string, c *engine.Creation) (engine.Created, error) {
	t, ok := f.targets[target]
	if !ok {
		return engine.Created{}, notKnown(target)
	}
	var role FakeRole
	if err := json.Unmarshal(c.Lease.Plan, &role); err != nil {
		return engine.Created{}, &engine.Error{Kind: engine.Internal, Message: "the lease's plan cannot be read", Err: err}
	}
	now := f.cfg.Clock.Now()
	switch {
	case !now.Before(c.Lease.CreateDeadline):
		return engine.Created{}, &engine.Error{Kind: engine.Conflict, Message: "the creation came after its deadline"}
	case role.Refused:
		return engine.Created{}, &engine.Error{Kind: engine.Refused, Message: "the target refuses the creation: mend the role's statements"}
	case t.accounts[c.Lease.Account] != nil:
		return engine.Created{}, &engine.Error{Kind: engine.Conflict, Message: "the account exists"}
	}
	f.serial++
	a := &fakeAccount{id: f.serial, password: c.Secret.Reveal(), ours: true, login: true, made: now, sessions: map[*fakeSession]struct{}{}}
	if c.Lease.TTL > 0 {
		a.until = now.Add(c.Lease.TTL + fakeMargin)
	}
	t.accounts[c.Lease.Account] = a
	handle, err := json.Marshal(fakeHandle{a.id})
	if err != nil {
		return engine.Created{}, fmt.Errorf("encode handle: %w", err)
	}
	return engine.Created{Data: map[string]any{"username": c.Lease.Account, "password": a.password}, Handle: handle}, nil
}

// Renew implements [engine.Creator].
func (f *Fake) Renew(ctx context.Context, target string, batch []engine.Renewal) []engine.Renewed {
	out := make([]engine.Renewed, len(batch))
	for n, r := range batch {
		out[n].Err = f.call(ctx, MethodRenew, r.Lease.Account, func() error {
			t, ok := f.targets[target]
			if !ok {
				return notKnown(target)
			}
			a := t.accounts[r.Lease.Account]
			if a == nil {
				return &engine.Error{Kind: engine.NotFound, Message: "the account is not there any more"}
			}
			was := a.until
			if err := a.move(&r, f.cfg.Clock.Now()); err != nil {
				return err
			}
			out[n].Was, out[n].Now = fakeExpiry(was), fakeExpiry(a.until)
			return nil
		})
		if out[n].Err != nil {
			out[n].Was, out[n].Now = "", "" // of a call whose answer is lost
		}
	}
	return out
}

// move moves the expiry of an account.
func (a *fakeAccount) move(r *engine.Renewal, now time.Time) error {
	var until time.Time
	if r.Remaining > 0 {
		until = now.Add(r.Remaining + fakeMargin)
	}
	switch {
	case r.If != "" && r.If != fakeExpiry(a.until):
		return &engine.Error{Kind: engine.Conflict, Message: "the account has another expiry"}
	case r.To != "":
		at, err := time.Parse(time.RFC3339Nano, string(r.To))
		if err != nil {
			return &engine.Error{Kind: engine.Internal, Message: "this is no expiry of this engine", Err: err}
		}
		until = at
	case r.If == "" && !a.until.IsZero() && !until.IsZero() && !until.After(a.until):
		until = a.until.Add(time.Nanosecond)
	}
	a.until = until
	return nil
}

// fakeExpiry writes an expiry; the zero time is that of an account without one.
func fakeExpiry(until time.Time) engine.Expiry {
	return engine.Expiry(until.UTC().Format(time.RFC3339Nano))
}

// Disable implements [engine.Revoker].
func (f *Fake) Disable(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome {
	return f.stage(ctx, MethodDisable, target, batch, func(t *fakeTarget, l *lease.Lease) (engine.Outcome, error) {
		if a := t.accounts[l.Account]; a != nil {
			a.login = false
			clear(a.sessions)
		}
		return engine.Outcome{Disabled: true, SessionsEnded: true}, nil
	})
}

// Remove implements [engine.Revoker].
func (f *Fake) Remove(ctx context.Context, target string, batch []lease.Lease) []engine.Outcome {
	return f.stage(ctx, MethodRemove, target, batch, func(t *fakeTarget, l *lease.Lease) (engine.Outcome, error) {
		if !l.Confirmed() && f.cfg.Clock.Now().Before(l.CreateDeadline) {
			return engine.Outcome{}, &engine.Error{
				Kind: engine.NotYet, Message: "a creation may still be under way",
				After: l.CreateDeadline.Sub(f.cfg.Clock.Now()),
			}
		}
		if a := t.accounts[l.Account]; a != nil {
			clear(a.sessions)
			delete(t.accounts, l.Account)
		}
		return engine.Outcome{Disabled: true, SessionsEnded: true, Gone: true}, nil
	})
}

func (f *Fake) stage(
	ctx context.Context, m Method, target string, batch []lease.Lease,
	do func(*fakeTarget, *lease.Lease) (engine.Outcome, error),
) []engine.Outcome {
	out := make([]engine.Outcome, len(batch))
	for n, l := range batch {
		err := f.call(ctx, m, l.Account, func() error {
			t, ok := f.targets[target]
			if !ok {
				return notKnown(target)
			}
			var err error
			out[n], err = do(t, &l)
			return err
		})
		if err != nil {
			out[n] = engine.Outcome{Err: err}
		}
	}
	return out
}

// Targets implements [engine.Sweeper].
func (f *Fake) Targets(ctx context.Context) ([]engine.Target, error) {
	var out []engine.Target
	err := f.call(ctx, MethodTargets, "", func() error {
		for _, t := range f.targets {
			out = append(out, t.Target)
		}
		slices.SortFunc(out, func(a, b engine.Target) int { return strings.Compare(a.ID, b.ID) })
		return nil
	})
	return out, err
}

// Accounts implements [engine.Sweeper].
func (f *Fake) Accounts(ctx context.Context, target, after string, limit int) ([]engine.Account, error) {
	var out []engine.Account
	err := f.call(ctx, MethodAccounts, "", func() error {
		t, ok := f.targets[target]
		if !ok {
			return notKnown(target)
		}
		for name, a := range t.accounts {
			if a.ours && name > after {
				out = append(out, engine.Account{Name: name, CreatedAt: a.made})
			}
		}
		slices.SortFunc(out, func(a, b engine.Account) int { return strings.Compare(a.Name, b.Name) })
		if limit > 0 && len(out) > limit {
			out = out[:limit]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// StrayPlan implements [engine.Sweeper].
func (f *Fake) StrayPlan(ctx context.Context, target string, a engine.Account) (plan, handle []byte, err error) {
	err = f.call(ctx, MethodStrayPlan, a.Name, func() error {
		if _, ok := f.targets[target]; !ok {
			return notKnown(target)
		}
		plan, handle = []byte("{}"), []byte("{}")
		return nil
	})
	return plan, handle, err
}

// EndGhosts implements [engine.Sweeper]. A fake's sessions end with their
// account: there are none.
func (f *Fake) EndGhosts(ctx context.Context, target string) (int, error) {
	return 0, f.call(ctx, MethodGhosts, "", func() error {
		if _, ok := f.targets[target]; !ok {
			return notKnown(target)
		}
		return nil
	})
}

// Mark implements [engine.Marker].
func (f *Fake) Mark(ctx context.Context, target string) (string, error) {
	mark := ""
	err := f.call(ctx, MethodMark, "", func() error {
		t, ok := f.targets[target]
		if !ok {
			return notKnown(target)
		}
		mark = t.mark
		return nil
	})
	if err != nil {
		return "", err
	}
	return mark, nil
}

// SetMark implements [engine.Marker].
func (f *Fake) SetMark(ctx context.Context, target, was, now string) error {
	return f.call(ctx, MethodSetMark, "", func() error {
		if err := engine.CheckMark(now); err != nil {
			return err
		}
		t, ok := f.targets[target]
		switch {
		case !ok:
			return notKnown(target)
		case t.mark != was:
			return &engine.Error{Kind: engine.Conflict, Message: "the mark of the target is another one"}
		}
		t.mark = now
		return nil
	})
}
